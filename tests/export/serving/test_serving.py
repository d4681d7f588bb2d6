"""The SavedModel in service: the protocol, the clients, and a load run over loopback."""

import base64
import importlib
import io
import json
import os
import re
import runpy
import signal
import socket
import struct
import subprocess
import sys
import time
from concurrent import futures
from pathlib import Path

import numpy as np
import pytest
import requests
import tensorflow as tf
from fastapi import HTTPException
from PIL import Image

from tfrcnn.data.decode import read_image
from tfrcnn.export.artefact import OUTPUTS
from tfrcnn.export.saved_model.runtime import SavedModelRuntime
from tfrcnn.export.saved_model.warmup import WARMUP
from tfrcnn.export.serving import load, protocol, rest_client, server

SERVING = Path(server.__file__).parent


def pixels(*shape):
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, dtype=np.uint8)


def png(image):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def b64(data):
    return {"b64": base64.b64encode(data).decode()}


@pytest.mark.parametrize(
    ("option", "value", "limits"),
    [
        ("--workers", "0", "of at least 1"),
        ("--workers", "two", "of at least 1"),
        ("--grace", "nan", "of at least 0"),
        ("--grace", "inf", "of at least 0"),
        ("--max-waiting", "0", "of at least 1"),
        ("--max-seconds", "inf", "of at least 0.1"),
        ("--max-body", "-1", "of at least 1"),
        ("--port", "-1", "from 0 to 65535"),
        ("--port", "70000", "from 0 to 65535"),
    ],
)
def test_the_program_refuses_a_number_that_no_server_works_with(option, value, limits, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["server.py", "models", f"{option}={value}"])
    with pytest.raises(SystemExit, match=r"^2$"):
        server.main()
    message = f"argument {option}: expected a number {limits}, found '{value}'"
    assert capsys.readouterr().err.splitlines()[-1].endswith(message)


def test_the_program_refuses_a_name_that_no_route_has(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["server.py", "models", "--name", "a/b"])
    with pytest.raises(SystemExit, match=r"^2$"):
        server.main()
    assert "argument --name: expected a name without / and :, found 'a/b'" in capsys.readouterr().err


def test_instances_are_rows_and_inputs_are_columns():
    image = pixels(2, 3, 3)
    for row in (image.tolist(), {"images": image.tolist()}):
        signature, value, rows = protocol.parse({"instances": [row, row]})
        assert (signature, value.shape, value.dtype, rows) == ("serving_default", (2, 2, 3, 3), np.uint8, True)
        np.testing.assert_array_equal(value[1], image)
    for column in ([image.tolist()], {"images": [image.tolist()]}):
        assert protocol.parse({"inputs": column})[2] is False


def test_binary_strings_come_as_base64():
    for row in (b64(b"\xff\x00"), {"encoded_images": b64(b"\xff\x00")}):
        assert protocol.parse({"signature_name": "encoded", "instances": [row]}) == ("encoded", [b"\xff\x00"], True)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "one of 'instances' and 'inputs'"),
        ({"instances": [], "inputs": []}, "one of 'instances' and 'inputs'"),
        ({"instances": []}, "a list of images"),
        ({"instances": "x"}, "a list of images"),
        ({"inputs": {"pictures": []}}, "a list of images"),
        ({"signature_name": "x", "instances": [1]}, "expected one of serving_default, encoded, explain, found 'x'"),
        ({"instances": [[[[1, 2, 3]]], [[[1, 2, 3], [1, 2, 3]]]]}, "one size; for several"),
        ({"instances": [[[[1, 2, 300]]]]}, "whole numbers in 0..255"),
        ({"instances": [[[[1, 2, -1]]]]}, "whole numbers in 0..255"),
        ({"instances": [[[[1, 2, 0.5]]]]}, "whole numbers in 0..255"),
        ({"instances": [[[[1, 2]]]]}, r"\[B, H, W, 3\]"),
        ({"instances": [{"b64": "AA=="}]}, r"\[B, H, W, 3\]"),
        ({"signature_name": "encoded", "instances": ["AA=="]}, "in base64"),
        ({"signature_name": "encoded", "instances": [{"b64": "?"}]}, "in base64"),
        ({"signature_name": "encoded", "instances": [{"b64": 7}]}, "in base64"),
        ({"signature_name": "encoded", "instances": [{"b64": "\u00e9"}]}, "in base64"),
        ({"signature_name": ["encoded"], "instances": [1]}, r"found \['encoded'\]"),
        ({"signature_name": {}, "instances": [1]}, "expected one of serving_default, encoded"),
        ({"signature_name": "\ud800", "instances": [1]}, r"found '\\ud800'"),
        ({"instances": [[[["1", 2, 3]]]]}, "whole numbers in 0..255"),
        ({"instances": [[[[True, 2, 3]]]]}, "whole numbers in 0..255"),
        ({"instances": [[[[1, 2, 2**70]]]]}, "whole numbers in 0..255"),
        ({"instances": [[[[1, 2, 3]]], 3]}, "whole numbers in 0..255"),
        ({"instances": [[[[1, 2, 3]]], [3]]}, "whole numbers in 0..255"),
        ({"instances": [[[[1, 2, 3], 4]]]}, "whole numbers in 0..255"),
        ({"instances": [[[]]]}, r"\[B, H, W, 3\]"),
        ({"instances": [[]]}, r"\[B, H, W, 3\]"),
        ({"instances": [None]}, r"\[B, H, W, 3\]"),
    ],
)
def test_a_request_that_is_none_says_what_was_expected(body, message):
    with pytest.raises(HTTPException) as caught:
        protocol.parse(body)
    assert caught.value.status_code == 400
    assert re.search(message, caught.value.detail)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "expected a JSON object"),
        (b"[]", "found a list"),
        (b"null", "found null"),
        (b'"x"', "found a text"),
        (b"\xff", "UTF-8"),
        (b'{"instances": [NaN]}', "NaN is not a JSON number"),
        (b'{"instances": [-Infinity]}', "-Infinity is not a JSON number"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"instances": ' + b"9" * 5000 + b"}", "expected a JSON object"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(body, message):
    with pytest.raises(HTTPException, match=message) as caught:
        protocol.read_json(body)
    assert caught.value.status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        {"signature_name": "encoded", "instances": [b64(b"x")] * 5},
        {"inputs": [[[[1, 2, 3]]]] * 5},
        {"inputs": [[[[1, 2, 3]] * 4] * 4]},
    ],
)
def test_more_images_or_pixels_than_the_limits_are_refused(body):
    with pytest.raises(HTTPException, match="expected at most") as caught:
        protocol.parse(body, protocol.Limits(images=4, pixels=15))
    assert caught.value.status_code == 413


def test_the_newest_version_is_served(tmp_path):
    for name in ("9", "10", "tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").touch()
    (tmp_path / "11").mkdir()  # being copied
    assert server.newest(tmp_path).name == "10"
    assert server.newest(tmp_path / "9").name == "9"
    with pytest.raises(SystemExit, match="expected a SavedModel"):
        server.newest(tmp_path / "11")


def test_percentiles_are_those_of_the_latencies():
    measured = load.Load(seconds=2.0, latencies=[i / 100 for i in range(101)])
    measured.statuses.update({200: 101, 400: 3})
    assert [measured.percentile(p) for p in (50, 95, 99)] == pytest.approx([0.5, 0.95, 0.99])
    assert str(measured) == "50.5 answers/s; p50 500, p95 950, p99 990 ms; 101 of 200, 3 of 400; 0 lost"


def test_nobody_to_answer_is_counted_as_lost():
    result = load.run_load(f"http://127.0.0.1:{free_port()}/v1/models/m", [load.Request(b"{}")], clients=2, count=5)
    assert (result.lost, len(result.latencies), sum(result.statuses.values())) == (5, 0, 0)


@pytest.fixture(scope="module")
def url(saved_path):
    """A server in a process of its own, run as a file: nothing of tfrcnn is imported by it."""
    port = free_port()
    command = [sys.executable, "-P", SERVING / "server.py", saved_path.parent, "--port", str(port)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONPATH": ""}
    process = subprocess.Popen([str(word) for word in command], env=environment)
    base = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(process, f"{base}/health")
        yield f"{base}/v1/models/detector", process.pid
    finally:
        process.send_signal(signal.SIGTERM)  # to the server alone: it ends its workers
        try:
            assert process.wait(20) == 0
        finally:
            process.kill()


def wait_until_ready(process, health):
    for _ in range(1200):  # four minutes: TensorFlow's import alone is long on a busy machine
        assert process.poll() is None, "the server ended"
        try:
            if requests.get(health, timeout=1).ok:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.2)
    raise TimeoutError(health)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
def test_rest_answers_are_those_of_the_file(url, saved_path):
    runtime = SavedModelRuntime(saved_path)
    images = [pixels(60, 80, 3), pixels(90, 40, 3)]
    expected = runtime.run_encoded([png(image) for image in images])
    predictions = rest_client.predict(url[0], [png(image) for image in images])
    for i, image in enumerate(predictions):
        assert set(image) == set(OUTPUTS)
        for name in OUTPUTS:
            np.testing.assert_allclose(image[name], expected[name][i], atol=1e-4)
    body = {"inputs": {"images": [images[0].tolist()]}}
    columns = requests.post(f"{url[0]}:predict", json=body, timeout=60).json()["outputs"]
    for name, value in runtime.run(images[0][None]).items():
        np.testing.assert_allclose(columns[name], value, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [None, "application/x-www-form-urlencoded", "text/plain"])
def test_a_body_is_json_whatever_its_header_says(url, kind):
    """`curl -d` sends the second of these."""
    body = json.dumps(rest_client.request_body([png(pixels(60, 80, 3))])).encode()
    headers = {"Content-Type": kind} if kind else {}
    assert requests.post(f"{url[0]}:predict", data=body, headers=headers, timeout=60).ok


@pytest.mark.slow
def test_status_and_refusals_have_tensorflow_servings_form(url):
    model, _ = url
    status = requests.get(model, timeout=10).json()["model_version_status"]
    assert [(entry["version"], entry["state"]) for entry in status] == [("1", "AVAILABLE")]
    wrong = {
        "not json": b"{",
        "no object": b"[]",
        "nothing": b"{}",
        "no base64": b'{"signature_name": "encoded", "instances": [{"b64": "?"}]}',
    }
    for name, body in wrong.items():
        answer = requests.post(f"{model}:predict", data=body, timeout=60)
        assert (answer.status_code, list(answer.json())) == (400, ["error"]), name
    with pytest.raises(requests.HTTPError, match=r"400: \[encoded_images: expected whole.* position\] \[1\]"):
        rest_client.predict(model, [png(pixels(60, 80, 3)), b"no image"])
    absent = requests.post(model.replace("detector", "other") + ":predict", json={}, timeout=10)
    assert (absent.status_code, list(absent.json())) == (404, ["error"])


@pytest.mark.slow
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_the_orientation_of_a_png_is_applied_as_read_image_does(url, tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels(60, 80, 3)).save(tmp_path / "a.png", exif=exif)
    turned, upright = rest_client.predict(
        url[0], [(tmp_path / "a.png").read_bytes(), png(read_image(tmp_path / "a.png"))]
    )
    for name in OUTPUTS:
        np.testing.assert_allclose(turned[name], upright[name], atol=1e-5)


@pytest.mark.slow
def test_a_worker_ignores_the_sigterm_that_a_service_manager_sends_to_all_processes(url):
    model, pid = url
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        os.kill(int(child), signal.SIGTERM)
    time.sleep(0.2)
    assert len(rest_client.predict(model, [png(pixels(60, 80, 3))])) == 1


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_ends_the_server_with_the_reason(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"no model")
    command = [sys.executable, "-P", SERVING / "server.py", tmp_path, "--port", "0"]
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300)
    assert result.returncode == 1
    assert f"error: {tmp_path}: the SavedModel cannot be loaded" in result.stderr


@pytest.mark.slow
def test_costly_requests_do_not_hold_up_the_others(url):
    """Some are refused, some are answered in turns with other requests."""
    model, _ = url
    jpeg = io.BytesIO()
    Image.fromarray(pixels(60, 80, 3)).save(jpeg, "JPEG")
    segments = jpeg.getvalue()[:2] + b"\xff\xe5\x00\x02" * 65_000 + jpeg.getvalue()[2:]
    bomb = bytearray(png(pixels(60, 80, 3)))
    bomb[16:24] = struct.pack(">II", 20_000, 20_000)

    def numbers(images):
        image = [[[200] * 3] * 500] * 500
        return json.dumps({"inputs": [image] * images}, separators=(",", ":")).encode()

    def encoded(*files):
        return json.dumps(rest_client.request_body(list(files))).encode()

    costly = [
        (encoded(*[segments] * 40), 413),
        (encoded(*[png(pixels(8, 8, 3))] * 2000), 413),
        (encoded(bytes(bomb)), 413),
        (numbers(14), 413),  # 48 MB
        (numbers(2), 200),
        (encoded(*[png(pixels(300, 400, 3))] * 20), 200),
    ]
    small = [png(pixels(60, 80, 3))]
    for data, status in costly:
        with futures.ThreadPoolExecutor(1) as threads:
            answer = threads.submit(requests.post, f"{model}:predict", data=data, timeout=120)
            slowest = 0.0
            while not answer.done():
                started = time.monotonic()
                rest_client.predict(model, small)
                slowest = max(slowest, time.monotonic() - started)
            assert answer.result().status_code == status
        assert slowest < 5, data[:80]


@pytest.mark.slow
def test_the_openapi_document_passes_schemathesis(url, tmp_path):
    pytest.importorskip("schemathesis")
    program = Path(sys.executable).with_name("schemathesis")
    document = f"{url[0].partition('/v1')[0]}/openapi.json"
    command = [program, "run", document, "--phases", "coverage,fuzzing", "--max-examples", "5", "--seed", "0"]
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert result.returncode == 0, result.stdout[-3000:]


@pytest.mark.slow
def test_a_load_of_mixed_sizes_and_bad_requests_loses_nothing(url, saved_path, capsys):
    """Every answer is compared with the file's own; a mix-up of clients would show."""
    model, pid = url
    images = [pixels(40 + 16 * i, 200 - 12 * i, 3) for i in range(8)]
    runtime = SavedModelRuntime(saved_path)
    expected = [runtime.run_encoded([png(image)])["detection_scores"][0] for image in images]
    bodies = [load.Request(json.dumps(rest_client.request_body([png(image)])).encode()) for image in images]
    bodies += [load.Request(b"{", 400), load.Request(json.dumps(rest_client.request_body([b"x"])).encode(), 400)]

    def check(index, answer):
        difference = np.abs(answer["predictions"][0]["detection_scores"] - expected[index]).max()
        return None if difference < 1e-4 else f"body {index}: scores differ by {difference}"

    load.run_load(model, bodies, clients=8, count=200, check=check)  # every shape once: TensorFlow keeps plans of each
    before = resident(pid)
    result = load.run_load(model, bodies, clients=8, count=1000, check=check)
    grown = resident(pid) / before - 1
    assert result.faults == []
    with capsys.disabled():
        print(f"\n{result}; resident {before / 2**20:.0f} MiB, {grown:+.1%} after 1000 requests")
    assert result.lost == 0
    assert result.statuses == {200: 800, 400: 200}
    assert grown < 0.1


def resident(pid):
    """Bytes of a process and of its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(resident(int(child)) for child in children)


@pytest.fixture(scope="module")
def serving_api(tmp_path_factory):
    """TensorFlow Serving's messages, installed apart: they ask for `tensorflow` where there may be tensorflow-cpu."""
    target = tmp_path_factory.mktemp("serving_api")
    release = ".".join(tf.__version__.split(".")[:2])
    package = f"tensorflow-serving-api=={release}.*"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target, package]
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(target))
        yield importlib.import_module("tensorflow_serving")


GENCODE = pytest.mark.filterwarnings("ignore:Protobuf gencode version:UserWarning")


@pytest.mark.slow
@GENCODE
def test_warm_up_requests_are_tensorflow_servings_messages_and_run(serving_api, saved_path):
    messages = importlib.import_module("tensorflow_serving.apis.prediction_log_pb2")
    model = tf.saved_model.load(str(saved_path))
    signatures = []
    for record in tf.data.TFRecordDataset(str(saved_path / "assets.extra" / WARMUP)):
        request = messages.PredictionLog.FromString(record.numpy()).predict_log.request
        signatures.append(request.model_spec.signature_name)
        inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
        assert set(model.signatures[signatures[-1]](**inputs)) == set(OUTPUTS)
    assert signatures == ["serving_default", "encoded"]


@pytest.mark.slow
@GENCODE
def test_the_grpc_client_speaks_to_a_prediction_service(serving_api, saved_path):
    """The service here is made of TensorFlow Serving's own definition; behind it is the SavedModel."""
    import grpc

    definitions = importlib.import_module("tensorflow_serving.apis.prediction_service_pb2_grpc")
    predict = importlib.import_module("tensorflow_serving.apis.predict_pb2")
    runtime = SavedModelRuntime(saved_path)

    class Service(definitions.PredictionServiceServicer):
        def Predict(self, request, context):  # noqa: N802, the name in the definition
            assert (request.model_spec.name, request.model_spec.signature_name) == ("detector", "encoded")
            outputs = runtime.run_encoded(list(tf.make_ndarray(request.inputs["encoded_images"])))
            answer = predict.PredictResponse()
            for name, value in outputs.items():
                answer.outputs[name].CopyFrom(tf.make_tensor_proto(value))
            return answer

    client = runpy.run_path(str(SERVING / "grpc_client.py"))
    service = grpc.server(futures.ThreadPoolExecutor(2), options=client["OPTIONS"])
    definitions.add_PredictionServiceServicer_to_server(Service(), service)
    port = service.add_insecure_port("127.0.0.1:0")
    service.start()
    try:
        large = pixels(1300, 1100, 3)  # noise does not compress: 4.3 MB, over gRPC's own limit
        outputs = client["predict"](f"127.0.0.1:{port}", [png(pixels(60, 80, 3)), png(large)])
    finally:
        service.stop(0)
    for name, value in runtime.run_encoded([png(pixels(60, 80, 3)), png(large)]).items():
        np.testing.assert_allclose(outputs[name], value, atol=1e-5)


@pytest.mark.slow
@GENCODE
def test_the_model_configuration_is_one_of_tensorflow_serving(serving_api):
    text_format = importlib.import_module("google.protobuf.text_format")
    messages = importlib.import_module("tensorflow_serving.config.model_server_config_pb2")
    text = (SERVING / "config/models.config").read_text()
    (model,) = text_format.Parse(text, messages.ModelServerConfig()).model_config_list.config
    assert (model.name, model.base_path) == ("detector", "/models/detector")
    text = (SERVING / "kubernetes/tensorflow-serving/canary/models.config").read_text()
    (canary,) = text_format.Parse(text, messages.ModelServerConfig()).model_config_list.config
    assert (canary.name, canary.base_path) == (model.name, model.base_path)
    assert sorted(canary.version_labels.values()) == list(canary.model_version_policy.specific.versions) == [1, 2]
