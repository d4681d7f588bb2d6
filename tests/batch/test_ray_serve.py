"""The replica of Ray Serve has the routes and answers of `tfrcnn serve`; its options; and Ray Serve under load."""

import asyncio
import base64
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfrcnn.errors import InputError

from ..stub_onnx import write_stub
from .conftest import CATEGORIES

pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")
from tfrcnn.export.serving.ray_serve import Options, find_models, make_replica, read_options  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


def send(app: Any, method: str, path: str, content: Any = None) -> Any:
    """Send a request to an app in this process."""

    async def request() -> Any:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://replica") as client:
            return await client.request(method, path, json=content)

    return asyncio.run(request())


def body(*files: Path) -> dict:
    rows = [{"b64": base64.b64encode(file.read_bytes()).decode()} for file in files]
    return {"signature_name": "encoded", "instances": rows}


def test_a_replica_answers_as_the_server_does(model: Path, pictures: Path) -> None:
    app = make_replica(Options(str(model), "cells", "7"))
    answer = send(app, "POST", "/v1/models/cells:predict", body(pictures / "00.png", pictures / "01.png"))
    assert answer.status_code == 200
    first, second = answer.json()["predictions"]
    assert first == second
    assert (first["detection_classes"], first["num_detections"]) == ([3, 90], 2)
    assert first["detection_boxes"][0] == pytest.approx([0.1, 0.1, 0.5, 0.5])
    answer = send(app, "POST", "/v1/models/cells/versions/7:predict", body(pictures / "00.png"))
    assert answer.json()["predictions"] == [first]
    status = send(app, "GET", "/v1/models/cells").json()["model_version_status"][0]
    assert (status["version"], status["state"]) == ("7", "AVAILABLE")
    assert send(app, "GET", "/health/ready").json() == {"status": "ready"}
    assert "tfrcnn_images_total 3.0" in send(app, "GET", "/metrics").text
    assert send(app, "GET", "/").status_code == 200


def test_a_replica_refuses_as_the_server_does(model: Path, pictures: Path) -> None:
    app = make_replica(Options(str(model), version="1"))
    for path, content, status, message in (
        ("detector", body(pictures / "04.png"), 400, r"cannot decode the one at position \[0\]"),
        ("detector", {"instances": []}, 400, "expected a list of images"),
        ("detector/versions/2", body(pictures / "00.png"), 404, "Servable not found"),
    ):
        answer = send(app, "POST", f"/v1/models/{path}:predict", content)
        assert answer.status_code == status
        assert re.search(message, answer.json()["error"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "model: expected the path of an exported file, found none"),
        ({"model": "none.onnx"}, "none.onnx: expected a run folder"),
        ({"replicas": "0"}, "replicas: expected at least 1, found '0'"),
        ({"threads": "many"}, "threads: expected a whole number, found 'many'"),
        ({"replicas": None}, "replicas: expected a whole number, found None"),
        ({"replicas": 2.7}, r"replicas: expected a whole number, found 2\.7"),
        ({"replicas": True}, "replicas: expected a whole number, found True"),
        ({"model": None}, "model: expected a text, found None"),
        ({"model": "none.onnx", "name": "a/b"}, "name: expected a name without / and :, found 'a/b'"),
        ({"replica": "2"}, "replica: expected one of model, name, version, replicas, threads"),
    ],
)
def test_arguments_of_the_builder_are_checked(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_options(arguments)


def test_arguments_may_be_texts_and_a_numbered_folder_is_the_version(model: Path, tmp_path: Path) -> None:
    saved = tmp_path / "cells" / "12"
    saved.mkdir(parents=True)
    (saved / "saved_model.pb").touch()
    assert read_options({"model": str(saved), "replicas": "2"}) == Options(str(saved), version="12", replicas=2)
    assert read_options({"model": str(saved), "replicas": np.int64(2)}).replicas == 2
    assert read_options({"model": str(model), "version": 3}).version == "3"


def add_version(folder: Path, version: int, content: bytes) -> Path:
    (folder / str(version)).mkdir(parents=True)
    (folder / str(version) / "model.onnx").write_bytes(content)
    return folder / str(version) / "model.onnx"


def test_a_version_of_a_folder_is_chosen_by_its_number(tmp_path: Path) -> None:
    models = [add_version(tmp_path, version, b"") for version in (10, 9)]
    assert find_models(read_options({"model": str(tmp_path)})) == models
    assert find_models(read_options({"model": str(tmp_path), "version": "9"})) == models[1:]
    with pytest.raises(InputError, match=f"version: expected one of 10, 9 in {tmp_path}, found '3'"):
        read_options({"model": str(tmp_path), "version": "3"})


def test_a_replica_goes_back_to_the_newest_version_that_loads(
    model: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_version(tmp_path / "models", 1, model.read_bytes())
    add_version(tmp_path / "models", 2, model.read_bytes())
    add_version(tmp_path / "models", 3, b"damaged")
    options = read_options({"model": str(tmp_path / "models"), "name": "cells"})
    models = find_models(options)
    add_version(tmp_path / "models", 4, model.read_bytes())  # not there at the deployment
    app = make_replica(options, models)
    assert send(app, "GET", "/health").json() == {"status": "ready", "refused": ["3"]}
    assert send(app, "POST", "/v1/models/cells/versions/2:predict", body(pictures / "00.png")).status_code == 200
    assert 'tfrcnn_refused_versions{version="3"} 1.0' in send(app, "GET", "/metrics").text
    assert capsys.readouterr().err.startswith("error: version 3 cannot be loaded; going back to version 2: ")
    with pytest.raises(Exception, match=r"3/model\.onnx"):
        make_replica(read_options({"model": str(tmp_path / "models"), "version": "3"}))


@pytest.mark.slow
def test_an_update_under_load_loses_no_request(model: Path, pictures: Path, tmp_path: Path) -> None:
    if not importlib.util.find_spec("ray"):
        pytest.skip("Ray is not installed: pip install 'tfrcnn[ray]'")
    other = write_stub(tmp_path / "other.onnx", CATEGORIES, [[0.2, 0.2, 0.6, 0.6]], [90], [0.8])
    program = [sys.executable, str(ROOT / "benchmarks/ray_serve_update.py")]
    words = [str(model), str(other), str(pictures / "00.png"), "--seconds", "2"]
    done = subprocess.run([*program, *words], capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall("lost: none", done.stdout)) >= 4
