"""COCO instances json: https://cocodataset.org/#format-data.

Boxes are [x, y, width, height], continuous, in pixels of the image. Category ids may have gaps: COCO's 80 ids lie in
1..90. A label is the position of a category in the order of the ids. Images without annotations are examples too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfrcnn.config import Category
from tfrcnn.data.checks import BoxRecord, ImageRecord, Parsed
from tfrcnn.data.data_format import DataFormat
from tfrcnn.data.faults import Fault


def parse_coco(path: Path, images: Path | None = None) -> Parsed:
    """Read a COCO JSON file without opening the images.

    Args:
        path: the JSON file.
        images: folder that `file_name` is relative to. Default: the folder of the JSON file, or `images/` in it.

    Returns:
        Images, boxes and categories that can be used, and a fault for each that cannot.
    """
    reader = _Reader(path)
    content = reader.load()
    if content is not None:
        roots = (images,) if images is not None else (path.parent, path.parent / "images")
        labels = reader.categories(content)
        numbers = reader.images(content, roots)
        reader.annotations(content, labels, numbers)
    return reader.parsed


class Coco(DataFormat):
    """`path/instances.json`."""

    expected = "a .json file (COCO)"
    marker = "a .json"

    def recognises(self, data: str) -> bool:
        path = Path(data)
        return path.suffix.lower() == ".json" and path.is_file()

    def parse(self, data: str, images: Path | None) -> Parsed:
        return parse_coco(Path(data), images)

    def looks_complete(self, data: str) -> bool:
        return data.endswith(".json")

    def find(self, folder: Path) -> list[str]:
        return sorted(map(str, folder.glob("*.json")))


def _is_whole(value: Any) -> bool:
    return (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer())


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_image_id(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))


def _is_category_id(value: Any) -> bool:
    return _is_whole(value) or (isinstance(value, str) and value.isdecimal() and len(value) < 19)


MAX_AREA = 1e30  # pixels^2; areas become float32, which overflows at 3.4e38

# Each kind of value: its name in fault messages, and its test.
_LIST = ("a list", lambda value: isinstance(value, list))
_TEXT = ("a text", lambda value: isinstance(value, str) and value != "")
_NUMBER = ("a number", _is_number)
_IMAGE_ID = ("a whole number or a text", _is_image_id)
_CATEGORY_ID = ("a whole number", _is_category_id)
_FLAG = ("0 or 1", lambda value: value in (0, 1))
_BOX = (
    "[x, y, width, height]",
    lambda value: isinstance(value, list) and len(value) == 4 and all(map(_is_number, value)),
)
_SIDE = ("a whole number of pixels", lambda value: value is None or (_is_whole(value) and value >= 0))


class _Reader:
    """Fills `parsed` from the three lists of a JSON file. Entries that cannot be used become faults."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.parsed = Parsed(inclusive=False, box_field="annotations[{}].bbox", show_box=_show_box)

    def load(self) -> dict[str, Any] | None:
        """Read the outermost object, or None after a fault."""
        try:
            content = json.loads(self.path.read_bytes())
        except json.JSONDecodeError as error:
            self.fault(
                "syntax-error", f"line {error.lineno}, column {error.colno}", f"expected JSON, found: {error.msg}"
            )
            return None
        except (ValueError, RecursionError) as error:  # not UTF-8, or an integer or a nesting too long for Python
            self.fault("syntax-error", "", f"expected JSON in UTF-8, found: {error}")
            return None
        if not isinstance(content, dict):
            self.fault("bad-value", "", "expected an object with images, annotations and categories")
            return None
        return content

    def categories(self, content: dict[str, Any]) -> dict[int, int]:
        """Read the categories and return the label of each category id."""
        names: dict[int, str] = {}
        for i, item in self.items(content, "categories"):
            where = f"categories[{i}]"
            number, name = self.take(item, "id", where, *_CATEGORY_ID), self.take(item, "name", where, *_TEXT)
            if number is None or name is None:
                continue
            if int(number) in names:
                self.fault("duplicate-category", f"{where}.id", f"expected a unique id, found {number!r} again")
            elif name in names.values():
                self.fault("duplicate-category", f"{where}.name", f"expected a unique name, found {name!r} again")
            else:
                names[int(number)] = name
        self.parsed.categories = tuple(Category(number, names[number]) for number in sorted(names))
        if content.get("categories") == []:
            self.fault("bad-value", "categories", "expected at least one category, found none")
        return {category.id: label for label, category in enumerate(self.parsed.categories)}

    def images(self, content: dict[str, Any], roots: tuple[Path, ...]) -> dict[int | str, int | None]:
        """Read the images and return the index of each image id; None if the image cannot be used."""
        numbers: dict[int | str, int | None] = {}
        for i, item in self.items(content, "images"):
            where = f"images[{i}]"
            number, name = self.take(item, "id", where, *_IMAGE_ID), self.take(item, "file_name", where, *_TEXT)
            sides = [self.take(item, key, where, *_SIDE, default=0) for key in ("height", "width")]
            if number in numbers:
                message = f"expected a unique id, found {number!r} again"
                self.fault("duplicate-image-id", f"{where}.id", message)
            elif number is not None:
                numbers[number] = None
                if name is not None and None not in sides:
                    numbers[number] = len(self.parsed.images)
                    size = (int(sides[0]), int(sides[1])) if all(sides) else None
                    files = tuple(root / name for root in roots)
                    fields = f"{where}.file_name", f"{where}.width"
                    self.parsed.images.append(ImageRecord(number, files, size, str(self.path), *fields))
        if content.get("images") == []:
            self.fault("empty-split", "images", "expected at least one image, found none")
        return numbers

    def annotations(
        self, content: dict[str, Any], labels: dict[int, int], numbers: dict[int | str, int | None]
    ) -> None:
        """Read the annotations."""
        seen: set[Any] = set()
        whole_ids = True
        for i, item in self.items(content, "annotations"):
            where = f"annotations[{i}]"
            identity = self.take(item, "id", where, *_IMAGE_ID, default="")
            if identity in seen:
                message = f"expected a unique id, found {identity!r} again"
                self.fault("duplicate-annotation-id", f"{where}.id", message)
            elif identity not in (None, ""):
                seen.add(identity)
            whole = isinstance(identity, int) and abs(identity) < 2**63
            whole_ids &= whole
            record = self.box(item, i, labels, numbers)
            if record is not None:
                self.parsed.boxes.append(record._replace(annotation_id=identity if whole else None))
        if not whole_ids:
            self.fault("annotations-renumbered", "annotations", "expected whole numbers as ids, found others or none")

    def box(
        self, item: dict[str, Any], i: int, labels: dict[int, int], numbers: dict[int | str, int | None]
    ) -> BoxRecord | None:
        """Read one annotation, or None if it cannot be used."""
        where = f"annotations[{i}]"
        image_id = self.take(item, "image_id", where, *_IMAGE_ID)
        category_id = self.take(item, "category_id", where, *_CATEGORY_ID)
        box = self.take(item, "bbox", where, *_BOX)
        crowd = self.take(item, "iscrowd", where, *_FLAG, default=0)
        area = self.take(item, "area", where, *_NUMBER, default=0)
        # If no image or category could be read, there is a fault already: do not add one per annotation.
        if numbers and image_id is not None and image_id not in numbers:
            self.fault("unknown-image", f"{where}.image_id", f"expected the id of a listed image, found {image_id!r}")
        if labels and category_id is not None and int(category_id) not in labels:
            message = f"expected the id of a listed category, found {category_id!r}"
            self.fault("unknown-category", f"{where}.category_id", message)
        image = numbers.get(image_id) if image_id is not None else None
        label = labels.get(int(category_id)) if category_id is not None else None
        if image is None or label is None or box is None or crowd is None or area is None:
            return None
        x, y, width, height = map(_finite, box)
        area = _finite(area)
        yxyx = (y, x, y + height, x + width)
        return BoxRecord(image, i, yxyx, label, crowd=bool(crowd), area=area if abs(area) < MAX_AREA else None)

    def items(self, content: dict[str, Any], key: str) -> list[tuple[int, dict[str, Any]]]:
        """Return the objects in one of the lists, with their positions."""
        items = list(enumerate(self.take(content, key, "", *_LIST) or []))
        for i, item in items:
            if not isinstance(item, dict):
                self.fault("bad-value", f"{key}[{i}]", f"expected an object, found {_short(item)}")
        return [(i, item) for i, item in items if isinstance(item, dict)]

    def take(
        self,
        item: dict[str, Any],
        key: str,
        where: str,
        expected: str,
        test: Callable[[Any], bool],
        default: Any = None,
    ) -> Any:
        """Return item[key], or `default` if it is missing, or None after a fault if it is not as expected."""
        if key in item:
            value = item[key]
            if test(value):
                return default if value is None else value
            actual = _short(value)
        elif default is not None:
            return default
        else:
            actual = "nothing"
        self.fault("bad-value", f"{where}.{key}" if where else key, f"expected {expected}, found {actual}")
        return None

    def fault(self, kind: str, where: str, message: str) -> None:
        self.parsed.faults.append(Fault(kind, str(self.path), where, message))


def _finite(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # JSON integers may have any length
        return math.inf


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _show_box(y1: float, x1: float, y2: float, x2: float) -> str:
    return f"[{x1:g}, {y1:g}, {x2 - x1:g}, {y2 - y1:g}]"
