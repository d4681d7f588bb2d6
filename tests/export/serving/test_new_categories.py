"""A version whose classes differ is taken up while the server runs: every answer names the classes of its version."""

import asyncio
import base64
import contextlib
import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from tfrcnn.export.serving import follow
from tfrcnn.export.serving.app import Choices, Service, make_app
from tfrcnn.export.serving.follow import Follower
from tfrcnn.export.serving.pool import Pool
from tfrcnn.export.serving.protocol import COUNTED, DESCRIBED, Limits

from .scripted_worker import TestClient, add, command_of, program

uvicorn = pytest.importorskip("uvicorn")
# A worker whose model file is the name of its one class, of id 1, which it detects in every picture.
WORKER = program(
    f"""
    name = open(sys.argv[1]).read()
    send(0, {DESCRIBED}, {{"format": "fake", "categories": [{{"id": 1, "name": name}}]}})
    row = {{"detection_boxes": [[0.1, 0.1, 0.9, 0.9]], "detection_classes": [1], "detection_scores": [0.9]}}
    """,
    f"""
    send(0, {COUNTED}, {{"images": 1, "detections": {{"1": 1}}}})
    send(number, 200, {{"predictions": [{{**row, "num_detections": 1}}]}})
    """,
)
command = command_of(WORKER)
CONFIG = """<View><Image name="image" value="$picture"/><RectangleLabels name="label" toName="image">
    <Label value="cat"/><Label value="bus"/></RectangleLabels></View>"""


def png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (64, 48), "gray").save(stream, "PNG")
    return stream.getvalue()


PICTURE = base64.b64encode(png()).decode()
BODY = {"signature_name": "encoded", "instances": [{"b64": PICTURE}]}
TASKS = {"tasks": [{"id": 1, "data": {"picture": f"data:image/png;base64,{PICTURE}"}}], "label_config": CONFIG}


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    """A service that follows a folder whose version 1 has the class "cat"."""
    monkeypatch.setattr(follow, "PAUSE", 0.05)
    monkeypatch.setattr(follow, "CHECK", 0.02)
    add(tmp_path, 1, "cat")
    pool = Pool(command(tmp_path / "1/model.onnx"), 1, Limits())
    return Service(pool, "detector", "1", Choices(), Follower(tmp_path, command))


def until(client: Any, version: str, base: str = "") -> None:
    """Wait until a server serves a version."""
    for _ in range(3000):
        model = client.get(f"{base}/model").json()
        if (model["version"], model["ready"]) == (version, True):
            return
        time.sleep(0.02)
    raise TimeoutError


def test_all_answers_name_the_classes_of_the_new_version(service: Service, tmp_path: Path) -> None:
    with TestClient(make_app(service)) as client:
        for version, name in (("1", "cat"), ("2", "bus")):
            if version == "2":
                add(tmp_path, 2, name)
            until(client, version)
            assert client.get("/model").json()["classes"] == [{"id": 1, "name": name}]
            assert client.post("/v1/models/detector:predict", json=BODY).headers["Model-Version"] == version
            result = client.post("/predict", json=TASKS).json()["results"][0]
            assert result["model_version"] == f"detector-{version}"
            assert [region["value"]["rectanglelabels"] for region in result["result"]] == [[name]]
            assert client.post("/setup", json={"schema": CONFIG.replace(name, "tree")}).status_code == 409
            assert client.get("/openapi.json").json()["info"]["version"] == version
        metrics = client.get("/metrics").text
        for name in ("cat", "bus"):  # the detections before keep their name
            assert f'tfrcnn_detections_total{{category_id="1",name="{name}"}} 2.0' in metrics


@contextlib.contextmanager
def running(service: Service) -> Iterator[str]:
    """Run a service in a thread; yields its address."""
    server = uvicorn.Server(uvicorn.Config(make_app(service), port=0, log_level="error", loop="asyncio"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    try:
        while not server.started:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.mark.slow
def test_an_open_page_takes_the_names_of_the_new_version(service: Service, tmp_path: Path, browser: Any) -> None:
    (tmp_path / "picture.png").write_bytes(png())
    with running(service) as url:
        until(requests, "1", url)
        page = browser.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(url)
        page.locator("#state", has_text="version 1").wait_for()
        names, listed = page.locator("#classes .name"), page.locator("#list .name")
        assert names.all_inner_texts() == ["cat"]
        page.locator("#files").set_input_files(str(tmp_path / "picture.png"))
        listed.wait_for()
        assert listed.all_inner_texts() == ["cat"]
        page.locator("#none").click()  # the choice is about the classes of version 1
        add(tmp_path, 2, "bus")
        until(requests, "2", url)
        page.locator("#files").set_input_files(str(tmp_path / "picture.png"))  # before the page looks again
        listed.wait_for()
        assert (names.all_inner_texts(), listed.all_inner_texts()) == (["bus"], ["bus"])
        assert "version 2" in page.locator("#state").inner_text()
        page.locator("#pictures button").first.click()  # its detections are of version 1
        assert (names.all_inner_texts(), listed.all_inner_texts()) == (["cat"], ["cat"])
        page.reload()
        page.locator("#classes .name", has_text="bus").wait_for()
        add(tmp_path, 3, "tram")
        page.locator("#classes .name", has_text="tram").wait_for()  # nobody asked for it
        page.close()
    assert complaints == []
