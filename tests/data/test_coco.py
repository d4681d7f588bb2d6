"""COCO json: what is read, and each fault by name."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO

from tfrcnn.config import Category
from tfrcnn.data.faults import KINDS, Report
from tfrcnn.data.read import load_dataset, read_dataset
from tfrcnn.errors import InputError

# Two images 40 wide and 30 high, the second empty; two boxes; sparse category ids, not in order.
CONTENT: dict[str, Any] = {
    "images": [
        {"id": 7, "file_name": "a.png", "height": 30, "width": 40},
        {"id": 3, "file_name": "b.png", "height": 30, "width": 40},
    ],
    "categories": [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}],
    "annotations": [
        {"id": 11, "image_id": 7, "category_id": 90, "bbox": [1.5, 2, 10, 20], "area": 123.5, "iscrowd": 0},
        {"id": 12, "image_id": 7, "category_id": 1, "bbox": [0, 0, 40, 30], "area": 900.0, "iscrowd": 1},
    ],
}


def write(folder: Path, content: Any, images: tuple[str, ...] = ("a.png", "b.png")) -> str:
    for name in images:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            Image.new("RGB", (40, 30)).save(path)
    path = folder / "instances.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    content = copy.deepcopy(CONTENT)
    change(content)
    return content


def test_xywh_becomes_yxyx_and_sparse_ids_become_labels_in_the_order_of_ids(tmp_path: Path) -> None:
    dataset, report = read_dataset(write(tmp_path, CONTENT))

    assert not report.faults
    assert dataset.categories == (Category(1, "person"), Category(90, "toothbrush"))
    first, second = dataset.examples
    np.testing.assert_array_equal(first.boxes, [[2, 1.5, 22, 11.5], [0, 0, 30, 40]])
    assert first.boxes.dtype == np.float32
    assert first.labels.tolist() == [1, 0]
    assert first.crowd.tolist() == [False, True]
    assert first.difficult.tolist() == [False, False]
    assert first.area.tolist() == [123.5, 900.0]
    assert first.annotation_ids.tolist() == [11, 12]
    assert (first.image_id, first.path, first.height, first.width) == (7, tmp_path / "a.png", 30, 40)
    assert (second.image_id, second.boxes.shape, second.labels.dtype) == (3, (0, 4), np.int32)
    assert report.summary["images_without_boxes"] == 1


@pytest.mark.parametrize("place", ["", "images", "elsewhere"])
def test_images_lie_beside_the_json_or_in_images_or_where_told(tmp_path: Path, place: str) -> None:
    content = changed(lambda c: c["images"][0].update(file_name="sub/a.png"))
    data = write(tmp_path, content, ())
    write(tmp_path / place, content, ("sub/a.png", "b.png"))

    dataset = load_dataset(data, tmp_path / place if place == "elsewhere" else None)

    assert dataset.examples[0].path == tmp_path / place / "sub" / "a.png"


def test_ids_may_be_text_and_category_ids_digits(tmp_path: Path) -> None:
    def change(c: dict[str, Any]) -> None:
        c["images"][0]["id"] = c["annotations"][0]["image_id"] = c["annotations"][1]["image_id"] = "x/7"
        c["annotations"][0]["category_id"] = "90"

    example = load_dataset(write(tmp_path, changed(change))).examples[0]
    assert example.image_id == "x/7"
    assert example.labels.tolist() == [1, 0]


@pytest.mark.parametrize("area", [0, 3.41e38, float("nan"), 10**400])
def test_area_of_the_box_replaces_a_missing_or_impossible_area(tmp_path: Path, area: float) -> None:
    def change(c: dict[str, Any]) -> None:
        del c["annotations"][0]["area"], c["annotations"][0]["iscrowd"]
        c["annotations"][1]["area"] = area

    assert load_dataset(write(tmp_path, changed(change))).examples[0].area.tolist() == [200.0, 1200.0]


def test_boxes_go_to_their_images_whatever_their_order(tmp_path: Path) -> None:
    owners = [3, 7, 3, 7, 3]
    boxes = [{"id": i, "image_id": n, "category_id": 1, "bbox": [i, 0, 5, 5]} for i, n in enumerate(owners)]
    examples = load_dataset(write(tmp_path, changed(lambda c: c.update(annotations=boxes)))).examples
    assert [example.annotation_ids.tolist() for example in examples] == [[1, 3], [0, 2, 4]]
    assert [example.boxes[:, 1].tolist() for example in examples] == [[1, 3], [0, 2, 4]]


def test_rounding_over_the_edge_is_clipped_and_only_counted(tmp_path: Path) -> None:
    dataset, report = read_dataset(
        write(tmp_path, changed(lambda c: c["annotations"][0].update(bbox=[30.5, 10.5, 10.4, 19.6])))
    )
    assert not report.faults
    assert report.summary["boxes_clipped_by_less_than_1_px"] == 1
    np.testing.assert_allclose(dataset.examples[0].boxes[0], [10.5, 30.5, 30, 40])


def first_box(*xywh: float) -> Callable[[dict[str, Any]], object]:
    return lambda c: c["annotations"][0].update(bbox=xywh)


def add_category(number: int, name: str) -> Callable[[dict[str, Any]], object]:
    return lambda c: c["categories"].append({"id": number, "name": name})


BOX, ID = "annotations[0].bbox", "annotations[1].id"

# name: what is done to the json, the kind of fault, its field, words of its message, boxes left of 2
FAULTS: dict[str, tuple[Callable[[dict[str, Any]], object], str, str, str, int]] = {
    "no annotations": (lambda c: c.pop("annotations"), "bad-value", "annotations", "a list, found nothing", 0),
    "images no list": (lambda c: c.update(images={}), "bad-value", "images", "expected a list, found {}", 0),
    "image no object": (lambda c: c["images"].append(5), "bad-value", "images[2]", "an object, found 5", 2),
    "no file name": (lambda c: c["images"][1].pop("file_name"), "bad-value", "images[1].file_name", "a text", 2),
    "width text": (lambda c: c["images"][0].update(width="wide"), "bad-value", "images[0].width", "'wide'", 0),
    "no image id": (lambda c: c["annotations"][0].pop("image_id"), "bad-value", "annotations[0].image_id", "", 1),
    "bool id": (lambda c: c["images"][1].update(id=True), "bad-value", "images[1].id", "found True", 2),
    "box of 3": (first_box(1, 2, 3), "bad-value", BOX, "expected [x, y, width, height], found [1, 2, 3]", 1),
    "box of text": (lambda c: c["annotations"][0].update(bbox=["a"] * 4), "bad-value", BOX, "'a'", 1),
    "crowd 2": (lambda c: c["annotations"][1].update(iscrowd=2), "bad-value", "annotations[1].iscrowd", "0 or 1", 1),
    "area text": (lambda c: c["annotations"][1].update(area="a"), "bad-value", "annotations[1].area", "a number", 1),
    "no categories": (lambda c: c.update(categories=[], annotations=[]), "bad-value", "categories", "at least one", 0),
    "no images": (lambda c: c.update(images=[], annotations=[]), "empty-split", "images", "found none", 0),
    "same image id": (lambda c: c["images"][1].update(id=7), "duplicate-image-id", "images[1].id", "7 again", 2),
    "same box id": (lambda c: c["annotations"][1].update(id=11), "duplicate-annotation-id", ID, "found 11 again", 2),
    "same category id": (add_category(1, "cat"), "duplicate-category", "categories[2].id", "found 1 again", 2),
    "same name": (add_category(2, "person"), "duplicate-category", "categories[2].name", "found 'person' again", 2),
    "unused category": (add_category(2, "cat"), "category-without-boxes", "category 'cat'", "found 0", 2),
    "unknown image": (
        lambda c: c["annotations"][1].update(image_id=8), "unknown-image", "annotations[1].image_id", "found 8", 1
    ),
    "unknown category": (
        lambda c: c["annotations"][1].update(category_id=2), "unknown-category", "annotations[1].category_id", "2", 1
    ),
    "NaN": (first_box(float("nan"), 2, 3, 4), "nan-box", BOX, "found [nan, 2, nan, 4]", 1),
    "infinite": (first_box(1, 2, 10**400, 4), "nan-box", BOX, "found [1, 2, inf, 4]", 1),
    "inverted": (first_box(9, 9, -3, 4), "inverted-box", BOX, "positive sides, found [9, 9, -3, 4]", 1),
    "no width": (first_box(9, 9, 0, 4), "zero-area-box", BOX, "positive sides, found [9, 9, 0, 4]", 1),
    "beyond": (first_box(30, 9, 20, 4), "box-beyond-image", BOX, "40 x 30 px, found [30, 9, 20, 4]", 2),
    "beyond by 1 px": (first_box(30, 9, 11, 4), "box-beyond-image", BOX, "40 x 30 px, found [30, 9, 11, 4]", 2),
    "outside": (first_box(40, 9, 20, 4), "box-outside-image", BOX, "40 x 30 px, found [40, 9, 20, 4]", 1),
    "missing file": (
        lambda c: c["images"][0].update(file_name="c.png"), "missing-image", "images[0].file_name", "images/c.png", 0
    ),
    "name too long": (
        lambda c: c["images"][0].update(file_name="c" * 999), "missing-image", "images[0].file_name", "ccc", 0
    ),
    "other size": (
        lambda c: c["images"][0].update(width=30, height=40), "image-size-differs", "images[0].width",
        "expected 40 x 30 px", 0
    ),
    "no size": (lambda c: c["images"][0].pop("width"), "image-size-missing", "images[0].width", "40 x 30 px", 2),
    "size 0": (lambda c: c["images"][0].update(height=0), "image-size-missing", "images[0].width", "40 x 30 px", 2),
    "text box id": (lambda c: c["annotations"][0].update(id="a"), "annotations-renumbered", "annotations", "", 2),
    "endless box id": (lambda c: c["annotations"][0].update(id=2**63), "annotations-renumbered", "annotations", "", 2),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_named_with_file_and_field(tmp_path: Path, name: str) -> None:
    change, kind, field, words, boxes_left = FAULTS[name]
    data = write(tmp_path, changed(change))

    dataset, report = read_dataset(data)

    fault = next(fault for fault in report.faults if fault.kind == kind)
    assert (fault.file, fault.field) == (data, field)
    assert words in fault.message
    assert "expected" in fault.message
    assert report.refused == any(KINDS[f.kind].action == "refused" for f in report.faults)
    assert sum(len(example.boxes) for example in dataset.examples) == boxes_left
    others = {f.kind for f in report.faults} - {kind, "category-without-boxes"}
    assert not others


def test_a_box_beyond_the_image_is_clipped_to_it(tmp_path: Path) -> None:
    dataset = load_dataset(write(tmp_path, changed(lambda c: c["annotations"][0].update(bbox=[-5, 9, 50, 4]))))
    np.testing.assert_array_equal(dataset.examples[0].boxes[0], [9, 0, 13, 40])


def test_annotations_are_numbered_1_2_if_one_has_no_whole_id(tmp_path: Path) -> None:
    dataset = load_dataset(write(tmp_path, changed(lambda c: c["annotations"][0].pop("id"))))
    assert dataset.examples[0].annotation_ids.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('{"images": [],\n  "annotations": ]', "line 2, column 18"),
        ("", "line 1, column 1"),
        ("[1]", ""),
        ("9" * 5000, ""),
        ("[" * 99999, ""),
    ],
)
def test_json_that_cannot_be_parsed_is_named_by_line_and_column(tmp_path: Path, text: str, field: str) -> None:
    _, report = read_dataset(write(tmp_path, text))
    assert report.refused
    assert report.faults[0].field == field


def test_all_faults_come_in_one_report(tmp_path: Path) -> None:
    def change(c: dict[str, Any]) -> None:
        c["images"][1]["file_name"] = "missing.png"
        c["images"].append({"id": 9, "file_name": "a.png", "height": 31, "width": 40})
        boxes = [[1, 1, 0, 5], [5, 5, -1, 5], [float("nan"), 1, 2, 3], [50, 1, 2, 3], [30, 1, 20, 3]]
        c["annotations"] += [{"id": 20 + i, "image_id": 7, "category_id": 1, "bbox": b} for i, b in enumerate(boxes)]
        c["annotations"] += [{"id": 20, "image_id": 8, "category_id": 2, "bbox": [0, 0, 1, 1]}]

    _, report = read_dataset(write(tmp_path, changed(change)))

    assert report.counts() == {
        "duplicate-annotation-id": 1, "unknown-image": 1, "unknown-category": 1, "missing-image": 1,
        "image-size-differs": 1, "nan-box": 1, "inverted-box": 1, "zero-area-box": 1, "box-outside-image": 1,
        "box-beyond-image": 1,
    }  # fmt: skip
    text = report.render()
    assert all(kind in text for kind in report.counts())
    assert "annotations[3].bbox: expected positive sides, found [5, 5, -1, 5]" in text
    assert "REFUSED  1 x missing-image" in text
    with pytest.raises(InputError, match="missing-image"):
        load_dataset(str(tmp_path / "instances.json"))


def test_a_report_shows_as_many_examples_as_asked_and_counts_the_rest(tmp_path: Path) -> None:
    def change(c: dict[str, Any]) -> None:
        c["annotations"] = [{"id": i, "image_id": 7, "category_id": 1, "bbox": [1, 1, 0, 5]} for i in range(8)]

    report = read_dataset(write(tmp_path, changed(change)))[1]

    assert "and 6 more" in report.render(examples=2)
    assert len(report.to_dict()["faults"]) == 8 + 2  # and two categories without boxes
    assert json.loads(json.dumps(report.to_dict()))["refused"] is False
    assert Report("x").render() == "Data set x\nNo faults."


def test_labels_follow_the_names_of_given_categories_whatever_their_ids(tmp_path: Path) -> None:
    data = write(tmp_path, CONTENT)
    detector = (Category(5, "toothbrush"), Category(6, "dog"), Category(7, "person"))

    dataset = load_dataset(data, categories=detector)

    assert dataset.categories == detector
    assert dataset.examples[0].labels.tolist() == [0, 2]


def test_a_used_name_that_the_given_categories_lack_is_refused_and_an_unused_one_is_not(tmp_path: Path) -> None:
    data = write(tmp_path, changed(lambda c: c["categories"].append({"id": 2, "name": "unused"})))

    dataset, report = read_dataset(data, categories=[Category(1, "person")])

    faults = [fault for fault in report.faults if fault.kind == "unknown-category"]
    assert ["'toothbrush' (1 boxes)" in fault.message for fault in faults] == [True]
    assert dataset.examples[0].labels.tolist() == [0]
    assert dataset.examples[0].annotation_ids.tolist() == [12]
    with pytest.raises(InputError, match="toothbrush"):
        load_dataset(data, categories=[Category(1, "person")])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing.json", "found nothing at .*nothing.json"),
        ("", r"found the folder .*did you mean .*/cells@instances\?"),
        ("empty", "with nothing in it\nLooked for:\n  coco:PATH is a .json file"),
        ("cells/a.png", "found the file .*a.png"),
    ],
)
def test_a_data_argument_that_is_no_data_set_is_one_clear_error(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "cells").mkdir()
    write(tmp_path / "cells", CONTENT)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=message):
        read_dataset(str(tmp_path / name))


@pytest.mark.parametrize("name", ["images", "annotations", "categories"])
def test_a_list_that_is_there_twice_is_refused_with_its_place(tmp_path: Path, name: str) -> None:
    path = Path(write(tmp_path, CONTENT))
    text = json.dumps(CONTENT)
    path.write_text(f'{text[:-1]},\n "{name}" : []}}')
    (fault,) = read_dataset(str(path))[1].faults
    assert (fault.kind, fault.field) == ("syntax-error", "line 2, column 2")
    assert fault.message == f"expected JSON, found: '{name}' again, expected each list once"


def test_names_like_those_of_the_lists_may_be_anywhere_else(tmp_path: Path) -> None:
    content = json.loads(json.dumps(CONTENT))
    content["categories"][0]["name"] = "images"
    content["info"] = {"images": [], "annotations": '"annotations":', "categories": 2}
    plain = load_dataset(write(tmp_path, CONTENT))
    dataset = load_dataset(write(tmp_path, content))
    assert "images" in [category.name for category in dataset.categories]
    for one, other in zip(dataset.examples, plain.examples, strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)


def test_an_images_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="images: expected a folder, found nothing"):
        read_dataset(write(tmp_path, CONTENT), tmp_path / "no")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from([1e400, 10**400, 7]),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), value=JSON)
def test_no_value_anywhere_in_the_json_crashes_the_reader(tmp_path: Path, data: st.DataObject, value: Any) -> None:
    content: Any = copy.deepcopy(CONTENT)
    key = data.draw(st.sampled_from(["images", "categories", "annotations"]))
    item = data.draw(st.sampled_from(content[key]))
    item[data.draw(st.sampled_from(sorted(item)))] = value

    dataset, _ = read_dataset(write(tmp_path, content))

    for example in dataset.examples:
        assert np.isfinite(example.boxes).all()
        assert np.isfinite(example.area).all()


NUMBER = st.one_of(st.floats(-60, 60), st.integers(-60, 60), st.floats())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(boxes=st.lists(st.tuples(NUMBER, NUMBER, NUMBER, NUMBER), max_size=8))
def test_every_box_is_kept_inside_its_image_or_a_fault_says_why_not(tmp_path: Path, boxes: list[Any]) -> None:
    annotations = [{"id": i, "image_id": 7, "category_id": 1, "bbox": box} for i, box in enumerate(boxes)]

    dataset, report = read_dataset(write(tmp_path, {**CONTENT, "annotations": annotations}))

    kept = dataset.examples[0].boxes
    dropped = [fault for fault in report.faults if fault.action == "dropped"]
    assert len(kept) + len(dropped) == len(boxes)
    assert ((kept[:, 2:] > kept[:, :2]) & (kept[:, :2] >= 0) & (kept[:, 2:] <= [30, 40])).all()


def test_real_coco_boxes_are_those_of_pycocotools(data_root: Path) -> None:
    path = data_root / "coco_val2017_66" / "instances.json"
    dataset, report = read_dataset(str(path))
    peer = COCO(str(path))

    assert not report.refused
    assert len(dataset) == 66
    assert sum(len(example.boxes) for example in dataset.examples) == 560
    assert sum(int(example.crowd.sum()) for example in dataset.examples) == 8
    assert sum(len(example.boxes) == 0 for example in dataset.examples) == 2
    for example in dataset.examples:
        expected = peer.loadAnns(peer.getAnnIds(imgIds=[example.image_id]))
        x, y, w, h = np.array([a["bbox"] for a in expected], np.float64).reshape(-1, 4).T
        np.testing.assert_array_equal(example.boxes, np.stack([y, x, y + h, x + w], -1).astype(np.float32))
        assert example.annotation_ids.tolist() == [a["id"] for a in expected]
        assert [dataset.categories[label].id for label in example.labels] == [a["category_id"] for a in expected]
        assert example.crowd.tolist() == [bool(a["iscrowd"]) for a in expected]
        np.testing.assert_allclose(example.area, [a["area"] for a in expected], rtol=1e-6)
