"""The backend of exported files: pictures in, category ids out, and a message for each picture that cannot be used."""

import base64
import io
import json
import time
from types import SimpleNamespace

import numpy as np
import pytest
from fastapi import HTTPException
from PIL import Image

from tfrcnn.config import Category
from tfrcnn.export import runtimes
from tfrcnn.export.serving import backends, worker
from tfrcnn.export.serving.image_file import CostlyError
from tfrcnn.export.serving.protocol import Limits


def encode(pixels, format="PNG", **options):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format, **options)
    return stream.getvalue()


NOISE = np.random.default_rng(0).integers(0, 200, (20, 20, 3), np.uint8)


class Runtime:
    """Detects one object of label 1 in each picture; its score is the picture's height."""

    def __init__(self, classes):
        self.description = {"classes": classes, "format": "tflite"}
        self.pictures = []

    def run(self, images):
        assert images.dtype == np.uint8
        if images.max() == 255:
            raise ValueError("secret/path")
        self.pictures.append(images[0])
        return {
            "detection_boxes": np.zeros((1, 2, 4), np.float32),
            "detection_classes": np.array([[1 if self.description["classes"] == "labels" else 90, 0]], np.float32),
            "detection_scores": np.array([[images.shape[1], 0]], np.float32),
            "num_detections": np.ones(1, np.float32),
        }


@pytest.fixture(params=["labels", "category ids"])
def backend(request, monkeypatch, tmp_path):
    runtime = Runtime(request.param)
    predictor = SimpleNamespace(runtime=runtime, categories=(Category(3, "cat"), Category(90, "dog")))
    monkeypatch.setattr(runtimes, "load", lambda path, threads: predictor)
    return backends.load(tmp_path / "cells.tflite", max_pixels=1000)


class Explaining:
    """A model with gradients; its explanation says what it was asked for."""

    batch = 1

    def run(self, signature, images):
        return {"num_detections": np.zeros(1)}

    def explain(self, data, detection, method):
        if detection > 2:
            raise backends.RefusedError("explain: detection must be 0..2, found 3")
        return {"asked": [len(data), detection, method]}


def explain_request(**changes):
    body = {"signature_name": "explain", "instances": [{"b64": base64.b64encode(b"file").decode()}], **changes}
    return json.dumps(body).encode(), time.monotonic() + 60


def test_a_model_with_gradients_explains_one_detection(monkeypatch):
    monkeypatch.setattr(worker, "check_cost", lambda file, pixels: None)
    model = worker.Model(Explaining(), Limits())
    answer, counts = model.answer(*explain_request(detection=2, method="eigen-cam"))
    assert json.loads(answer) == {"predictions": [{"asked": [4, 2, "eigen-cam"]}]}
    assert counts == {"images": 1, "detections": {}}
    for changes, message in (
        ({"detection": 3}, "explain: detection must be 0..2, found 3"),
        ({"detection": "1"}, "detection: expected the position of a detection, found '1'"),
        ({"method": "lime"}, "method: expected one of grad-cam, eigen-cam, found 'lime'"),
        ({"instances": [{"b64": ""}] * 2}, "explain: expected one image, found 2"),
    ):
        with pytest.raises(HTTPException) as caught:
            model.answer(*explain_request(**changes))
        assert (caught.value.status_code, caught.value.detail) == (400, message)


def test_a_file_without_gradients_says_so(backend, monkeypatch):
    monkeypatch.setattr(worker, "check_cost", lambda file, pixels: None)
    with pytest.raises(HTTPException) as caught:
        worker.Model(backend, Limits()).answer(*explain_request())
    assert caught.value.status_code == 400
    assert "this model has no gradients to explain a detection by; serve its run folder" in caught.value.detail


def test_files_of_several_sizes_and_formats_are_one_request(backend):
    files = [encode(np.zeros((10, 20, 3), np.uint8)), encode(np.full((30, 8), 7, np.uint8), "JPEG")]
    outputs = backend.run("encoded", files)
    assert outputs["detection_scores"][:, 0].tolist() == [10, 30]
    assert outputs["detection_classes"].tolist() == [[90, 0], [90, 0]]  # category ids in every format
    assert [picture.shape for picture in backend.runtime.pictures] == [(10, 20, 3), (30, 8, 3)]


def test_pixels_are_detected_as_they_are(backend):
    outputs = backend.run("serving_default", np.zeros((2, 5, 6, 3), np.uint8))
    assert {name: array.shape for name, array in outputs.items()} == {
        "detection_boxes": (2, 2, 4),
        "detection_classes": (2, 2),
        "detection_scores": (2, 2),
        "num_detections": (2,),
    }


def test_the_exif_orientation_is_applied(backend):
    exif = Image.Exif()
    exif[0x0112] = 6
    backend.run("encoded", [encode(np.zeros((10, 20, 3), np.uint8), "JPEG", exif=exif.tobytes())])
    assert backend.runtime.pictures[0].shape == (20, 10, 3)


@pytest.mark.parametrize("data", [b"", b"no image", encode(NOISE)[:600], b"<svg/>"])
def test_a_file_that_is_no_whole_image_is_refused_with_its_position(backend, data):
    with pytest.raises(backends.RefusedError, match=r"expected whole JPEG, .* position \[1\]$"):
        backend.run("encoded", [encode(np.zeros((5, 5, 3), np.uint8)), data])


def test_a_picture_of_too_many_pixels_is_refused_in_every_format(backend):
    with pytest.raises(CostlyError, match="at most 1000 pixels, found 40 x 50"):
        backend.run("encoded", [encode(np.zeros((40, 50, 3), np.uint8), "TIFF")])


def test_a_fault_of_the_runtime_is_for_the_log(backend, capsys):
    with pytest.raises(backends.RefusedError, match=r"^images: cannot detect in the images from position \[1\]$"):
        backend.run("serving_default", np.stack([np.zeros((5, 5, 3)), np.full((5, 5, 3), 255)]).astype(np.uint8))
    assert "secret/path" in capsys.readouterr().err


def test_detections_are_counted_by_category(backend):
    outputs = backend.run("serving_default", np.zeros((3, 5, 6, 3), np.uint8))
    assert worker._count(outputs) == {"90": 3}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1]",
        "[" * 100_000,
        '{"categories": 5}',
        '{"categories": ["cell"]}',
        '{"categories": [{"id": 1}]}',
        '{"categories": [{"id": "1", "name": "cell"}]}',
        '{"categories": [{"id": 1, "name": null}]}',
    ],
)
def test_a_damaged_description_of_a_saved_model_is_none(tmp_path, text):
    """Otherwise the counts of the first answer would end the worker, and no other would start."""
    assert backends.read_description(tmp_path) == {}
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "tfrcnn.json").write_text(text)
    assert backends.read_description(tmp_path) == {}
    good = {"format": "saved_model", "categories": [{"id": 1, "name": "cell"}]}
    (tmp_path / "assets" / "tfrcnn.json").write_text(json.dumps(good))
    assert backends.read_description(tmp_path) == good
