"""Damaged and changed files: one clear line, before a runtime sees them where it would crash."""

import json
from pathlib import Path

import numpy as np
import pytest

from tfrcnn.config import Category
from tfrcnn.errors import InputError
from tfrcnn.export import TARGETS, load
from tfrcnn.export.artefact import OUTPUTS
from tfrcnn.export.contract import describe
from tfrcnn.export.integrity import SHA256, check_description, run, sha256
from tfrcnn.export.tflite.metadata import associated_files
from tfrcnn.models import preset

CONFIG = preset("tiny_fpn", (Category(3, "cat"), Category(90, "dog"))).detector
MODEL = b"\x1c\0\0\0TFL3" + bytes(range(200))


@pytest.mark.parametrize("at", [9, 100, 207])
def test_a_tflite_file_with_a_wrong_byte_is_refused_before_litert_sees_it(tmp_path, at):
    description = {**describe(CONFIG, "tflite", "float32", "labels"), SHA256: sha256(MODEL)}
    data = bytearray(MODEL + associated_files(description, ["cat", "dog"]))
    data[at] ^= 1
    (tmp_path / "a.tflite").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.tflite: damaged or changed since tfrcnn wrote it"):
        load(tmp_path / "a.tflite")


def test_a_saved_model_with_a_wrong_byte_is_refused_before_tensorflow_sees_it(tmp_path):
    (tmp_path / "assets").mkdir()
    description = {**describe(CONFIG, "saved_model", "float32"), SHA256: sha256(b"graph")}
    (tmp_path / "assets/tfrcnn.json").write_text(json.dumps(description))
    (tmp_path / "saved_model.pb").write_bytes(b"grapi")
    with pytest.raises(InputError, match="damaged or changed since tfrcnn wrote it"):
        load(tmp_path)


def description(**changes):
    return {**describe(CONFIG, "onnx", "float32"), **changes}


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "tflite"},
        {"format": None},
        {"precision": "float64"},
        {"precision": None},
        {"precision": []},
        {"classes": "names"},
        {"categories": []},
        {"categories": None},
        {"categories": ["cat"]},
        {"categories": [{"id": 1}]},
        {"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]},
        {"detections": None},
        {"detections": {"score_threshold": "high"}},
        {"image": {"static_size": [1]}},
        {"image": []},
    ],
)
def test_a_description_with_another_value_is_refused_with_the_file_and_the_field(tmp_path, changes):
    (field,) = changes
    name = {"detections": "DetectionConfig|score_threshold", "image": "ImageConfig"}.get(field, field)
    with pytest.raises(InputError, match=rf"(?i)a\.onnx: its description is damaged: .*({name}|Category)"):
        check_description(tmp_path / "a.onnx", description(**changes), TARGETS["onnx"])
    check_description(tmp_path / "a.onnx", description(), TARGETS["onnx"])


@pytest.mark.parametrize("field", ["format", "precision", "classes", "categories", "detections", "image"])
def test_a_description_without_a_field_is_refused(tmp_path, field):
    values = description()
    del values[field]
    with pytest.raises(InputError, match=r"a\.onnx: its description is damaged: "):
        check_description(tmp_path / "a.onnx", values, TARGETS["onnx"])


class Damaged:
    """A runtime that returns other outputs than the contract's, or raises."""

    path = Path("cells.onnx")

    def __init__(self, outputs):
        self.outputs = outputs

    def run(self, images):
        if isinstance(self.outputs, Exception):
            raise self.outputs
        return self.outputs


def outputs(**changes):
    values = (np.zeros((1, 2, 4)), np.array([[3.0, 0.0]]), np.array([[0.5, 0.0]]), np.array([1.0]))
    return {**dict(zip(OUTPUTS, values)), **changes}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (ValueError("Node\nfailed"), "cannot be run, it is damaged or was changed: Node failed"),
        (KeyError("x"), "cannot be run"),
        ({}, "it has no output detection_boxes"),
        (outputs(detection_boxes=np.zeros((1, 3, 4))), r"shapes \[\[1, 3, 4\], \[1, 2\]"),
        (outputs(num_detections=np.zeros(())), "shapes"),
        (outputs(num_detections=np.array([3.0])), r"num_detections is \[3.0\]"),
        (outputs(num_detections=np.array([np.nan])), "num_detections is"),
        (outputs(num_detections=np.array([-1.0])), "num_detections is"),
        (outputs(detection_classes=np.array([[4.0, 0.0]])), "detection_classes has 4.0, which is no category"),
        (outputs(detection_classes=np.array([[np.nan, 0.0]])), "which is no category"),
        (InputError("images: one line"), "^images: one line$"),
    ],
)
def test_a_graph_that_answers_something_else_is_one_clear_line_with_the_file(wrong, message):
    with pytest.raises(InputError, match=message) as caught:
        run(Damaged(wrong), np.zeros((1, 4, 4, 3), np.uint8), frozenset({3, 90}))
    assert "\n" not in str(caught.value)
    assert isinstance(wrong, InputError) or str(caught.value).startswith("cells.onnx: ")


def test_a_sound_graphs_outputs_are_returned():
    same = outputs()
    assert run(Damaged(same), np.zeros((1, 4, 4, 3), np.uint8), frozenset({3, 90})) is same
