"""COCO instances json: https://cocodataset.org/#format-data.

Boxes are [x, y, width, height], continuous, in pixels of the image. Category ids may have gaps: COCO's 80 ids lie in
1..90. A label is the position of a category in the order of the ids. Images without annotations are examples too.

Other tools write dialects, see `tfrcnn.data.coco_values`; a fault says once per field what was read.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from tfrcnn.config import Category
from tfrcnn.config_base import shown
from tfrcnn.data import coco_values as values
from tfrcnn.data.checks import BoxRecord, ImageRecord, Parsed
from tfrcnn.data.coco_folder import coco_files, has_lists, other_files
from tfrcnn.data.coco_json import parse_lists
from tfrcnn.data.coco_values import Value
from tfrcnn.data.data_format import DataFormat, Parse
from tfrcnn.data.faults import Fault
from tfrcnn.data.locate import ImageFinder, folders_above
from tfrcnn.data.masks import box_of
from tfrcnn.data.other_tools import other_tool
from tfrcnn.data.remote import fetch_named, local_path
from tfrcnn.data.remote_files import can_read
from tfrcnn.data.sources import json_text
from tfrcnn.errors import InputError


def parse_coco(path: Path, images: Path | None = None) -> Parsed:
    """Read a COCO JSON file without opening the images.

    Args:
        path: the JSON file.
        images: folder that `file_name` is relative to. Default: the folder of the JSON file, `images/` in it, or the
            folders of COCO's own layout, which has the JSON files in `annotations/`.

    Returns:
        Images, boxes and categories that can be used, and a fault for each that cannot.
    """
    reader = _Reader(path)
    content = reader.load()
    if content is not None:
        labels = reader.categories(content)
        numbers = reader.images(content, images)
        reader.annotations(content, labels, numbers)
    return reader.finished()


class Coco(DataFormat):
    """`path/instances.json`, or a folder as Roboflow, CVAT, Label Studio, FiftyOne and COCO itself lay it out."""

    expected = "a .json file, or a folder with _annotations.coco.json or annotations/instances_*.json (COCO)"
    extensions = (".json",)

    def find(self, path: str) -> dict[str, Parse]:
        if Path(path).suffix.lower() == ".json" and Path(path).is_file():
            return {"": partial(parse_coco, Path(path))}
        files = coco_files(Path(path)) or other_files(Path(path))
        return {split: partial(parse_coco, file) for split, file in files.items()}

    def is_guess(self, path: str) -> bool:
        return Path(path).is_dir() and not coco_files(Path(path))

    def is_likely(self, file: Path) -> bool:
        return has_lists(file)


class _Note:
    """A fault that many entries may have: the first of them, and their number."""

    def __init__(self, where: str, message: str) -> None:
        self.where, self.message, self.count = where, message, 0


class _Reader:
    """Fills `parsed` from the three lists of a JSON file. Entries that cannot be used become faults."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.parsed = Parsed(inclusive=False, box_field="annotations[{}].bbox", show_box=_show_box)
        self.notes: dict[tuple[str, str, str], _Note] = {}

    def finished(self) -> Parsed:
        """Return the result, with one fault for the entries that share it."""
        for (kind, _, _), note in self.notes.items():
            more = f" (and {note.count - 1:,} more)" if note.count > 1 else ""
            self.fault(kind, note.where, note.message + more)
        return self.parsed

    def load(self) -> dict[str, Any] | None:
        """Read the outermost object, or None after a fault."""
        try:
            content = parse_lists(json_text(self.path))
        except InputError as error:
            self.fault("unreadable-file", "", str(error))
            return None
        except json.JSONDecodeError as error:
            self.fault(
                "syntax-error", f"line {error.lineno}, column {error.colno}", f"expected JSON, found: {error.msg}"
            )
            return None
        except (ValueError, RecursionError) as error:  # not UTF-8, or an integer or a nesting too long for Python
            self.fault("syntax-error", "", f"expected JSON in UTF-8, found: {error}")
            return None
        if not isinstance(content, dict) or not content.keys() & {"images", "annotations"}:
            message = "expected an object with images, annotations and categories"
            self.fault("bad-value", "", f"{message}, found {other_tool(self.path) or shown(content)}")
            return None
        return content

    def categories(self, content: dict[str, Any]) -> dict[int, int]:
        """Read the categories and return the label of each category id."""
        names: dict[int, str] = {}
        items = self.items(content, "categories")
        root = values.root_category(content, items)
        for i, item in items:
            number = self.take(item, "id", "categories", i, values.CATEGORY_ID)
            name = self.take(item, "name", "categories", i, values.NAME)
            if number is None or name is None:
                continue
            if i == root:
                message = f"expected a class, found {name!r} of id 0 and supercategory 'none', which has no boxes"
                self.fault("root-category", f"categories[{i}]", message)
            elif number in names:
                self.fault("duplicate-category", f"categories[{i}].id", f"expected a unique id, found {number!r} again")
            elif name in names.values():
                message = f"expected a unique name, found {name!r} again"
                self.fault("duplicate-category", f"categories[{i}].name", message)
            else:
                names[number] = name
        self.parsed.categories = tuple(Category(number, names[number]) for number in sorted(names))
        if content.get("categories") == []:
            self.fault("bad-value", "categories", "expected at least one category, found none")
        return {category.id: label for label, category in enumerate(self.parsed.categories)}

    def images(self, content: dict[str, Any], folder: Path | None) -> dict[int | str, int | None]:
        """Read the images and return the index of each image id; None if the image cannot be used."""
        numbers: dict[int | str, int | None] = {}
        plain = (self.path.parent, self.path.parent / "images") if folder is None else (folder,)
        roots = plain if folder is not None else (self.path.parent, *folders_above(self.path))
        items = self.items(content, "images")
        fetch_named([item.get("file_name") for _, item in items], ImageFinder(roots))
        finder = ImageFinder(roots)  # lists the folders again
        for i, item in items:
            number = self.take(item, "id", "images", i, values.IMAGE_ID)
            name = self.take(item, "file_name", "images", i, values.TEXT)
            sides = [self.take(item, key, "images", i, values.SIDE, default=0) for key in ("height", "width")]
            if number in numbers:
                message = f"expected a unique id, found {number!r} again"
                self.fault("duplicate-image-id", f"images[{i}].id", message)
            elif number is not None:
                numbers[number] = None
                if name is not None and None not in sides:
                    numbers[number] = len(self.parsed.images)
                    size = (sides[0], sides[1]) if all(sides) else None
                    files = self.files(name, i, finder) or tuple(root / name for root in plain)
                    fields = f"images[{i}].file_name", f"images[{i}].width"
                    self.parsed.images.append(ImageRecord(number, files, size, str(self.path), *fields))
        if content.get("images") == []:
            self.fault("empty-split", "images", "expected at least one image, found none")
        return numbers

    def files(self, name: str, i: int, finder: ImageFinder) -> tuple[Path, ...]:
        """Return the file that a name means, if it is there."""
        result = finder.find(name)
        if result is None:
            return (local_path(name),) if can_read(name) else ()
        if result.fault:
            self.note(result.fault, "images", i, "file_name", f"expected {name}, found {result.path}")
        return (result.path,)

    def annotations(
        self, content: dict[str, Any], labels: dict[int, int], numbers: dict[int | str, int | None]
    ) -> None:
        """Read the annotations."""
        seen: set[int | str] = set()
        whole_ids = True
        for i, item in self.items(content, "annotations"):
            number = item.get("id")
            if type(number) is not int:
                identity = values.as_image_id(number)
                number = identity.value if identity is not None else ""
            duplicate = number != "" and number in seen
            if duplicate:
                message = f"expected a unique id, found {number!r} again"
                self.note("duplicate-annotation-id", "annotations", i, "id", message)
            seen.add(number)
            whole = number if isinstance(number, int) and abs(number) < 2**63 else None
            whole_ids &= whole is not None
            record = values.plain_box(item, i, labels, numbers) or self.box(item, i, labels, numbers)
            if record is not None:
                self.parsed.boxes.append(record, None if duplicate else whole)
        if not whole_ids:
            self.fault("annotations-renumbered", "annotations", "expected whole numbers as ids, found others or none")

    def box(
        self, item: dict[str, Any], i: int, labels: dict[int, int], numbers: dict[int | str, int | None]
    ) -> BoxRecord | None:
        """Read one annotation, or None if it cannot be used."""
        image_id = self.take(item, "image_id", "annotations", i, values.IMAGE_ID)
        category = self.take(item, "category_id", "annotations", i, values.CATEGORY_ID)
        box = self.coordinates(item, i)
        crowd = self.take(item, "iscrowd", "annotations", i, values.FLAG, default=0)
        area = self.take(item, "area", "annotations", i, values.NUMBER, default=0)
        # If no image or category could be read, there is a fault already: do not add one per annotation.
        if numbers and image_id is not None and image_id not in numbers:
            image_id = self.other_type(image_id, i, numbers)
        if labels and category is not None and category not in labels:
            message = f"expected the id of a listed category, found {item['category_id']!r}"
            self.fault("unknown-category", f"annotations[{i}].category_id", message)
        image = numbers.get(image_id) if image_id is not None else None
        label = labels.get(category) if category is not None else None
        if image is None or label is None or box is None or crowd is None or area is None:
            return None
        x, y, width, height = box
        yxyx = (y, x, y + height, x + width)
        area = area if abs(area) < values.MAX_AREA else None
        return BoxRecord(image, i, yxyx, label, bool(crowd), item.get("difficult") == 1, area)

    def other_type(self, image_id: int | str, i: int, numbers: dict[int | str, int | None]) -> int | str | None:
        """Return the id of a listed image that is written as a text here and as a number there, or None."""
        is_number = isinstance(image_id, str) and image_id.isdecimal() and len(image_id) <= 18
        other = int(image_id) if is_number else str(image_id)
        where = f"annotations[{i}].image_id"
        if other not in numbers:
            self.fault("unknown-image", where, f"expected the id of a listed image, found {image_id!r}")
            return None
        self.note("unusual-value", "annotations", i, "image_id", f"expected {other!r}, found {image_id!r}")
        return other

    def coordinates(self, item: dict[str, Any], i: int) -> list[float] | None:
        """Read [x, y, width, height] of an annotation, else take those of its mask."""
        if not values.has_box(item) and (box := box_of(item.get("segmentation"))) is not None:
            self.note("box-from-mask", "annotations", i, "bbox", "expected [x, y, width, height], found a mask only")
            return box
        result: list[float] | None = self.take(item, "bbox", "annotations", i, values.BOX)
        return result

    def items(self, content: dict[str, Any], key: str) -> list[tuple[int, dict[str, Any]]]:
        """Return the objects in one of the lists, with their positions."""
        items = []
        for i, item in enumerate(self.take(content, key, "", 0, values.LIST) or []):
            if isinstance(item, dict):
                items.append((i, item))
            else:
                self.fault("bad-value", f"{key}[{i}]", f"expected an object, found {shown(item)}")
        return items

    def take(self, item: dict[str, Any], key: str, name: str, i: int, value: Value, default: Any = None) -> Any:
        """Return item[key], or `default` if it is missing or null, or None after a fault if it cannot be read.

        Args:
            item: the object.
            key: of the value.
            name: the list that the object is in; empty for the outermost object.
            i: position of the object in the list.
            value: what is expected.
            default: None if the value must be there.
        """
        if key in item:
            result = value.read(item[key])
            if result is not None:
                if not result.usual:
                    message = f"expected {value.expected}, found {shown(item[key])}"
                    self.note("unusual-value", name, i, key, message)
                return result.value
            if item[key] is None and default is not None:
                self.note("unusual-value", name, i, key, f"expected {value.expected}, found None")
                return default
            actual = shown(item[key])
        elif default is not None:
            return default
        else:
            actual = "nothing"
        self.fault("bad-value", f"{name}[{i}].{key}" if name else key, f"expected {value.expected}, found {actual}")
        return None

    def note(self, kind: str, name: str, i: int, key: str, message: str) -> None:
        """Count a fault that all entries of a list may have."""
        if (kind, name, key) not in self.notes:
            self.notes[kind, name, key] = _Note(f"{name}[{i}].{key}", message)
        self.notes[kind, name, key].count += 1

    def fault(self, kind: str, where: str, message: str) -> None:
        self.parsed.faults.append(Fault(kind, str(self.path), where, message))


def _show_box(y1: float, x1: float, y2: float, x2: float) -> str:
    return f"[{x1:g}, {y1:g}, {x2 - x1:g}, {y2 - y1:g}]"
