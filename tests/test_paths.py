"""Every public function that takes a path refuses what is none in one line that names the argument."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image

import tfrcnn
import tfrcnn.batch
import tfrcnn.demo
import tfrcnn.evaluation.coco_results
import tfrcnn.evaluation.read_results
import tfrcnn.evaluation.report
import tfrcnn.export
import tfrcnn.prediction
from tfrcnn.drawing import save_png
from tfrcnn.files import check_path
from tfrcnn.training.lr_finder import LearningRateSweep

NO_PATHS = (None, 5, True, [], b"cells", "", " ", "a\0b")
ONNX = tfrcnn.export.ExportOptions("onnx")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Return a data set of one picture, its file, a preset and a detector."""
    folder = tmp_path_factory.mktemp("paths")
    Image.new("RGB", (64, 64)).save(folder / "a.png")
    boxes = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [4, 4, 20, 20]}]
    images = [{"id": 1, "file_name": "a.png", "width": 64, "height": 64}]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "square"}]}
    file = folder / "a.json"
    file.write_text(json.dumps(content))
    data = tfrcnn.load_dataset(str(file))
    preset = tfrcnn.preset("tiny_fpn", data.categories)
    return file, data, preset, tfrcnn.build_detector(preset.detector)


# The argument by its name, and the call that takes it: path, file, data, preset, detector.
CALLS = {
    "load_detector: folder": lambda path, *_: tfrcnn.load_detector(path),
    "save_detector: folder": lambda path, file, data, preset, detector: tfrcnn.save_detector(detector, path),
    "load: detector": lambda path, *_: tfrcnn.load(path),
    "Predictor: detector": lambda path, *_: tfrcnn.Predictor(path),
    "build_detector: backbone_weights": lambda path, file, data, preset, _: tfrcnn.build_detector(
        preset.detector, backbone_weights=path
    ),
    "train: out": lambda path, file, data, preset, detector: tfrcnn.train(detector, data, None, path, preset.training),
    "train resumed: out": lambda path, file, data, preset, detector: tfrcnn.train(
        detector, data, None, path, preset.training, resume=True
    ),
    "Recipe.run: out": lambda path, file, *_: tfrcnn.Recipe(str(file), model="tiny_fpn").run(path),
    "Recipe.of_run: folder": lambda path, *_: tfrcnn.Recipe.of_run(path),
    "load_run: folder": lambda path, *_: tfrcnn.training.run.load_run(path),
    "LearningRateSweep.save: folder": lambda path, *_: LearningRateSweep((0.1,), (1.0,), None).save(path),
    "load_dataset: data": lambda path, *_: tfrcnn.load_dataset(path),
    "read_dataset: data": lambda path, *_: tfrcnn.read_dataset(path),
    "diagnose: data": lambda path, *_: tfrcnn.diagnose(path),
    "data_report: data": lambda path, file, *_: tfrcnn.data_report(path, file.with_name("report.html")),
    "data_report: out": lambda path, file, *_: tfrcnn.data_report(str(file), path),
    "evaluation_report: out": lambda path, file, data, *_: tfrcnn.evaluation_report(data, [], path),
    "convert_dataset: data": lambda path, file, *_: tfrcnn.convert_dataset(path, "coco", file.with_name("new")),
    "convert_dataset: out": lambda path, file, *_: tfrcnn.convert_dataset(str(file), "coco", path),
    "write_thresholds: folder": lambda path, *_: tfrcnn.write_thresholds(path, {"square": 0.5}),
    "read_region: path": lambda path, *_: tfrcnn.read_region(path),
    "import_weights: checkpoint": lambda path, *_: tfrcnn.import_weights(path),
    "read_coco_results: path": lambda path, file, data, *_: tfrcnn.evaluation.read_results.read_coco_results(
        path, data
    ),
    "write_coco_results: path": lambda path, file, data, *_: tfrcnn.evaluation.coco_results.write_coco_results(
        path, data, []
    ),
    "predict_images: out": lambda path, file, *_: tfrcnn.prediction.predict_images(
        None, [str(file.with_name("a.png"))], path
    ),
    "batch.Detect: model": lambda path, *_: tfrcnn.batch.Detect(path),
    "save_png: path": lambda path, *_: save_png(Image.new("RGB", (2, 2)), path),
    "digit_scenes: folder": lambda path, *_: tfrcnn.demo.digit_scenes(path),
    "digit_datasets: folder": lambda path, *_: tfrcnn.demo.digit_datasets(path),
    "trained_on_digits: folder": lambda path, *_: tfrcnn.demo.trained_on_digits(path),
    "export: path": lambda path, file, data, preset, detector: tfrcnn.export.export(detector, path, ONNX, check=False),
    "export.load: path": lambda path, *_: tfrcnn.export.load(path),
    "export.verify: path": lambda path, *_: tfrcnn.export.verify(None, None, path),
    "publish: folder": lambda path, file, data, preset, detector: tfrcnn.export.publish(detector, path, ONNX),
    "list_versions: folder": lambda path, *_: tfrcnn.export.list_versions(path),
    "rollback: folder": lambda path, *_: tfrcnn.export.rollback(path),
    "to_onnx: path": lambda path, file, data, preset, detector: tfrcnn.export.to_onnx(detector, path),
    "to_tflite: path": lambda path, file, data, preset, detector: tfrcnn.export.to_tflite(detector, path),
    "to_saved_model: path": lambda path, file, data, preset, detector: tfrcnn.export.to_saved_model(detector, path),
}


@pytest.mark.parametrize("call", CALLS)
def test_what_is_no_path_is_refused_in_one_line_that_names_the_argument(call, world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = call.rpartition(": ")[2]
    for path in NO_PATHS:
        with pytest.raises(tfrcnn.InputError, match=f"(?s){name}") as error:
            CALLS[call](path, *world)
        assert "\n" not in str(error.value), path
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("argument", ["images", "val_images"])
def test_an_empty_folder_of_images_is_not_the_current_folder(argument, world):
    file = str(world[0])
    with pytest.raises(tfrcnn.InputError, match=f"{argument}: expected a path, found ''; the current folder is '.'"):
        tfrcnn.diagnose(file, val=file, **{argument: ""})


@pytest.mark.parametrize("val", [5, True, [], b"cells", ""])
def test_a_report_refuses_validation_data_that_are_none(val, world, tmp_path):
    with pytest.raises(tfrcnn.InputError, match="val"):
        tfrcnn.data_report(str(world[0]), tmp_path / "report.html", val=val)


def test_a_path_is_validation_data_of_a_report_and_of_a_conversion(world, tmp_path):
    file = world[0]
    assert set(tfrcnn.data_report(file, tmp_path / "report.html", val=file)["splits"]) == {"data", "val"}
    assert set(tfrcnn.convert_dataset(file, "voc", tmp_path / "new", val=file).data) == {"train", "val"}


def test_a_list_is_no_name_of_a_preset_or_a_format(world, tmp_path):
    with pytest.raises(tfrcnn.InputError, match="name: expected the name or the file of a preset, found list"):
        tfrcnn.preset([])
    with pytest.raises(tfrcnn.InputError, match=r"to: expected one of .*, found \[\]"):
        tfrcnn.convert_dataset(str(world[0]), [], tmp_path / "new")


def test_a_path_is_text_or_a_path_of_text():
    class Bytes:
        def __fspath__(self):
            return b"cells"

    assert check_path("runs/cells", "folder") == check_path(Path("runs/cells"), "folder") == Path("runs/cells")
    with pytest.raises(tfrcnn.InputError, match="folder: expected a path, found bytes"):
        check_path(Bytes(), "folder")
