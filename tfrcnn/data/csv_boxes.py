"""CSV files with one box per row, in the dialects of `tfrcnn.data.csv_dialects`.

Coordinates are continuous, as the tools that train on these files read them.
"""

from __future__ import annotations

import csv
import io
import math
import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tfrcnn.config_base import shown
from tfrcnn.data.box_table import BoxTable
from tfrcnn.data.checks import BoxRecord, ImageRecord, Parsed
from tfrcnn.data.class_lists import (
    ClassList,
    classes_of_names,
    find_class_csv,
    find_label_map,
    read_descriptions,
)
from tfrcnn.data.csv_dialects import CORNERS, MAX_ROW, Dialect, find_dialect
from tfrcnn.data.data_format import DataFormat, Parse
from tfrcnn.data.faults import Fault
from tfrcnn.data.locate import ImageFinder, Location
from tfrcnn.data.other_tools import other_tool
from tfrcnn.data.sources import nfc, not_unicode, read_bytes, read_head, subfolders, text_encoding
from tfrcnn.errors import InputError

_IN_FOLDER = ("_annotations.csv", "labels/detections.csv")  # Roboflow's next to the images, FiftyOne's
_GROUP = {"1": True, "0": False, "-1": False, "": False}  # Open Images writes -1 for unknown
_MAX_SHARE = 1.001  # of a width or height; more is in pixels


class CsvBoxes(DataFormat):
    """`path/boxes.csv`."""

    expected = "a .csv file (TF tutorial, RetinaNet, Open Images), or a folder with _annotations.csv (Roboflow)"
    extensions = (".csv",)

    def find(self, path: str) -> dict[str, Parse]:
        if not os.path.isdir(path):
            is_csv = path.lower().endswith(".csv") and os.path.isfile(path)
            return {"": partial(parse_csv, Path(path))} if is_csv else {}
        places = {"": Path(path)} | {folder.name: folder for folder in subfolders(Path(path))}
        files = {split: _in_folder(folder) for split, folder in places.items()}
        return {split: partial(parse_csv, file) for split, file in files.items() if file is not None}

    def is_likely(self, file: Path) -> bool:
        return find_dialect(read_head(file).replace(b"\0", b"").decode(errors="replace").lstrip("\ufeff")) is not None


def _in_folder(folder: Path) -> Path | None:
    return next((folder / name for name in _IN_FOLDER if (folder / name).is_file()), None)


def parse_csv(path: Path, images: Path | None = None) -> Parsed:
    """Read a CSV file of boxes without opening the images.

    Args:
        path: the CSV file.
        images: folder that names are relative to. Default: the folder of the file, or the folders next to it and above
            it that the tools use.

    Returns:
        Images, boxes and categories that can be used, and a fault for each that cannot.
    """
    reader = _Reader(path, images)
    reader.read()
    return reader.parsed


class _Reader:
    """Fills `parsed` from the rows. Rows that cannot be used become faults."""

    def __init__(self, path: Path, images: Path | None) -> None:
        self.path = path
        self.parsed = Parsed(inclusive=False, box_field="line {}", show_box=_show_box)
        folder = path.parent
        split = path.stem.removeprefix("oidv6-").split("-annotations-bbox")[0].removesuffix("_labels")
        near = [folder, folder / "images", folder / split, folder / "images" / split]
        above = [folder.parent / name for name in ("", "data", "images", split, f"images/{split}")]
        self.finder = ImageFinder([*near, *above] if images is None else [images])
        self.numbers: dict[str, int] = {}
        self.names: list[tuple[str, int]] = []  # class and line of each box

    def read(self) -> None:
        """Read all rows, then the classes."""
        try:
            data = read_bytes(self.path)
            file = io.TextIOWrapper(io.BytesIO(data), text_encoding(data), newline="")
            head = file.read(MAX_ROW)
            file.seek(0)
        except (InputError, UnicodeDecodeError) as error:
            self.unreadable(error)
            return
        if not head[:1000].strip():
            self.fault("empty-split", "", "expected at least one row, found an empty file")
            return
        dialect = find_dialect(head)
        if dialect is None:
            expected = "expected columns for image, class, xmin, ymin, xmax and ymax, or RetinaNet's 6 without a header"
            actual = other_tool(self.path) or shown(head[:200].splitlines()[0])
            self.fault("bad-value", "line 1", f"{expected}, found {actual}")
            return
        if dialect.repeated:
            actual = ", ".join(map(repr, dialect.repeated))
            self.fault("bad-value", "line 1", f"expected each column once, found {actual} twice")
            return
        for line, row in self.rows(file, dialect):
            self.row(line, row, dialect)
        classes = self.classes(dialect)
        self.parsed.categories = classes.categories
        if not classes.categories and not self.parsed.faults:
            self.fault("bad-value", "class", "expected at least one box with a class, found none")
        boxes, labels = zip(self.parsed.boxes, self.names), classes.labels
        kept = (box._replace(label=labels[name]) for box, (name, _) in boxes if name in labels)
        self.parsed.boxes = BoxTable(kept)
        self.parsed.normalised = self.are_shares(dialect)

    def rows(self, file: io.TextIOWrapper, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
        """Yield the line and the fields of each row that is not blank."""
        rows = csv.reader(file, delimiter=dialect.delimiter, strict=True)
        header = dialect.header
        try:
            for row in rows:
                if not any(field.strip() for field in row):
                    continue
                if not header:
                    yield rows.line_num, [field.strip() for field in row]
                header = 0
        except csv.Error as error:
            self.fault("syntax-error", f"line {rows.line_num}", f"expected CSV, found: {error}")
        except UnicodeDecodeError as error:
            self.unreadable(error)

    def row(self, line: int, row: list[str], dialect: Dialect) -> None:
        """Read one row: its image, and its box if it has one."""
        needed = max(dialect.columns.values()) + 1
        if len(row) < needed or (not dialect.header and len(row) > needed):
            self.fault("bad-value", f"line {line}", f"expected {needed} fields, found {len(row)}")
            return
        fields = {name: row[position] for name, position in dialect.columns.items()}
        before = len(self.parsed.faults)
        if not fields["image"]:
            self.fault("bad-value", f"line {line}, image", "expected a file name, found nothing")
        size = self.size(line, fields)
        empty = not any(fields[name] for name in (*CORNERS, "label"))
        corners = [math.nan] * 4 if empty else [self.number(line, name, fields[name], dialect) for name in CORNERS]
        group = fields.get("group", "")
        if group not in _GROUP:
            self.fault("bad-value", f"line {line}, IsGroupOf", f"expected 0 or 1, found {group!r}")
        if not empty and not fields["label"]:
            self.fault("bad-value", f"line {line}, class", "expected a name, found nothing")
        if dialect.shares and max((abs(value) for value in corners if value == value), default=0.0) > _MAX_SHARE:
            shares = ", ".join(f"{name} {value:g}" for name, value in zip(CORNERS, corners))
            self.fault("bad-value", f"line {line}", f"expected shares of the image from 0 to 1, found {shares}")
        if len(self.parsed.faults) > before:
            return
        image = self.image(line, fields["image"], size)
        if not empty:
            yxyx = (corners[0], corners[1], corners[2], corners[3])
            self.parsed.boxes.append(BoxRecord(image, line, yxyx, 0, crowd=_GROUP[group]))
            self.names.append((nfc(fields["label"]), line))

    def image(self, line: int, name: str, size: tuple[int, int] | None) -> int:
        """Return the position of the row's image."""
        if name not in self.numbers:
            self.numbers[name] = len(self.parsed.images)
            result = self.of_id(name) or self.finder.find(name)
            path, kind = result if result is not None else Location(self.finder.roots[0] / name)
            if kind:
                self.fault(kind, f"line {line}", f"expected {name}, found {path}")
            size_field = f"line {line}, width" if size is not None else ""
            record = ImageRecord(name, (path,), size, str(self.path), f"line {line}, image", size_field)
            self.parsed.images.append(record)
        number = self.numbers[name]
        annotated = self.parsed.images[number].size
        if size != annotated:
            message = "expected {} x {} px as in another row of this image, found {} x {} px"
            sizes = (*(annotated or (0, 0))[::-1], *(size or (0, 0))[::-1])
            self.fault("bad-value", f"line {line}, width", message.format(*sizes))
        return number

    def of_id(self, name: str) -> Location | None:
        """Find the image of an id, which has no extension."""
        if os.path.splitext(name)[1]:
            return None
        results = (self.finder.find(f"{name}{extension}") for extension in (".jpg", ".png", ".jpeg"))
        return next((result for result in results if result is not None and not result.fault), None)

    def size(self, line: int, fields: dict[str, str]) -> tuple[int, int] | None:
        """Read the (height, width) of a row, or None if the file has none."""
        texts = [fields.get(name, "").removesuffix(".0") for name in ("height", "width")]
        if not any(texts):
            return None
        if not all(re.fullmatch("[0-9]{1,9}", text) and int(text) for text in texts):
            message = f"expected whole numbers of at least 1, found {fields.get('width')!r} x {fields.get('height')!r}"
            self.fault("bad-value", f"line {line}, width and height", message)
            return None
        return int(texts[0]), int(texts[1])

    def number(self, line: int, name: str, text: str, dialect: Dialect) -> float:
        """Read a coordinate, or NaN after a fault."""
        try:
            return dialect.number(text)
        except ValueError:
            message = f"expected a number, found {repr(text) if text else 'nothing'}"
            self.fault("bad-value", f"line {line}, {name}", message)
            return math.nan

    def classes(self, dialect: Dialect) -> ClassList:
        """Return the classes; a name in a row that the list of classes does not have is a fault."""
        folder, names = self.path.parent, [name for name, _ in self.names]
        if dialect.shares:
            descriptions = read_descriptions(folder)
            described = classes_of_names(descriptions.get(name, name) for name in names)
            described.labels = {name: described.labels[descriptions.get(name, name)] for name in names}
            return described
        classes = find_label_map(folder, self.path.stem) if dialect.header else find_class_csv(folder)
        if classes is None:
            return classes_of_names(names)
        self.parsed.faults += classes.faults
        for name, line in self.names if classes.labels else ():
            if name not in classes.labels:
                message = f"expected a class of {classes.path}, found {name!r}"
                self.fault("unknown-category", f"line {line}, class", message)
        return classes

    def are_shares(self, dialect: Dialect) -> bool:
        """Return whether coordinates are shares of the image's sides, in place of pixels."""
        values = [value for box in self.parsed.boxes for value in box.yxyx if math.isfinite(value)]
        if dialect.shares or not values or max(values) > 1 or all(value == int(value) for value in values):
            return dialect.shares
        message = "expected pixels, found no coordinate above 1: all are read as shares of the image's sides"
        self.fault("unusual-value", "xmin, ymin, xmax, ymax", message)
        return True

    def unreadable(self, error: InputError | UnicodeDecodeError) -> None:
        message = str(not_unicode(error) if isinstance(error, UnicodeDecodeError) else error)
        self.fault("unreadable-file", "", message)

    def fault(self, kind: str, where: str, message: str) -> None:
        self.parsed.faults.append(Fault(kind, str(self.path), where, message))


def _show_box(y1: float, x1: float, y2: float, x2: float) -> str:
    return f"xmin {x1:g}, ymin {y1:g}, xmax {x2:g}, ymax {y2:g}"
