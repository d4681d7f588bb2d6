"""Reads the label file of one image of a YOLO project."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

from tfrcnn.config_base import shown
from tfrcnn.data.faults import Fault
from tfrcnn.data.sources import read_lines
from tfrcnn.errors import InputError

MAX_CLASS = 1 << 20
# A part of a side is in 0..1, or a little outside at the edge of the image. Numbers beyond these are pixels.
_MIN_PART, _MAX_PART = -1.0, 2.0
_LINE = "expected 5 numbers (class x y width height) or a class and a polygon of 3 or more points"


class Row(NamedTuple):
    """One object.

    Attributes:
        line: position in the file, from 1.
        number: class, from 0.
        yxyx: y1, x1, y2, x2 in parts of the image's sides.
    """

    line: int
    number: int
    yxyx: tuple[float, float, float, float]


def read_rows(path: Path | None, columns: int | None = None) -> tuple[list[Row], list[Fault]]:
    """Read the objects of a label file.

    Args:
        path: the file; None has no objects.
        columns: numbers per line of a project with keypoints, which follow the box.

    Returns:
        rows: the objects that can be used.
        faults: of the others, each with its line.
    """
    rows: list[Row] = []
    faults: list[Fault] = []
    try:
        lines = [] if path is None else read_lines(path)
    except InputError as error:
        return rows, [Fault("unreadable-file", str(path), "", str(error))]
    for place, line in enumerate(lines, 1):
        if words := line.strip("\ufeff\0 \t").split():
            row = _row(words, columns)
            if isinstance(row, str):
                faults.append(Fault("bad-value", str(path), f"line {place}", row))
            else:
                rows.append(Row(place, *row))
    return rows, faults


def looks_like_labels(path: Path) -> bool:
    """Return whether the first line of a file that is not empty starts with numbers, as a label file's does."""
    try:
        words = next((line.split() for line in read_lines(path) if line.strip()), [])
    except InputError:
        return False
    return len(words) >= 5 and all(_number(word) is not None for word in words)


def _row(words: list[str], columns: int | None) -> tuple[int, tuple[float, float, float, float]] | str:
    """Return class and box of a line, or the message of its fault."""
    numbers = [_number(word) for word in words]
    if None in numbers:
        word = words[numbers.index(None)]
        return f"expected numbers, found {shown(word)}"
    number, *parts = (value for value in numbers if value is not None)
    if len(words) == columns:
        parts = parts[:4]
    elif columns is not None and len(words) != 5:
        return f"expected 5 or {columns} numbers (class x y width height and keypoints), found {len(words)}"
    elif len(words) != 5 and (len(words) < 7 or len(words) % 2 == 0):
        return f"{_LINE}, found {len(words)} numbers"
    if not (number.is_integer() and 0 <= number < MAX_CLASS):
        return f"expected a class of 0, 1, 2, ..., found {words[0]}"
    beyond = next((word for word, part in zip(words[1:], parts) if part < _MIN_PART or part > _MAX_PART), None)
    if beyond is not None and math.isfinite(float(beyond)):
        return f"expected parts of the image's width and height, in 0..1, found {beyond} (pixels?)"
    if len(parts) == 4:
        x, y, width, height = parts
        return int(number), (y - height / 2, x - width / 2, y + height / 2, x + width / 2)
    if not all(map(math.isfinite, parts)):
        return int(number), (math.nan, math.nan, math.nan, math.nan)
    xs, ys = parts[0::2], parts[1::2]
    return int(number), (min(ys), min(xs), max(ys), max(xs))


def _number(word: str) -> float | None:
    """Return the number in a word; None if it is none."""
    try:
        return float(word) if word.isascii() and "_" not in word else None
    except ValueError:
        return None
