"""Faults that ruin training or scores, and that no single entry shows."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tfrcnn.data import checks
from tfrcnn.data.checks import in_threads
from tfrcnn.data.doctor import diagnose
from tfrcnn.data.overlap import with_shared_images
from tfrcnn.data.read import read_dataset
from tfrcnn.models.presets import preset

from .test_voc import obj, write, xml


def picture(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (30, 40, 3), np.uint8)).save(path)


def coco(folder: Path, names: list[str], boxes: list[dict[str, Any]], data: str = "a.json") -> str:
    """A COCO file of images with these names, ids 0, 1, ..., and boxes {"image_id", "bbox", ...}."""
    folder.mkdir(exist_ok=True)
    for seed, name in enumerate(names):
        if not (folder / name).exists():
            picture(folder / name, seed)
    content = {
        "images": [{"id": i, "file_name": name, "width": 40, "height": 30} for i, name in enumerate(names)],
        "annotations": [{"id": i, "category_id": 1, **box} for i, box in enumerate(boxes)],
        "categories": [{"id": 1, "name": "cell"}, {"id": 2, "name": "dust"}],
    }
    (folder / data).write_text(json.dumps(content))
    return str(folder / data)


def kinds(data: str) -> dict[str, int]:
    counts = read_dataset(data)[1].counts()
    counts.pop("category-without-boxes", None)
    return counts


BOX, OTHER = [1, 2, 10, 12], [20, 2, 10, 12]


@pytest.mark.parametrize("name", ["a.png", "./a.png", "x/../a.png", "x\\..\\a.png", "a.PNG"])
def test_a_file_that_is_listed_as_two_images_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "x").mkdir()
    content = json.loads(Path(coco(tmp_path, ["a.png"], [])).read_text())
    content["images"].append({"id": 1, "file_name": name, "width": 40, "height": 30})
    content["annotations"] = [{"id": i, "image_id": i, "category_id": 1, "bbox": BOX} for i in (0, 1)]
    (tmp_path / "a.json").write_text(json.dumps(content))
    report = read_dataset(str(tmp_path / "a.json"))[1]
    fault = next(fault for fault in report.faults if fault.kind == "duplicate-image-file")
    assert fault.field == "images[1].file_name"
    assert fault.message.endswith("for image 0 too")
    assert report.refused


def test_xml_files_that_all_name_the_same_image_are_refused(tmp_path: Path) -> None:
    root = write(tmp_path, {name: xml(obj(), filename="a.jpg") for name in "abc"})
    assert kinds(f"{root}@train")["duplicate-image-file"] == 2


def test_links_to_one_file_are_images_of_several_names(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    os.link(tmp_path / "a.png", tmp_path / "b.png")
    (tmp_path / "c.png").symlink_to("a.png")
    assert kinds(coco(tmp_path, ["a.png", "b.png", "c.png"], [{"image_id": 0, "bbox": BOX}])) == {}


def test_boxes_that_are_annotated_twice_are_one_fault_per_image(tmp_path: Path) -> None:
    boxes = [{"image_id": i, "bbox": box} for i in (1, 0) for box in (BOX, OTHER, BOX, OTHER)]
    report = read_dataset(coco(tmp_path, ["a.png", "b.png"], boxes))[1]
    faults = [fault for fault in report.faults if fault.kind == "duplicate-box"]
    assert [fault.field for fault in faults] == ["annotations[6].bbox", "annotations[2].bbox"]
    assert faults[0].message == "expected each object once, found [1, 2, 10, 12] again (and 1 more of this image)"
    assert faults[0].action == "kept"


def test_the_same_box_of_another_class_or_image_is_another_object(tmp_path: Path) -> None:
    boxes = [{"image_id": i, "bbox": BOX, "category_id": label} for i in (0, 1) for label in (1, 2)]
    assert kinds(coco(tmp_path, ["a.png", "b.png"], boxes)) == {}


def test_objects_that_are_annotated_twice_in_an_xml_are_a_fault(tmp_path: Path) -> None:
    assert kinds(f"{write(tmp_path, {'a': xml(obj(), obj(), obj())})}@train") == {"duplicate-box": 1}


@pytest.mark.parametrize(("crowd", "count"), [([1, 1], 1), ([1, 0], 0), ([0, 0], 0)])
def test_boxes_that_are_all_crowd_are_nothing_to_learn_from(tmp_path: Path, crowd: list[int], count: int) -> None:
    boxes = [{"image_id": 0, "bbox": box, "iscrowd": flag} for box, flag in zip((BOX, OTHER), crowd)]
    assert kinds(coco(tmp_path, ["a.png"], boxes)).get("nothing-to-learn", 0) == count


def test_objects_that_are_all_difficult_are_nothing_to_learn_from(tmp_path: Path) -> None:
    difficult = obj(extra="<difficult>1</difficult>")
    assert kinds(f"{write(tmp_path, {'a': xml(difficult), 'b': xml(difficult)})}@train") == {"nothing-to-learn": 1}


@pytest.mark.parametrize(("limit", "count"), [(None, 1), (119, 1), (120, 0)])
def test_the_doctor_counts_objects_that_no_detector_returns(tmp_path: Path, limit: int | None, count: int) -> None:
    boxes = [{"image_id": 0, "bbox": [i % 12 * 3, i // 12 * 2, 2, 1.5]} for i in range(120)]
    data = coco(tmp_path, ["a.png", "b.png"], [*boxes, {"image_id": 0, "bbox": BOX, "iscrowd": 1}])
    config = preset("tiny_fpn").detector
    if limit is None:
        report = diagnose(data)
    else:
        detections = config.detections.replace(max_detections=limit)
        report = diagnose(data, None, config.replace(detections=detections), (4, 8, 16, 32))
    faults = [fault for fault in report.faults if fault.kind == "too-many-objects"]
    assert len(faults) == count
    assert all(f"at most {limit or 100} boxes" in fault.message and "found 120" in fault.message for fault in faults)


def test_validation_images_that_are_training_images_are_found_also_as_renamed_copies(tmp_path: Path) -> None:
    names = ["a.png", "b.png", "c.png", "d.png"]
    train = coco(tmp_path / "train", names, [])
    (tmp_path / "val").mkdir()
    shutil.copy(tmp_path / "train/a.png", tmp_path / "val/copy.png")
    os.link(tmp_path / "train/b.png", tmp_path / "val/hard.png")
    (tmp_path / "val/soft.png").symlink_to(tmp_path / "train/c.png")
    changed = bytearray((tmp_path / "train/d.png").read_bytes())
    changed[-1] ^= 1  # the same size
    (tmp_path / "val/other.png").write_bytes(changed)
    picture(tmp_path / "val/new.png", 9)
    val = coco(tmp_path / "val", ["copy.png", "hard.png", "soft.png", "other.png", "new.png"], [])
    (train_set, _), (val_set, report) = read_dataset(train), read_dataset(val)
    (tmp_path / "val/new.png").unlink()  # meanwhile
    shared = [f for f in with_shared_images(train_set, val_set, report).faults if f.kind == "image-in-two-splits"]
    assert [Path(fault.file).name for fault in shared] == ["copy.png", "hard.png", "soft.png"]
    assert [fault.message.endswith(f"train/{name}") for fault, name in zip(shared, names)] == [True] * 3


def test_the_doctor_compares_training_with_validation_data(tmp_path: Path) -> None:
    data = coco(tmp_path, ["a.png", "b.png"], [])
    report = diagnose(data, val=data)
    assert report.counts()["image-in-two-splits"] == 2
    assert not report.refused


def test_copies_of_an_image_with_different_boxes_are_reported_by_the_doctor(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "d.png", 3)
    for name in ("b.png", "c.png"):
        shutil.copy(tmp_path / "a.png", tmp_path / name)
    boxes = [{"image_id": 0, "bbox": BOX}, {"image_id": 1, "bbox": OTHER}, {"image_id": 2, "bbox": BOX}]
    report = diagnose(coco(tmp_path, ["a.png", "b.png", "c.png", "d.png"], boxes))
    faults = [fault for fault in report.faults if fault.kind == "copied-image"]
    assert [(Path(fault.file).name, fault.action) for fault in faults] == [("b.png", "kept")]
    assert "a.png, which is the same image" in faults[0].message


def test_thousands_of_files_are_read_in_order_with_a_bar_and_few_lines_in_a_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert in_threads(str, range(100), "reading") == [str(i) for i in range(100)]
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(checks, "_PROGRESS_FROM", 50)
    assert in_threads(lambda i: -i, range(100), "reading") == [-i for i in range(100)]
    log = capsys.readouterr().err
    assert "reading: 100%" in log
    assert "image/s" in log
    assert log.count("\r") <= 3


@pytest.mark.parametrize(
    ("boxes", "count"),
    [
        ([[0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.25, 0.5]], 1),
        ([[0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.75, 0.5]], 0),
        ([], 0),
    ],
)
def test_boxes_in_fractions_of_the_image_are_a_fault(tmp_path: Path, boxes: list[list[float]], count: int) -> None:
    data = coco(tmp_path, ["a.png"], [{"image_id": 0, "bbox": box} for box in boxes])
    assert kinds(data).get("boxes-in-fractions", 0) == count


@pytest.mark.parametrize(("other", "count"), [("Cell", 1), ("cell ", 1), ("ce ll", 0)])
def test_two_spellings_of_a_class_are_a_fault(tmp_path: Path, other: str, count: int) -> None:
    path = Path(coco(tmp_path, ["a.png"], []))
    path.write_text(path.read_text().replace('"dust"', json.dumps(other)))
    report = read_dataset(str(path))[1]
    assert report.counts().get("similar-categories", 0) == count
    assert not report.refused


@pytest.mark.parametrize(
    ("boxes", "count"),
    [
        ([[5 + i, 4, 30 + i, 25] for i in range(6)], 1),  # of images of 40 x 30
        ([[5 + i, 4, 30 + i, 25] for i in range(4)], 0),  # too few
        ([[5 + i, 4, 30 + i, 25] for i in range(6)] + [[20, 4, 10, 12]], 0),  # no corners
        ([[1 + i, 4, 30, 25] for i in range(6)], 0),  # all in their images
    ],
)
def test_boxes_that_are_corners_are_a_fault(tmp_path: Path, boxes: list[list[float]], count: int) -> None:
    data = coco(tmp_path, ["a.png"], [{"image_id": 0, "bbox": box} for box in boxes])
    assert kinds(data).get("boxes-as-corners", 0) == count
