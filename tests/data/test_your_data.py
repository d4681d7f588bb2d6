"""Each row of the table of layouts in docs/your-data.md is read and converted, as the page says."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tfrcnn.data.convert import WRITERS as WRITERS_OF_FORMATS
from tfrcnn.data.convert import convert_dataset
from tfrcnn.data.read import load_dataset

from . import test_coco_folder as coco
from . import test_csv as csv
from . import test_cvat as cvat
from . import test_tfrecord as tfrecord
from . import test_voc_folder as voc
from . import test_yolo as yolo
from .test_voc import obj

PAGE = Path(__file__).parents[2] / "docs" / "your-data.md"
LINE = re.compile(r"^\| (.+?) \| .* \| `(cells.*?)` \| ([\w, ]+) \|$", re.MULTILINE)
ROWS = {row: (data, targets) for row, data, targets in LINE.findall(PAGE.read_text(encoding="utf-8"))}


def coco_files(file: str, images: str, root: Path) -> None:
    coco.write(root / file, root / images, "a.jpg")


def voc_files(annotation: str, image: str, root: Path, split: str = "", tool: str = "") -> None:
    box = obj("dog", "5 4 24 9")
    if tool == "CVAT":
        attributes = "<attributes><attribute><name>rotation</name><value>0.0</value></attribute></attributes></object>"
        box = obj("dog", "4.0 3.0 24.0 9.0", "<occluded>0</occluded>").replace("</object>", attributes)
    elif tool == "Label Studio":
        box = "<owner><name>Label Studio</name></owner>" + obj("dog", "4 3 24 9")
    voc.write(root, annotation, image, box, filename=Path(image).name)
    if split:
        yolo.write(root, {f"ImageSets/Main/{split}.txt": "a\n"})


def yolo_files(tool: str, root: Path) -> None:
    files, image, _ = yolo.LAYOUTS[tool]
    box = "1 0.35 0.2 0.5 0.2"  # y 3..9 and x 4..24 in 40 x 30 pixels, as the other sets
    yolo.write(root, {name: text.replace(yolo.BOX.strip(), box) for name, text in files.items()}, image)


def csv_files(file: str, root: Path) -> None:
    csv.write(root / file, csv.TUTORIAL, "a.jpg,40,30,dog,4,3,24,9", images=("a.jpg",))


def cvat_files(root: Path) -> None:
    box = '<box label="dog" occluded="0" xtl="4.00" ytl="3.00" xbr="24.00" ybr="9.00" z_order="0"></box>'
    cvat.write(root, cvat.image(box), meta="<annotations>")


def tfrecord_files(root: Path) -> None:
    sides = {"xmin": 4 / 40, "ymin": 3 / 30, "xmax": 24 / 40, "ymax": 9 / 30}
    objects = {f"bbox__{side}": [value] for side, value in sides.items()}
    tfrecord.write(root / "train.tfrecord", tfrecord.record(**objects, class__text=[b"dog"]))


WRITERS: dict[str, Callable[[Path], None]] = {
    "Roboflow, COCO": partial(coco_files, "train/_annotations.coco.json", "train"),
    "CVAT, COCO": partial(coco_files, "annotations/instances_default.json", "images"),
    "Label Studio, COCO": partial(coco_files, "result.json", "images"),
    "FiftyOne, COCO": partial(coco_files, "labels.json", "data"),
    "COCO": partial(coco_files, "annotations/instances_train2017.json", "train2017"),
    "any tool, COCO": partial(coco_files, "train.json", "images"),
    "Pascal VOC": partial(voc_files, "Annotations/a.xml", "JPEGImages/a.jpg", split="train"),
    "CVAT, Pascal VOC": partial(voc_files, "Annotations/a.xml", "JPEGImages/a.jpg", split="default", tool="CVAT"),
    "labelImg, Pascal VOC": partial(voc_files, "0001.xml", "0001.jpg"),
    "labelImg, Pascal VOC, two folders": partial(voc_files, "xml/0001.xml", "photos/0001.jpg"),
    "Label Studio, Pascal VOC": partial(voc_files, "Annotations/a.xml", "images/a.jpg", tool="Label Studio"),
    "Roboflow, Pascal VOC": partial(voc_files, "train/a.xml", "train/a.jpg"),
    "Ultralytics, YOLO": partial(yolo_files, "Ultralytics, its folder"),
    "Roboflow, YOLO": partial(yolo_files, "Roboflow"),
    "Roboflow, YOLO Darknet": partial(yolo_files, "Roboflow's Darknet"),
    "CVAT, Ultralytics YOLO": partial(yolo_files, "CVAT's Ultralytics YOLO"),
    "CVAT, YOLO 1.1": partial(yolo_files, "Darknet, CVAT's YOLO 1.1"),
    "Label Studio, YOLO": partial(yolo_files, "Label Studio"),
    "labelImg, YOLO": partial(yolo_files, "labelImg"),
    "TensorFlow's tutorial, RetinaNet, Open Images, CSV": partial(csv_files, "boxes.csv"),
    "Roboflow, CSV": partial(csv_files, "train/_annotations.csv"),
    "CVAT for images 1.1, XML": cvat_files,
    "TF Object Detection API, TFRecord": tfrecord_files,
}


@pytest.mark.parametrize("row", WRITERS)
def test_row_of_the_page_is_read_and_converted_as_the_page_says(
    row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WRITERS[row](tmp_path / "cells")
    monkeypatch.chdir(tmp_path)
    data, targets = ROWS[row]
    dataset = load_dataset(data)
    (example,) = dataset.examples
    np.testing.assert_allclose(example.boxes, [[3, 4, 9, 24]], atol=1e-5)
    assert dataset.categories[example.labels[0]].name == "dog"
    assert targets.lower().split(", ") == list(WRITERS_OF_FORMATS)
    target = targets.lower().split(", ")[list(ROWS).index(row) % len(WRITERS_OF_FORMATS)]
    converted = load_dataset(convert_dataset(data, target, "converted").data["train"])
    np.testing.assert_allclose(converted.examples[0].boxes, [[3, 4, 9, 24]], atol=1e-5)
    assert converted.categories[converted.examples[0].labels[0]].name == "dog"


def test_every_row_of_the_page_has_a_test() -> None:
    assert [row for row in ROWS if row not in WRITERS] == []
