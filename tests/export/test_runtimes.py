"""Which runtime a path needs, and the Keras one."""

import importlib
import json
import sys

import numpy as np
import pytest
from PIL import Image

import tfrcnn
import tfrcnn.export
from tfrcnn.config import Category
from tfrcnn.errors import InputError
from tfrcnn.export import TARGETS
from tfrcnn.export.artefact import OUTPUTS
from tfrcnn.export.contract import describe, prepare, to_contract
from tfrcnn.export.runtimes import ArtefactPredictor, format_of, load
from tfrcnn.models import build_detector, preset, save_detector

CATEGORIES = (Category(3, "cat"), Category(90, "dog"))


@pytest.fixture(scope="module")
def detector():
    return build_detector(preset("tiny_fpn", CATEGORIES).detector)


@pytest.mark.parametrize(
    ("name", "content", "format"),
    [
        ("a.bin", b"\x1c\0\0\0TFL3....", "tflite"),
        ("a.onnx", b"\x08\x08", "onnx"),
        ("A.ONNX", b"\x08\x08", "onnx"),
        ("a/saved_model.pb", b"", "saved_model"),
    ],
)
def test_artefacts_are_told_apart(name, content, format, tmp_path):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    assert format_of(path if format != "saved_model" else path.parent) == format


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "expected a run folder .* found nothing"),
        ("text.txt", "expected a run folder"),
        ("empty", "expected a run folder"),
    ],
)
def test_anything_else_is_one_clear_error(name, message, tmp_path):
    (tmp_path / "text.txt").write_text("notes, of some length")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        load(tmp_path / name)


@pytest.mark.slow
def test_a_run_folder_detects_below_its_own_threshold_if_asked(detector, tmp_path):
    save_detector(detector, tmp_path / "run")
    assert load(tmp_path / "run").detector.config.detections.score_threshold == 0.05
    assert load(tmp_path / "run", score_threshold=0.01).detector.config.detections.score_threshold == 0.01
    assert load(tmp_path / "run", score_threshold=0.5).detector.config.detections.score_threshold == 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, "threads: expected a whole number in 1..1,024, found 0"),
        ({"threads": "2"}, "threads: expected a whole number"),
        ({"score_threshold": "0.5"}, r"score_threshold must be a number in \[0, 1\), found '0.5'"),
        ({"score_threshold": np.nan}, "found nan"),
        ({"score_threshold": 50}, "found 50"),
        ({"score_threshold": 1}, "found 1"),
    ],
)
@pytest.mark.parametrize("name", ["run", "a.onnx", "a.tflite"])
def test_options_out_of_range_are_refused_for_every_format(name, options, message, tmp_path):
    with pytest.raises(InputError, match=message):
        load(tmp_path / name, **options)


class Sizes:
    """A runtime that finds nothing and records the size of each image."""

    def __init__(self, detector):
        self.description = describe(detector.config, "onnx", "float32")
        self.sizes = []

    def run(self, images):
        self.sizes.append(images.shape[1:3])
        empty = np.zeros((1, 0), np.float32)
        return dict(zip(OUTPUTS, (np.zeros((1, 0, 4), np.float32), empty, empty, np.zeros(1, np.float32))))


def test_an_image_is_turned_as_its_data_set_says_and_not_as_its_exif(detector, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (96, 64)).save(tmp_path / "a.jpg", exif=exif)
    box = {"id": 1, "image_id": 0, "category_id": 3, "bbox": [60, 10, 30, 20], "area": 600, "iscrowd": 0}
    content = {
        "images": [{"id": 0, "file_name": "a.jpg", "width": 96, "height": 64}],
        "annotations": [box],
        "categories": [category.to_dict() for category in CATEGORIES],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    data, _ = tfrcnn.read_dataset(str(tmp_path / "a.json"))
    assert data.examples[0].orientation == 1  # the boxes are of the stored pixels
    runtime = Sizes(detector)
    detections = ArtefactPredictor(runtime).detect_dataset(data)
    assert runtime.sizes == [(64, 96)]
    assert [each.image_id for each in detections] == [0]


def test_the_contract_is_normalised_boxes_and_category_ids():
    detections = {
        "boxes": np.array([[[10.0, 20, 30, 40], [0, 0, 0, 0]]], np.float32),
        "scores": np.array([[0.5, 0.0]], np.float32),
        "labels": np.array([[1, 0]], np.int32),
        "num_detections": np.array([1], np.int32),
    }
    outputs = to_contract(detections, np.array([[100.0, 200.0]], np.float32), np.array([3.0, 90.0], np.float32))
    assert tuple(outputs) == OUTPUTS
    np.testing.assert_allclose(outputs["detection_boxes"][0, 0], [0.1, 0.1, 0.3, 0.2])
    np.testing.assert_array_equal(outputs["detection_classes"], [[90, 0]])
    np.testing.assert_array_equal(outputs["num_detections"], [1])


class Recorded:
    """A runtime that answers the same to every picture."""

    def __init__(self, config, classes, values):
        self.description = {**describe(config, "onnx", "float32"), "classes": classes}
        self.values = values

    def run(self, images):
        assert images.dtype == np.uint8
        self.images = images
        boxes = np.array([[[0.1, 0.1, 0.3, 0.2], [0, 0, 0, 0]]], np.float32)
        scores, count = np.array([[0.5, 0]], np.float32), np.array([1.0], np.float32)
        return dict(zip(OUTPUTS, (boxes, np.array([[self.values, 0]], np.float32), scores, count)))


@pytest.mark.parametrize(("classes", "value"), [("category ids", 90), ("labels", 1)])
def test_detections_of_a_file_are_labels_and_pixels(detector, classes, value):
    predictor = ArtefactPredictor(Recorded(detector.config, classes, value))
    detections = predictor.detect(np.zeros((100, 200, 3), np.uint8), "a")
    np.testing.assert_allclose(detections.boxes, [[10, 20, 30, 40]], rtol=1e-6)
    assert detections.labels.tolist() == [1]
    assert detections.image_id == "a"
    assert predictor.categories == CATEGORIES


def test_a_file_gets_8_bit_pixels_as_they_are_and_others_rounded(detector):
    runtime = Recorded(detector.config, "labels", 1)
    picture = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    ArtefactPredictor(runtime).detect(picture)
    assert np.shares_memory(runtime.images, picture)
    ArtefactPredictor(runtime).detect(np.where(picture == 0, -0.3, picture + 0.4))
    np.testing.assert_array_equal(runtime.images[0], picture)


def test_an_export_has_its_own_limits_and_the_same_weights(detector):
    copy = prepare(detector, (64, 96), max_detections=7, score_threshold=0.2)
    assert copy.network.inputs[0].shape == (None, 64, 96, 3)
    assert copy.config.detections.max_detections == 7
    assert copy.config.detections.score_threshold == 0.2
    for one, other in zip(copy.get_weights(), detector.get_weights()):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(InputError, match=r"positive multiples of 32, found \(64, 100\)"):
        prepare(detector, (64, 100))


@pytest.mark.parametrize("name", tfrcnn.export.__all__)
def test_public_names_of_exports_are_there_and_explained(name):
    value = getattr(tfrcnn.export, name)
    assert value.__name__ == name
    assert value.__doc__


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [("tflite_runtime", "tflite.runtime", "letterbox"), ("verification", "check.verification", "match")],
)
def test_modules_that_moved_work_under_their_old_names_and_warn(old, new, name, monkeypatch):
    monkeypatch.delitem(sys.modules, f"tfrcnn.export.{old}", raising=False)
    with pytest.warns(DeprecationWarning, match=rf"tfrcnn.export.{old} is deprecated.*use tfrcnn.export.{new} instead"):
        moved = importlib.import_module(f"tfrcnn.export.{old}")
    assert getattr(moved, name) is getattr(importlib.import_module(f"tfrcnn.export.{new}"), name)


@pytest.mark.parametrize("name", TARGETS)
def test_the_folder_of_a_format_has_its_writer(name):
    folder = importlib.import_module(f"tfrcnn.export.{name}")
    assert getattr(folder, f"to_{name}") is getattr(tfrcnn.export, f"to_{name}")
    with pytest.raises(AttributeError, match="has no attribute 'to_nothing'"):
        _ = folder.to_nothing
