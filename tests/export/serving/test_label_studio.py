"""Label Studio's protocol: pre-labels in its format, and pictures that are fetched without reaching private hosts."""

import base64
import io
import json
import threading
import time
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from tfrcnn.export.serving import label_studio
from tfrcnn.export.serving.app import Choices, Service, make_app
from tfrcnn.export.serving.protocol import Limits
from tfrcnn.export.serving.remote import Remote, RemoteError, is_public

with warnings.catch_warnings(action="ignore"):  # it wants a package of another name from some release on
    TestClient = pytest.importorskip("starlette.testclient", exc_type=RuntimeError).TestClient

CONFIG = """<View>
  <Image name="image" value="$picture"/>
  <RectangleLabels name="label" toName="image">
    <Label value="Cat"/><Label value="Hound" predicted_values="dog,wolf"/><Label value="Bird" alias="b"/>
  </RectangleLabels>
</View>"""
CATEGORIES = [{"id": 3, "name": "cat"}, {"id": 7, "name": "car"}, {"id": 90, "name": "dog"}]


def encode(height, width, **options):
    stream = io.BytesIO()
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(stream, "JPEG", **options)
    return stream.getvalue()


def uri(data):
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"


class Pool:
    """Detects a cat, a car, a dog and a dog of a low score in every JPEG."""

    ready, count = True, 1

    def __init__(self, body=100_000, seconds=30.0):
        self.limits, self.description = Limits(body=body, seconds=seconds, images=4), {"categories": CATEGORIES}

    async def predict(self, body, deadline):
        (instance,) = json.loads(body)["instances"]
        if not base64.b64decode(instance["b64"]).startswith(b"\xff\xd8"):
            return 400, b'{"error": "cannot decode"}'
        row = {
            "detection_boxes": [[0.1, 0.2, 0.5, 0.8], [0, 0, 1, 1], [0, 0, 0.5, 0.25], [0, 0, 1, 1], [0, 0, 0, 0]],
            "detection_classes": [3, 7, 90, 90, 0],
            "detection_scores": [0.9, 0.8, 0.7, 0.4, 0],
            "num_detections": 4.0,
        }
        return 200, json.dumps({"predictions": [row]}).encode()


@pytest.fixture
def client():
    return TestClient(make_app(Service(Pool(), "cells", "2", Choices(0.5))))


def predict(client, *addresses, config=CONFIG):
    tasks = [{"id": i, "data": {"picture": address}} for i, address in enumerate(addresses, start=1)]
    return client.post("/predict", json={"tasks": tasks, "label_config": config, "project": "1.2", "params": {}})


def test_setup_says_whether_the_labels_are_classes_of_the_detector(client):
    request = {"project": "1.2", "schema": CONFIG, "hostname": "http://localhost:8080", "access_token": "x"}
    answer = client.post("/setup", json=request)
    assert (answer.status_code, answer.json()) == (200, {"model_version": "cells-2"})
    other = CONFIG.replace("Cat", "Tree").replace("dog,wolf", "oak")
    answer = client.post("/setup", json={"schema": other})
    assert answer.status_code == 409
    assert "no label of the configuration is a class of the detector; its classes are: cat, car, dog" in answer.text


def test_a_task_gets_rectangles_in_percent_with_its_own_labels(client):
    (result,) = predict(client, uri(encode(100, 200))).json()["results"]
    assert result["model_version"] == "cells-2"
    assert result["score"] == pytest.approx(0.8)  # the mean of 0.9 and 0.7
    cat, dog = result["result"]
    assert {name: cat[name] for name in ("from_name", "to_name", "type", "original_width", "original_height")} == {
        "from_name": "label",
        "to_name": "image",
        "type": "rectanglelabels",
        "original_width": 200,
        "original_height": 100,
    }
    assert cat["value"]["rectanglelabels"] == ["Cat"]
    assert [cat["value"][side] for side in ("x", "y", "width", "height")] == pytest.approx([20, 10, 60, 40])
    assert dog["value"]["rectanglelabels"] == ["Hound"]
    assert cat["id"] != dog["id"]


def test_a_task_has_the_labels_of_the_version_that_detects(monkeypatch):
    """Another version, of other classes, is served while the picture is fetched."""
    service = Service(Pool(), "cells", "2", Choices(0.5))
    following = Pool()
    following.description = {"categories": [{"id": 3, "name": "bird"}]}
    service.pool.counts = None
    size = label_studio.upright_size
    monkeypatch.setattr(
        label_studio, "upright_size", lambda content: (service.replace(following, "3"), size(content))[1]
    )
    (result,) = predict(TestClient(make_app(service)), uri(encode(100, 200))).json()["results"]
    assert result["model_version"] == "cells-3"
    assert [region["value"]["rectanglelabels"] for region in result["result"]] == [["b"]]


def test_a_turned_picture_has_the_size_that_people_see(client):
    exif = Image.Exif()
    exif[0x0112] = 6
    (result,) = predict(client, uri(encode(100, 200, exif=exif.tobytes()))).json()["results"]
    assert (result["result"][0]["original_width"], result["result"][0]["original_height"]) == (100, 200)


def test_a_picture_that_cannot_be_used_does_not_hold_up_the_other_tasks(client, capsys):
    answer = predict(client, "file:///etc/passwd", uri(encode(10, 10)), uri(b"text"))
    assert [len(result["result"]) for result in answer.json()["results"]] == [0, 2, 0]
    log = capsys.readouterr().err
    assert "task 1: expected an http, https or data: address, found 'file'" in log
    assert "task 3: expected a picture that can be read" in log
    alone = predict(client, "file:///etc/passwd")
    assert (alone.status_code, "task 1: expected an http" in alone.text) == (409, True)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "tasks: expected a list of tasks"),
        ({"tasks": [1], "label_config": CONFIG}, "tasks: expected a list of tasks"),
        ({"tasks": [{"data": {}}], "label_config": 3}, "in XML"),
        ({"tasks": [{"data": {}}], "label_config": "<View/>"}, "expected RectangleLabels"),
        ({"tasks": [{"data": {}}], "label_config": '<!DOCTYPE a [<!ENTITY b "c">]><View>&b;</View>'}, "in XML"),
        ({"tasks": [{"id": 5, "data": {}}], "label_config": CONFIG}, "task 5: expected the address of a picture in"),
        ({"tasks": [{"data": {}}] * 5, "label_config": CONFIG}, "at most 4, found 5"),
    ],
)
def test_a_request_that_is_none_says_what_was_expected(client, body, message):
    answer = client.post("/predict", json=body)
    assert answer.status_code in (400, 409, 413)
    assert message in answer.json()["error"]


def test_an_alias_is_what_results_hold():
    assert label_studio.read_config(CONFIG).labels["bird"] == "b"


class Handler(BaseHTTPRequestHandler):
    """Serves a picture, redirects, and streams that are long or slow."""

    def do_GET(self):
        self.server.seen.append((self.path, self.headers.get("Authorization")))
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path[4:].replace("PORT", str(self.server.server_port)))
            self.end_headers()
            return
        self.send_response(404 if self.path == "/none" else 200)
        self.end_headers()
        try:
            for _ in range({"/long": 2000, "/slow": 50}.get(self.path, 1)):
                self.wfile.write(b"x" * 1000)
                time.sleep(0.1 if self.path == "/slow" else 0)
        except OSError:
            pass

    def do_POST(self):
        """Exchange a personal access token, as Label Studio does."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        accepted = self.path == "/api/token/refresh" and body == {"refresh": "a.personal.token"}
        self.send_response(200 if accepted else 401)
        self.end_headers()
        self.wfile.write(json.dumps({"access": "short"} if accepted else {"detail": "invalid"}).encode())

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def site():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_pictures_come_from_public_and_from_allowed_hosts(site):
    url = f"http://127.0.0.1:{site.server_port}"
    assert Remote(5000, hosts=frozenset({"127.0.0.1"})).fetch(f"{url}/a.jpg") == b"x" * 1000
    for address in (url, f"http://localhost:{site.server_port}", f"http://[::ffff:127.0.0.1]:{site.server_port}"):
        with pytest.raises(RemoteError, match=r"not public|cannot connect"):
            Remote(5000).fetch(f"{address}/secret")
    assert ("/secret", None) not in site.seen


@pytest.mark.parametrize(
    "address",
    ["http://10.0.0.1/", "http://169.254.169.254/latest", "http://0.0.0.0/", "http://[::1]/", "http://2130706433/"],
)
def test_private_addresses_are_refused_before_a_byte_is_sent(address):
    with pytest.raises(RemoteError, match=r"not public|cannot connect"):
        Remote(5000).fetch(address)


@pytest.mark.parametrize(
    "address",
    ["file:///etc/passwd", "/etc/passwd", "//host/x", "ftp://host/x", "gopher://x", "x", "http://", "http:// "],
)
def test_files_and_other_schemes_are_refused(address):
    with pytest.raises(RemoteError):
        Remote(5000).fetch(address)


def test_a_redirect_is_checked_again_and_the_token_goes_to_label_studio_alone(site):
    base = f"http://localhost:{site.server_port}"
    remote = Remote(5000, base=base, token="secret", hosts=frozenset({"127.0.0.1"}))
    remote.fetch("/data/upload/a.jpg")
    assert site.seen[-1] == ("/data/upload/a.jpg", "Token secret")
    remote.fetch("/to/http://127.0.0.1:PORT/other")
    assert site.seen[-1] == ("/other", None)
    for location, message in (
        ("file:///etc/passwd", "found 'file'"),
        ("http://10.0.0.1/", "not public"),
        (f"{base}/to/" * 5, "at most 3 redirects"),
    ):
        with pytest.raises(RemoteError, match=message):
            remote.fetch(f"/to/{location}")


@pytest.mark.parametrize(
    ("path", "message"),
    [("/long", "at most 5000 bytes"), ("/slow", "within 0.5 seconds"), ("/none", "expected status 200, found 404")],
)
def test_a_picture_that_is_long_slow_or_missing_is_refused(site, path, message):
    base, slow = f"http://127.0.0.1:{site.server_port}", path == "/slow"
    remote = Remote(10**6 if slow else 5000, seconds=0.5 if slow else 20, base=base)
    started = time.monotonic()
    with pytest.raises(RemoteError, match=message):
        remote.fetch(path)
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("address", ["data:image/png;base64,?", "data:image/png", "data:;base64," + "A" * 30_000])
def test_a_data_uri_that_is_none_is_refused(address):
    with pytest.raises(RemoteError, match="data: URI"):
        Remote(5000).fetch(address)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_label_studios_package_accepts_the_answer(client):
    """Its own reader of configurations checks names, types, percents and labels of the regions."""
    interface = pytest.importorskip("label_studio_sdk.label_interface", reason="label-studio-sdk is not installed")
    (result,) = predict(client, uri(encode(100, 200))).json()["results"]
    reader = interface.LabelInterface(CONFIG)
    assert reader.validate_prediction(result)
    wrong = json.loads(json.dumps(result))
    wrong["result"][0]["from_name"] = "other"
    assert not reader.validate_prediction(wrong)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "::1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "fec0::1",
        "::7f00:1",
        "ff0e::1",
        "224.0.0.1",
    ],
)
def test_addresses_that_lead_to_private_hosts_are_not_public(address):
    assert not is_public(address)


def test_public_addresses_are_public():
    assert is_public("93.184.216.34")
    assert is_public("2606:2800:220:1:248:1893:25c8:1946")


def test_a_label_of_the_very_name_comes_before_the_predicted_values_of_another():
    labels = (
        '<Label value="Vehicle" predicted_values="car,truck"/><Label value="car"/><Label value="Bus" alias="coach"/>'
    )
    boxes = f'<RectangleLabels name="b" toName="i">{labels}</RectangleLabels>'
    config = f'<View><Image name="i" value="$image"/>{boxes}</View>'
    expected = {"vehicle": "Vehicle", "car": "car", "truck": "Vehicle", "bus": "coach", "coach": "coach"}
    assert label_studio.read_config(config).labels == expected


def test_a_personal_access_token_is_exchanged_for_one_that_is_valid_for_minutes(site):
    base = f"http://localhost:{site.server_port}"
    assert Remote(5000, base=base, token="a.personal.token").fetch("/data/upload/b.jpg") == b"x" * 1000
    assert site.seen[-1] == ("/data/upload/b.jpg", "Bearer short")
    with pytest.raises(RemoteError, match="Label Studio refuses the access token, with status 401"):
        Remote(5000, base=base, token="a.revoked.token").fetch("/data/upload/c.jpg")


@pytest.mark.parametrize("token", ["secret\n", "secr\u20act", "secret\r\nX-Other: 1"])
def test_a_token_that_no_header_takes_is_not_repeated_in_the_answer(site, token):
    with pytest.raises(RemoteError, match="access token of Label Studio has characters") as refused:
        Remote(5000, base=f"http://localhost:{site.server_port}", token=token).fetch("/data/upload/b.jpg")
    assert "secr" not in str(refused.value)


@pytest.mark.parametrize("answer", [b"[" * 100_000, b"5", b'{"access": "secret\\n"}', b"\xff"])
def test_an_answer_without_a_token_is_one_line(answer, monkeypatch):
    monkeypatch.setattr(Remote, "_request", lambda *arguments: (200, None, answer))
    with pytest.raises(RemoteError, match=r"^Label Studio (refuses the|answers with an) access token") as e:
        Remote(5000, base="http://localhost", token="a.b.c").fetch("/data/upload/b.jpg")
    assert "secret" not in str(e.value)


def test_a_redirect_to_no_url_is_refused(site, monkeypatch):
    monkeypatch.setattr(Remote, "_request", lambda *arguments: (302, "http://[::1", b""))
    with pytest.raises(RemoteError, match=r"^expected a URL: Invalid IPv6 URL"):
        Remote(5000, hosts=frozenset(["localhost"])).fetch(f"http://localhost:{site.server_port}/a.jpg")
