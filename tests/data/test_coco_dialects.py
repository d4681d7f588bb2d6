"""COCO json as tools other than COCO's write it: paths, ids, masks, names and roots. Each is read, and mentioned."""

import json
import os
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask

from tfrcnn.config import Category
from tfrcnn.data.example import Dataset
from tfrcnn.data.faults import Report
from tfrcnn.data.masks import box_of
from tfrcnn.data.read import read_dataset

CELLS_NFC = unicodedata.normalize("NFC", "세포")
CELLS_NFD = unicodedata.normalize("NFD", "세포")


def read(
    folder: Path,
    name: str = "a.png",
    actual: str = "a.png",
    root: str | None = None,
    data: str = "a.json",
    **lists: Any,
) -> tuple[Dataset, Report]:
    """Read a data set of one image: its name in the json, its place in the folder, and lists that replace the usual."""
    path = folder / actual
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        Image.new("RGB", (40, 30)).save(path, "PNG")
    content = {
        "images": [{"id": 1, "file_name": name, "height": 30, "width": 40}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
        "categories": [{"id": 1, "name": "cell"}],
        **lists,
    }
    (folder / data).parent.mkdir(parents=True, exist_ok=True)
    (folder / data).write_text(json.dumps(content), encoding="utf-8")
    return read_dataset(str(folder / data), root and folder / root)


def annotation(number: int = 1, **changes: Any) -> dict[str, Any]:
    """An annotation without a box."""
    return {"id": number, "image_id": 1, "category_id": 1, **changes}


@pytest.mark.parametrize(
    ("name", "actual", "root"),
    [
        ("images\\a.png", "images/a.png", None),
        ("sub\\deep\\a.png", "images/sub/deep/a.png", None),
        ("..\\..\\label-studio\\media\\upload\\4\\a.png", "a.png", "."),
        ("..\\..\\media\\a.png", "pictures/a.png", "pictures"),
        ("C:\\Users\\someone\\a.png", "a.png", "."),
        ("/home/someone/data/a.png", "a.png", "."),
        ("/home/someone/data/a.png", "a.png", None),
        ("/home/someone/sub/a.png", "sub/a.png", "."),
        ("not/here/a.png", "a.png", None),
        ("https://example.com/data/my%20cells/a%23.png", "my cells/a#.png", None),
        ("/data/local-files/?d=images/a.png", "images/a.png", None),
        (f"{CELLS_NFC}.png", f"{CELLS_NFD}.png", None),
        (f"{CELLS_NFD}.png", f"{CELLS_NFC}.png", None),
        (f"{CELLS_NFC}/a.png", f"{CELLS_NFD}/a.png", None),
        ("a.png", "a.PNG", None),
        ("a.PNG", "a.png", None),
        ("Images/A.png", "images/a.png", None),
    ],
)
def test_an_image_is_found_by_the_name_that_another_machine_gave_it(
    tmp_path: Path, name: str, actual: str, root: str | None
) -> None:
    dataset, report = read(tmp_path, name, actual, root)
    assert [example.path for example in dataset.examples] == [tmp_path / actual]
    (fault,) = report.faults
    assert (fault.kind, fault.field, fault.action) == ("image-path-differs", "images[0].file_name", "kept")
    assert str(tmp_path / actual) in fault.message


@pytest.mark.parametrize(
    ("data", "actual"),
    [
        ("annotations/instances_val2017.json", "val2017/a.png"),
        ("annotations/instances_val2017.json", "images/val2017/a.png"),
        ("annotations/val.json", "val/a.png"),
        ("annotations/any.json", "images/a.png"),
        ("annotations/any.json", "a.png"),
        ("train.json", "train/a.png"),
    ],
)
def test_images_one_level_up_are_found_as_in_coco_s_own_layout(tmp_path: Path, data: str, actual: str) -> None:
    dataset, report = read(tmp_path, "a.png", actual, data=data)
    assert [example.path for example in dataset.examples] == [tmp_path / actual]
    assert not report.faults


def test_the_nearest_image_of_a_name_is_taken_and_the_same_name_before_a_similar_one(tmp_path: Path) -> None:
    for name in ("A.png", "a.PNG", "images/x/a.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30)).save(tmp_path / name, "PNG")
    assert read(tmp_path, "a.png", "images/a.png")[0].examples[0].path == tmp_path / "images" / "a.png"
    (tmp_path / "images" / "a.png").unlink()
    assert read(tmp_path, "a.png", "A.png")[0].examples[0].path == tmp_path / "a.PNG"


@pytest.mark.parametrize("name", ["\0.png", "\ud800.png", "a" * 300, "/", "..", "../..", "a.png/b.png", "nothing.png"])
def test_a_name_of_no_file_is_a_missing_image(tmp_path: Path, name: str) -> None:
    dataset, report = read(tmp_path, name)
    assert [fault.kind for fault in report.faults][:1] == ["missing-image"]
    assert not len(dataset)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_json_may_have_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    read(tmp_path)
    path = tmp_path / "a.json"
    path.write_text(path.read_text(encoding="utf-8"), encoding=encoding)
    assert not read_dataset(str(path))[1].faults


def test_a_thousand_images_elsewhere_are_one_fault(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "0.png")
    for i in range(1, 1000):
        os.link(tmp_path / "0.png", tmp_path / f"{i}.png")
    images = [{"id": i, "file_name": f"D:\\{i}.png", "height": 30, "width": 40} for i in range(1000)]
    dataset, report = read(tmp_path, images=images, annotations=[])
    messages = [fault.message for fault in report.faults if fault.kind == "image-path-differs"]
    assert [message.endswith("0.png (and 999 more)") for message in messages] == [True]
    assert len(dataset) == 1000


@pytest.mark.parametrize(("listed", "used"), [(1, 1.0), (1, "1"), ("1", 1), (1.0, 1), (1.0, "1"), ("a", "a")])
def test_ids_of_images_match_as_text_and_as_number(tmp_path: Path, listed: Any, used: Any) -> None:
    image = {"id": listed, "file_name": "a.png", "height": 30, "width": 40}
    dataset, report = read(tmp_path, images=[image], annotations=[annotation(image_id=used, bbox=[1, 2, 3, 4])])
    assert [len(example.boxes) for example in dataset.examples] == [1]
    assert {fault.kind for fault in report.faults} == ({"unusual-value"} if listed != "a" else set())
    assert not report.refused


def test_an_id_that_is_listed_both_as_text_and_as_number_means_the_image_of_its_own_type(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "b.png")
    images = [{"id": i, "file_name": name, "height": 30, "width": 40} for i, name in ((1, "a.png"), ("1", "b.png"))]
    dataset, report = read(tmp_path, images=images, annotations=[annotation(image_id="1", bbox=[1, 2, 3, 4])])
    assert [len(example.boxes) for example in dataset.examples] == [0, 1]
    assert not report.faults


PIXELS = np.zeros([30, 40], np.uint8)
PIXELS[2:7, 10:14] = 1
RUNS = [10 * 30 + 2, 5, 25, 5, 25, 5, 25, 5, 30 * 26 + 23]
COMPRESSED = {"size": [30, 40], "counts": mask.encode(np.asfortranarray(PIXELS))["counts"].decode()}


@pytest.mark.parametrize(
    "segmentation",
    [
        [[10, 2, 14, 2, 14, 7]],
        [[10, 2, 12, 2, 12, 4], [12.5, 5, 14, 5, 14, 7]],
        [10, 2, 14, 2, 14, 7],
        {"size": [30, 40], "counts": RUNS},
        COMPRESSED,
    ],
)
@pytest.mark.parametrize("bbox", [{}, {"bbox": None}, {"bbox": []}, {"bbox": [0, 0, 0.0, 0]}])
def test_an_annotation_with_a_mask_alone_has_the_box_around_it(
    tmp_path: Path, segmentation: Any, bbox: dict[str, Any]
) -> None:
    dataset, report = read(tmp_path, annotations=[annotation(segmentation=segmentation, **bbox)])
    assert dataset.examples[0].boxes.tolist() == [[2, 10, 7, 14]]
    assert [(fault.kind, fault.field) for fault in report.faults] == [("box-from-mask", "annotations[0].bbox")]


def test_a_box_is_taken_before_a_mask(tmp_path: Path) -> None:
    dataset, report = read(tmp_path, annotations=[annotation(bbox=[1, 2, 3, 4], segmentation=COMPRESSED)])
    assert dataset.examples[0].boxes.tolist() == [[2, 1, 6, 4]]
    assert not report.faults


@pytest.mark.parametrize(
    "segmentation",
    [
        None, [], {}, "text", 5, [[]], [[1, 2, 3, 4]], [[1, 2, 3, 4, 5, 6, 7]], [[1, 2, 3, 4, 5, "x"]], [[10**400] * 6],
        [{"a": 1}], [[1, 2, 3, 4, 5, 6], 7],
        {"size": [30, 40]}, {"size": [0, 0], "counts": []}, {"size": [30], "counts": RUNS},
        {"size": [True, 40], "counts": RUNS}, {"size": [30, 41], "counts": RUNS},
        {"size": [30, 40], "counts": [-5, 1205]},
        {"size": [10**9, 10**9], "counts": "0"}, {"size": [30, 40], "counts": ""}, {"size": [30, 40], "counts": "é"},
        {"size": [30, 40], "counts": "P"}, {"size": [30, 40], "counts": "\0"}, {"size": [2, 2], "counts": "00o1"},
    ],
)  # fmt: skip
def test_a_mask_that_is_none_gives_no_box(segmentation: Any) -> None:
    assert box_of(segmentation) is None


def test_an_empty_mask_is_an_object_without_extent(tmp_path: Path) -> None:
    report = read(tmp_path, annotations=[annotation(segmentation={"size": [30, 40], "counts": [1200]})])[1]
    assert "zero-area-box" in report.counts()


Roots = list[tuple[int, str, str]]


@pytest.mark.parametrize(
    ("categories", "names"),
    [
        ([(0, "cells", "none"), (1, "RBC", "cells")], ["RBC"]),
        ([(0, "helmet", "none"), (1, "helmet", "helmet"), (2, "head", "helmet")], ["helmet", "head"]),
        ([(0, "cat", "none"), (1, "dog", "none")], ["cat", "dog"]),  # each class of some tools has "none"
        ([(0, "cat", "none"), (1, "dog", "")], ["dog"]),
        ([(3, "cells", "none"), (1, "RBC", "cells")], ["RBC", "cells"]),
        ([(0, "cells", "none")], ["cells"]),
    ],
)
def test_the_root_category_of_roboflow_is_no_class(tmp_path: Path, categories: Roots, names: list[str]) -> None:
    entries = [{"id": i, "name": name, "supercategory": above} for i, name, above in categories]
    used = [annotation(bbox=[1, 2, 3, 4])] if len(entries) > 1 else []
    dataset, report = read(tmp_path, categories=entries, annotations=used)
    assert [category.name for category in dataset.categories] == names
    dropped = [(fault.kind, fault.field) for fault in report.faults if fault.action == "dropped"]
    assert dropped == ([("root-category", "categories[0]")] if len(names) < len(categories) else [])
    assert not report.refused


def test_a_root_category_with_boxes_is_a_class(tmp_path: Path) -> None:
    entries = [{"id": 0, "name": "cell", "supercategory": "none"}, {"id": 1, "name": "RBC", "supercategory": "cell"}]
    dataset, report = read(tmp_path, categories=entries, annotations=[annotation(category_id=0, bbox=[1, 2, 3, 4])])
    assert [category.name for category in dataset.categories] == ["cell", "RBC"]
    assert [fault.kind for fault in report.faults] == ["category-without-boxes"]


@pytest.mark.parametrize("detector", [CELLS_NFC, CELLS_NFD])
@pytest.mark.parametrize("data", [CELLS_NFC, CELLS_NFD])
def test_class_names_match_in_every_unicode_form(tmp_path: Path, detector: str, data: str) -> None:
    read(tmp_path, categories=[{"id": 1, "name": data}])
    dataset, report = read_dataset(str(tmp_path / "a.json"), categories=[Category(5, detector)])
    assert not report.faults
    assert dataset.categories == (Category(5, detector),)
    assert dataset.examples[0].labels.tolist() == [0]


def test_two_unicode_forms_of_one_name_are_one_name(tmp_path: Path) -> None:
    report = read(tmp_path, categories=[{"id": 1, "name": CELLS_NFC}, {"id": 2, "name": CELLS_NFD}])[1]
    assert report.counts()["duplicate-category"] == 1
