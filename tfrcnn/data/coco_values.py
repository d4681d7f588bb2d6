"""The values of a COCO file, as COCO writes them and as other tools do.

Each `Value` reads what COCO's own files hold, and what other tools write in its place: a number as a text, a whole
number with a point, one text for a box. `usual` says which of the two it was.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from tfrcnn.data.box_table import BoxRecord
from tfrcnn.data.sources import nfc

MAX_AREA = 1e30  # pixels^2; areas become float32, which overflows at 3.4e38
_FLAGS = {"0": 0, "1": 1, "false": 0, "true": 1}
_DIGITS = 18  # of a category id in a text; more are not a number but a name


class Read(NamedTuple):
    """A value that could be read.

    Attributes:
        value: as the reader uses it.
        usual: False if COCO's own files would hold another type.
    """

    value: Any
    usual: bool = True


class Value(NamedTuple):
    """One kind of value.

    Attributes:
        expected: its name in fault messages.
        read: reads it, or returns None if it cannot be read.
    """

    expected: str
    read: Callable[[Any], Read | None]


def as_list(value: Any) -> Read | None:
    return Read(value) if isinstance(value, list) else None


def as_text(value: Any) -> Read | None:
    return Read(value) if isinstance(value, str) and value else None


def as_name(value: Any) -> Read | None:
    """Read a category name; numbers become texts. A text that is not Unicode cannot be written to a file."""
    if isinstance(value, str):
        is_unicode = not re.search("[\ud800-\udfff]", value)
        return Read(nfc(value)) if value and is_unicode else None
    return Read(str(value), False) if is_number(value) else None


def as_image_id(value: Any) -> Read | None:
    return Read(value) if isinstance(value, str) else _as_whole(value)


def as_category_id(value: Any) -> Read | None:
    if isinstance(value, str):
        return Read(int(value)) if value.isdecimal() and len(value) <= _DIGITS else None
    whole = _as_whole(value)
    return Read(whole.value) if whole and -(2**63) <= whole.value < 2**63 else None


def as_side(value: Any) -> Read | None:
    """Read a height or width in pixels; 0 if it is unknown."""
    if value is None:
        return Read(0)
    if isinstance(value, str):
        return Read(int(value), False) if re.fullmatch("[0-9]{1,9}", value) else None
    whole = _as_whole(value)
    return Read(whole.value) if whole and whole.value >= 0 else None


def as_number(value: Any) -> Read | None:
    if isinstance(value, str):
        try:
            return Read(float(value), False)
        except ValueError:
            return None
    if not is_number(value):
        return None
    try:
        return Read(float(value))
    except OverflowError:  # JSON integers may have any length
        return Read(math.inf)


def as_flag(value: Any) -> Read | None:
    if isinstance(value, str):
        flag = _FLAGS.get(value.strip().lower())
        return None if flag is None else Read(flag, False)
    return Read(int(value)) if isinstance(value, (int, float)) and value in (0, 1) else None


def as_box(value: Any) -> Read | None:
    """Read [x, y, width, height], also of texts, or in one text."""
    if isinstance(value, list) and len(value) == 4 and set(map(type, value)) <= {int, float}:
        try:
            return Read([*map(float, value)])  # a data set has a million
        except OverflowError:
            pass
    one_text = isinstance(value, str)
    parts = value.strip("[]() ").replace(",", " ").split() if one_text else value
    if not isinstance(parts, list) or len(parts) != 4:
        return None
    numbers = [number for number in map(as_number, parts) if number is not None]
    if len(numbers) != 4:
        return None
    return Read([number.value for number in numbers], all(number.usual for number in numbers))


def has_box(item: dict[str, Any]) -> bool:
    """Return whether an annotation has a box; some tools write zeros where only the mask was drawn."""
    box = item.get("bbox")
    return any(box) if isinstance(box, list) else bool(box)


def plain_box(
    item: dict[str, Any], i: int, labels: dict[int, int], numbers: dict[int | str, int | None]
) -> BoxRecord | None:
    """Read an annotation as COCO's own files have them; a data set has a million, so this takes the shortest way.

    Args:
        item: the annotation.
        i: its position in the file.
        labels: by category id.
        numbers: indices of the usable images by image id.

    Returns:
        The box; None for an annotation that has another type of value, or that cannot be used.
    """
    image_id, category, box = item.get("image_id"), item.get("category_id"), item.get("bbox")
    crowd, area = item.get("iscrowd", 0), item.get("area", 0)
    if not (type(image_id) is type(category) is type(crowd) is int and type(box) is list and len(box) == 4):
        return None
    image, label = numbers.get(image_id), labels.get(category)
    if (
        image is None
        or label is None
        or not any(box)
        or crowd not in (0, 1)
        or not {*map(type, box), type(area)} <= {int, float}
    ):
        return None
    try:
        x, y, width, height, area = *map(float, box), float(area)
    except OverflowError:  # JSON integers may have any length
        return None
    size = area if abs(area) < MAX_AREA else None
    return BoxRecord(image, i, (y, x, y + height, x + width), label, crowd == 1, item.get("difficult") == 1, size)


LIST = Value("a list", as_list)
TEXT = Value("a text", as_text)
NAME = Value("a text", as_name)
NUMBER = Value("a number", as_number)
IMAGE_ID = Value("a whole number or a text", as_image_id)
CATEGORY_ID = Value("a whole number", as_category_id)
FLAG = Value("0 or 1", as_flag)
BOX = Value("[x, y, width, height]", as_box)
SIDE = Value("a whole number of pixels", as_side)


def root_category(content: dict[str, Any], items: list[tuple[int, dict[str, Any]]]) -> int | None:
    """Find the root that Roboflow puts above the classes.

    It has the id 0 and no boxes, and is the only category of supercategory "none".

    Args:
        content: the whole file.
        items: positions and objects of the categories.

    Returns:
        The position of the root; None if there is none.
    """
    roots = [(i, item) for i, item in items if item.get("supercategory") == "none"]
    if len(items) < 2 or len(roots) != 1 or as_category_id(roots[0][1].get("id")) != (0, True):
        return None
    annotations = content.get("annotations")
    for item in annotations if isinstance(annotations, list) else []:
        if isinstance(item, dict) and as_category_id(item.get("category_id")) == (0, True):
            return None
    return roots[0][0]


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _as_whole(value: Any) -> Read | None:
    """Read a whole number, which some tools write with a point."""
    if type(value) is int:
        return Read(value)
    return Read(int(value), False) if isinstance(value, float) and value.is_integer() else None
