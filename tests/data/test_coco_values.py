"""COCO json, value by value: which are accepted and which are faults. The parser alone, without images."""

import json
from pathlib import Path
from typing import Any

import pytest

from tfrcnn.config import Category
from tfrcnn.data import coco_values as values
from tfrcnn.data.checks import BoxRecord, Parsed
from tfrcnn.data.coco import parse_coco
from tfrcnn.data.coco_values import plain_box

IMAGE = {"id": 1, "file_name": "a.png", "height": 30, "width": 40}
CATEGORY = {"id": 1, "name": "cell"}
ANNOTATION = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}


def parse(folder: Path, **lists: list[Any]) -> Parsed:
    """A json with one image, one category and one annotation, where a list is not given."""
    path = folder / "instances.json"
    path.write_text(json.dumps({"images": [IMAGE], "categories": [CATEGORY], "annotations": [ANNOTATION], **lists}))
    return parse_coco(path)


def with_value(key: str, field: str, value: Any) -> dict[str, list[Any]]:
    item = {"images": IMAGE, "categories": CATEGORY, "annotations": ANNOTATION}[key]
    return {key: [{**item, field: value}]}


ACCEPTED = [
    ("images", "height", 30.0),
    ("images", "height", 0),
    ("images", "width", None),
    ("categories", "id", 1.0),
    ("categories", "id", "1"),
    ("annotations", "category_id", "000000000000000001"),  # 18 digits
    ("annotations", "iscrowd", 0),
    ("annotations", "iscrowd", True),
    ("annotations", "area", 0),
    ("annotations", "area", 12.5),
    ("annotations", "bbox", [0, 0.5, -1, 1e3]),
    ("annotations", "id", 0),
    ("annotations", "id", 2**63 - 1),
    ("annotations", "id", 1 - 2**63),
]


@pytest.mark.parametrize(("key", "field", "value"), ACCEPTED)
def test_a_value_of_the_right_kind_is_no_fault(tmp_path: Path, key: str, field: str, value: Any) -> None:
    parsed = parse(tmp_path, **with_value(key, field, value))
    assert parsed.faults == []
    assert (len(parsed.images), len(parsed.categories), len(parsed.boxes)) == (1, 1, 1)


# The same values as other tools write them.
UNUSUAL = [
    ("images", "id", [1.0]),
    ("images", "height", ["30"]),
    ("categories", "name", [5, 5.5]),
    ("annotations", "image_id", [1.0, "1"]),
    ("annotations", "bbox", [[1, 2, 3, "4"], [1, 2.5, 3, "4"], ["1", "2.5", "3e0", "4"], "1, 2, 3, 4", "[1 2 3 4]"]),
    ("annotations", "iscrowd", ["1", "0", " True ", None]),
    ("annotations", "area", ["1", "12.5", None]),
]


@pytest.mark.parametrize(
    ("key", "field", "value"), [(key, field, value) for key, field, values in UNUSUAL for value in values]
)
def test_a_value_as_other_tools_write_it_is_read_and_mentioned(
    tmp_path: Path, key: str, field: str, value: Any
) -> None:
    parsed = parse(tmp_path, **with_value(key, field, value))
    assert [(fault.kind, fault.field) for fault in parsed.faults] == [("unusual-value", f"{key}[0].{field}")]
    assert parsed.faults[0].action == "kept"
    assert [box.yxyx[2:] for box in parsed.boxes] in ([(6, 4)], [(6.5, 4)])


REFUSED = [
    ("images", "id", [1.5, True, None, [1]]),
    ("images", "file_name", ["", 5, None]),
    ("images", "height", [-1, 30.5, "-30", "30.5", "3" * 10, True, [30]]),
    ("categories", "id", [1.5, True, "1.0", "x", "", "0000000000000000001", None]),
    ("categories", "name", ["", "\ud800", True, None]),
    ("annotations", "image_id", [1.5, True, None]),
    ("annotations", "category_id", [1.5, True, "0000000000000000001", None]),
    (
        "annotations",
        "bbox",
        [[1, 2, 3], [1, 2, 3, 4, 5], [True, 2, 3, 4], [1, 2, 3, "x"], "1234", "1 2 3", {}, [], None],
    ),
    ("annotations", "iscrowd", [-1, 2, "2", "", []]),
    ("annotations", "area", ["", "large", True, []]),
]


@pytest.mark.parametrize(
    ("key", "field", "value"), [(key, field, value) for key, field, values in REFUSED for value in values]
)
def test_a_value_of_another_kind_is_one_fault_that_names_its_field(
    tmp_path: Path, key: str, field: str, value: Any
) -> None:
    parsed = parse(tmp_path, **with_value(key, field, value))
    assert [(fault.kind, fault.field) for fault in parsed.faults] == [("bad-value", f"{key}[0].{field}")]
    assert parsed.boxes == []


@pytest.mark.parametrize(
    ("value", "kinds"),
    [
        (1.5, ["annotations-renumbered"]),
        (True, ["annotations-renumbered"]),
        (None, ["annotations-renumbered"]),
        ("", ["annotations-renumbered"]),
        (2**63, ["annotations-renumbered"]),
        (-(2**63), ["annotations-renumbered"]),
    ],
)
def test_an_annotation_is_kept_whatever_its_id(tmp_path: Path, value: Any, kinds: list[str]) -> None:
    parsed = parse(tmp_path, **with_value("annotations", "id", value))
    assert [fault.kind for fault in parsed.faults] == kinds
    assert [box.annotation_id for box in parsed.boxes] == [None]


def test_annotations_without_an_id_are_no_duplicates_of_each_other(tmp_path: Path) -> None:
    without = {key: value for key, value in ANNOTATION.items() if key != "id"}
    parsed = parse(tmp_path, annotations=[without, without, {**ANNOTATION, "id": "a"}, {**ANNOTATION, "id": "a"}])
    assert [(fault.kind, fault.field) for fault in parsed.faults] == [
        ("annotations-renumbered", "annotations"),
        ("duplicate-annotation-id", "annotations[3].id"),
    ]
    assert len(parsed.boxes) == 4


def test_one_id_that_is_no_whole_number_renumbers_all_wherever_it_stands(tmp_path: Path) -> None:
    parsed = parse(tmp_path, annotations=[{**ANNOTATION, "id": "a"}, {**ANNOTATION, "id": 5}])
    assert [fault.kind for fault in parsed.faults] == ["annotations-renumbered"]


def test_annotations_of_one_id_are_kept_and_numbered_again_with_one_fault_for_all(tmp_path: Path) -> None:
    parsed = parse(tmp_path, annotations=[{**ANNOTATION, "id": 0}] * 1200)
    (fault,) = parsed.faults
    assert (fault.kind, fault.field, fault.action) == ("duplicate-annotation-id", "annotations[1].id", "kept")
    assert fault.message == "expected a unique id, found 0 again (and 1,198 more)"
    assert len(parsed.boxes) == 1200
    assert parsed.boxes[1].annotation_id is None


@pytest.mark.parametrize("area", [float("inf"), -float("inf"), pytest.param(10**400, id="googol^4")])
def test_an_endless_area_is_none(tmp_path: Path, area: Any) -> None:
    assert [box.area for box in parse(tmp_path, **with_value("annotations", "area", area)).boxes] == [None]


@pytest.mark.parametrize("area", [1e30, -1e30])
def test_an_area_that_float32_may_not_hold_is_none(tmp_path: Path, area: float) -> None:
    assert [box.area for box in parse(tmp_path, **with_value("annotations", "area", area)).boxes] == [None]
    smaller = with_value("annotations", "area", area * 0.99)
    assert [box.area for box in parse(tmp_path, **smaller).boxes] == [area * 0.99]


@pytest.mark.parametrize(("value", "difficult"), [(1, True), (0, False), (2, False), (None, False)])
def test_difficult_1_is_a_difficult_box(tmp_path: Path, value: Any, difficult: bool) -> None:
    parsed = parse(tmp_path, **with_value("annotations", "difficult", value))
    assert [box.difficult for box in parsed.boxes] == [difficult]


def test_a_box_is_y_x_and_their_ends_with_its_label_area_and_place(tmp_path: Path) -> None:
    second = {**ANNOTATION, "id": 2, "category_id": 9, "iscrowd": 1, "area": 7.5}
    parsed = parse(tmp_path, categories=[{"id": 9, "name": "nine"}, CATEGORY], annotations=[ANNOTATION, second])
    assert parsed.categories == (Category(1, "cell"), Category(9, "nine"))
    assert [tuple(box) for box in parsed.boxes] == [
        (0, 0, (2, 1, 6, 4), 0, False, False, 0, 1),
        (0, 1, (2, 1, 6, 4), 1, True, False, 7.5, 2),
    ]


def test_an_annotation_of_a_dialect_may_be_difficult_and_lack_an_area(tmp_path: Path) -> None:
    items = [{**ANNOTATION, "id": flag, "iscrowd": "0", "difficult": flag} for flag in (0, 1, 2)]
    boxes = parse(tmp_path, annotations=[*items, {**items[0], "id": 3, "area": 1e30}]).boxes  # float32 has no such area
    assert [(box.difficult, box.area) for box in boxes] == [(False, 0), (True, 0), (False, 0), (False, None)]


def test_annotations_of_an_image_that_cannot_be_used_are_left_out_without_a_fault_each(tmp_path: Path) -> None:
    parsed = parse(tmp_path, images=[{"id": 1, "height": 30, "width": 40}, {**IMAGE, "id": 2}])
    assert [(fault.kind, fault.field) for fault in parsed.faults] == [("bad-value", "images[0].file_name")]
    assert parsed.boxes == []


def test_the_first_of_two_equal_ids_is_kept(tmp_path: Path) -> None:
    parsed = parse(
        tmp_path,
        images=[IMAGE, {**IMAGE, "file_name": "b.png"}, {**IMAGE, "id": 2, "file_name": "c.png"}],
        categories=[CATEGORY, {"id": 1, "name": "other"}, {"id": 2, "name": "cell"}, {"id": 3, "name": "third"}],
    )
    assert [(image.image_id, image.candidates[0].name) for image in parsed.images] == [(1, "a.png"), (2, "c.png")]
    assert parsed.categories == (Category(1, "cell"), Category(3, "third"))
    assert [fault.field for fault in parsed.faults] == ["categories[1].id", "categories[2].name", "images[1].id"]


def test_an_item_that_cannot_be_used_hides_none_after_it(tmp_path: Path) -> None:
    parsed = parse(
        tmp_path,
        images=[5, IMAGE],
        categories=[{"id": 2}, {"name": "x"}, CATEGORY],
        annotations=[None, {**ANNOTATION, "bbox": []}, {**ANNOTATION, "id": 2}],
    )
    assert [fault.field for fault in parsed.faults] == [
        "categories[0].name", "categories[1].id", "images[0]", "annotations[0]", "annotations[1].bbox"
    ]  # fmt: skip
    assert [(box.place, box.annotation_id) for box in parsed.boxes] == [(2, 2)]


@pytest.mark.parametrize(("height", "width", "size"), [(30, 40.0, (30, 40)), (0, 40, None), (30, None, None)])
def test_a_size_is_height_and_width_or_unknown(tmp_path: Path, height: Any, width: Any, size: Any) -> None:
    parsed = parse(tmp_path, images=[{**IMAGE, "height": height, "width": width}])
    assert [image.size for image in parsed.images] == [size]


def test_images_are_looked_for_next_to_the_json_then_in_images_or_only_where_the_user_says(tmp_path: Path) -> None:
    parse(tmp_path)
    path = tmp_path / "instances.json"
    assert parse_coco(path).images[0].candidates == (tmp_path / "a.png", tmp_path / "images" / "a.png")
    assert parse_coco(path, tmp_path / "else").images[0].candidates == (tmp_path / "else" / "a.png",)


@pytest.mark.parametrize("key", ["images", "categories"])
def test_a_list_that_cannot_be_read_is_one_fault_and_not_one_per_annotation(tmp_path: Path, key: str) -> None:
    parsed = parse(tmp_path, **{key: [5]})
    assert [fault.field for fault in parsed.faults] == [f"{key}[0]"]
    assert parsed.boxes == []


@pytest.mark.parametrize(("listed", "used"), [(1, "1"), ("1", 1), (10**17, "1" + "0" * 17)])
def test_an_image_id_is_the_same_as_a_text_and_as_a_number(tmp_path: Path, listed: Any, used: Any) -> None:
    parsed = parse(tmp_path, images=[{**IMAGE, "id": listed}], **with_value("annotations", "image_id", used))
    assert [fault.kind for fault in parsed.faults] == ["unusual-value"]
    assert [box.image for box in parsed.boxes] == [0]


@pytest.mark.parametrize(("listed", "used"), [(1, 2), (1, "x"), ("x", 1), (1, "1.0"), (10**18, "1" + "0" * 18)])
def test_the_id_of_no_listed_image_is_a_fault(tmp_path: Path, listed: Any, used: Any) -> None:
    parsed = parse(tmp_path, images=[{**IMAGE, "id": listed}], **with_value("annotations", "image_id", used))
    assert [(fault.kind, fault.field) for fault in parsed.faults] == [("unknown-image", "annotations[0].image_id")]
    assert parsed.boxes == []


@pytest.mark.parametrize(("count", "end"), [(1, ""), (2, " (and 1 more)"), (1001, " (and 1,000 more)")])
def test_a_fault_that_entries_share_is_one_that_counts_the_others(tmp_path: Path, count: int, end: str) -> None:
    parsed = parse(tmp_path, annotations=[{**ANNOTATION, "id": i, "iscrowd": "1"} for i in range(count)])
    assert [fault.message for fault in parsed.faults] == [f"expected 0 or 1, found '1'{end}"]


def test_a_box_is_shown_as_the_file_has_it(tmp_path: Path) -> None:
    assert parse(tmp_path).show_box(2, 1, 6, 4.5) == "[1, 2, 3.5, 4]"


@pytest.mark.parametrize("text", ["{}", '{"categories": []}', "[1]", "null"])
def test_json_without_images_and_annotations_is_one_fault(tmp_path: Path, text: str) -> None:
    path = tmp_path / "instances.json"
    path.write_text(text)
    (fault,) = parse_coco(path).faults
    assert (fault.kind, fault.field) == ("bad-value", "")
    shown = text.replace('"', "'").replace("null", "None")
    assert fault.message == f"expected an object with images, annotations and categories, found {shown}"


@pytest.mark.parametrize("key", ["images", "annotations"])
def test_one_of_the_two_lists_makes_a_file_coco_whose_others_are_missed_by_name(tmp_path: Path, key: str) -> None:
    path = tmp_path / "instances.json"
    path.write_text(json.dumps({key: []}))
    missing = {fault.field for fault in parse_coco(path).faults if fault.message == "expected a list, found nothing"}
    assert missing == {"categories", "images", "annotations"} - {key}


def test_a_file_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    assert [(fault.kind, fault.field) for fault in parse_coco(tmp_path / "none.json").faults] == [
        ("unreadable-file", "")
    ]


FIRST, LAST = -(2**63), 2**63 - 1


@pytest.mark.parametrize(
    ("read", "value", "expected"),
    [
        (values.as_flag, "0", (0, False)),
        (values.as_flag, "1", (1, False)),
        (values.as_flag, "FALSE", (0, False)),
        (values.as_flag, " true ", (1, False)),
        (values.as_flag, 0, (0, True)),
        (values.as_flag, 1.0, (1, True)),
        (values.as_flag, -1, None),
        (values.as_flag, 2, None),
        (values.as_category_id, FIRST, (FIRST, True)),
        (values.as_category_id, FIRST - 1, None),
        (values.as_category_id, LAST, (LAST, True)),
        (values.as_category_id, LAST + 1, None),
        (values.as_side, "999999999", (999999999, False)),
        (values.as_number, 10**400, (float("inf"), True)),
        (values.as_box, [1, 2, 10**400, 4], ([1, 2, float("inf"), 4], True)),
        (values.as_box, ["1", 2, 10**400, 4], ([1, 2, float("inf"), 4], False)),
        (values.as_box, [1, 2.5, 3, "4"], ([1, 2.5, 3, 4], False)),
    ],
)
def test_a_value_is_read_as_a_number_with_whether_it_is_usual(read: Any, value: Any, expected: Any) -> None:
    assert read(value) == expected


def category(number: int, name: str, above: str) -> dict[str, Any]:
    return {"id": number, "name": name, "supercategory": above}


ROOT = category(0, "cells", "none")


@pytest.mark.parametrize(
    ("categories", "annotations", "position"),
    [
        ([ROOT, category(1, "cell", "cells")], [ANNOTATION], 0),
        ([category(1, "cell", "cells"), category(2, "b", "cells"), ROOT], [None, ANNOTATION], 2),
        ([ROOT, category(1, "cell", "cells")], None, 0),
        ([ROOT], [ANNOTATION], None),
        ([ROOT, category(1, "cell", "none")], [ANNOTATION], None),
        ([category(1, "cell", "none"), category(2, "b", "cell")], [ANNOTATION], None),
        ([category(0, "cell", "a"), category(1, "b", "a")], [ANNOTATION], None),
        ([ROOT, category(1, "cell", "cells")], [ANNOTATION, {**ANNOTATION, "category_id": 0}], None),
    ],
)
def test_the_root_of_roboflow_is_category_0_of_supercategory_none_without_boxes(
    categories: list[Any], annotations: Any, position: int | None
) -> None:
    items = list(enumerate(categories))
    assert values.root_category({"annotations": annotations}, items) == position


def test_a_file_that_is_no_utf8_is_a_fault(tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    path.write_bytes(b'{"images": "\xff"}')
    assert [(fault.kind, fault.field) for fault in parse_coco(path).faults] == [("syntax-error", "")]


@pytest.mark.parametrize(("length", "shown"), [(78, "'" + "x" * 78 + "'"), (79, "'" + "x" * 76 + "...")])
def test_a_long_value_is_cut_to_80_characters_in_messages(tmp_path: Path, length: int, shown: str) -> None:
    parsed = parse(tmp_path, images=[{**IMAGE, "height": "x" * length}])
    assert parsed.faults[0].message.endswith(f" {shown}")
    assert len(shown) == 80


PLAIN = {"image_id": 4, "category_id": 9, "bbox": [1, 2.5, 3, 4], "area": 7, "iscrowd": 1, "difficult": 1}
OTHERS = {
    "image_id": ["4", 4.0, 5, 6, None, True, [4]],
    "category_id": ["9", 9.0, 1, None, {}],
    "bbox": [None, [], [1, 2, 3], "1 2 3 4", [1, 2, 3, "4"], [1, 2, 3, True], [1, 2, 3, 10**400]],
    "area": ["7", None, 10**400, True],
    "iscrowd": [2, "1", None, True, 1.0],
}


def test_a_plain_annotation_is_read_at_once() -> None:
    box = plain_box(PLAIN, 3, {9: 2}, {4: 0, 6: None})
    assert box == BoxRecord(0, 3, (2.5, 1.0, 6.5, 4.0), 2, True, True, 7.0)
    bare = {key: PLAIN[key] for key in ("image_id", "category_id", "bbox")}
    assert plain_box(bare, 3, {9: 2}, {4: 0}) == BoxRecord(0, 3, (2.5, 1.0, 6.5, 4.0), 2, area=0.0)
    areas = [9.99e29, 1e30, -1e30]
    assert [plain_box({**PLAIN, "area": area}, 3, {9: 2}, {4: 0}).area for area in areas] == [9.99e29, None, None]


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in OTHERS.items() for value in values])
def test_an_annotation_with_another_value_is_left_to_the_reader_of_dialects(key: str, value: object) -> None:
    assert plain_box({**PLAIN, key: value}, 3, {9: 2}, {4: 0, 6: None}) is None
