"""Shared by all annotation formats: the result of a parser, and the checks of its images and boxes.

A parser returns `Parsed`: images and boxes as annotated, nothing opened, nothing judged. The checks then read the
header of each image, compare its size, decide its EXIF orientation, and compare every box with its image.

EXIF: boxes refer to the annotated width and height. If the stored picture is turned by a quarter (orientation 5..8),
the annotated size shows which picture the annotator saw: the turned one (the orientation is applied, as image viewers
do) or the stored one (it is not). If the size cannot show it (orientations 2..4, square images, no annotated size),
the orientation is applied.

Legend: N boxes of the whole data set. A box is [y1, x1, y2, x2], continuous.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np
from tqdm import tqdm

from tfrcnn.config import Category
from tfrcnn.data.box_table import BoxRecord as BoxRecord
from tfrcnn.data.box_table import BoxTable
from tfrcnn.data.embedded import bytes_of
from tfrcnn.data.faults import Fault
from tfrcnn.data.headers import EXTENSIONS, BadImageError, read_header
from tfrcnn.data.image_table import ImageRecord as ImageRecord
from tfrcnn.data.image_table import ImageTable, OpenedTable
from tfrcnn.data.image_table import OpenedImage as OpenedImage

Item = TypeVar("Item")
Result = TypeVar("Result")

_NO_SIDE = 1e-3  # pixels; the resolution of float32 at 10,000 pixels
_NO_EDGE = 1e9  # pixels; sides of an image that cannot be used, whose boxes cannot be compared with its edge
_PROGRESS_FROM = 2000  # files; fewer are read in no time
BOXES_AT_ONCE = 1 << 18  # so that the comparison takes little memory
_PIECE = 32  # files per task of a thread: a task costs as much as a header

# The faults of a box, and what was expected. The first four leave the box out.
_EXPECTED = {
    "nan-box": "expected four finite numbers",
    "inverted-box": "expected positive sides",
    "zero-area-box": "expected positive sides",
    "box-outside-image": "expected a box in the image of {1:g} x {0:g} px",
    "box-beyond-image": "expected a box within the image of {1:g} x {0:g} px",
    "zero-based-box": "expected coordinates from 1 (a set with any 0 is probably 0-based: all its boxes then lie 1 px "
    "off)",
}


@dataclass
class Parsed:
    """The result of a parser.

    Attributes:
        inclusive: a side is last - first + 1 pixels, counted from 1 (VOC).
        box_field: format of a box's field, with a slot for `BoxRecord.place`.
        show_box: writes y1, x1, y2, x2 as the file does.
        categories: a category's position is its label.
        images: as annotated.
        boxes: as annotated.
        faults: of the annotations.
        summary: more numbers for the report.
        normalised: boxes are in [0, 1] of the upright image's sides, not in pixels (YOLO).
    """

    inclusive: bool
    box_field: str
    show_box: Callable[[float, float, float, float], str]
    categories: tuple[Category, ...] = ()
    images: ImageTable = field(default_factory=ImageTable)
    boxes: BoxTable = field(default_factory=BoxTable)
    faults: list[Fault] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    normalised: bool = False


def in_threads(function: Callable[[Item], Result], items: Sequence[Item], label: str) -> list[Result]:
    """Call `function` on each item, in threads, and return the results in order.

    A bar with the time that is left is shown if there are thousands of items.
    """
    return list(each_in_threads(function, items, label))


def each_in_threads(function: Callable[[Item], Result], items: Sequence[Item], label: str) -> Iterator[Result]:
    """Yield the results of `in_threads` as they come, so that not all have to be kept."""
    starts = range(0, len(items), _PIECE)
    # A log file gets a line every half minute instead of ten a second.
    interval = 0.1 if sys.stderr.isatty() else 30.0
    options: dict[str, Any] = {
        "unit": "image",
        "mininterval": interval,
        "miniters": 1,
        "disable": len(items) <= _PROGRESS_FROM,
    }

    def work(start: int) -> list[Result]:
        return [function(item) for item in items[start : start + _PIECE]]

    with ThreadPoolExecutor() as pool, tqdm(total=len(items), desc=label, **options) as bar:
        for results in pool.map(work, starts):
            yield from results
            bar.update(len(results))


def check_images(records: ImageTable) -> tuple[OpenedTable, list[Fault]]:
    """Find and open the file of each image; the result is None for an unusable file, and a fault explains why."""
    opened, faults = OpenedTable(records), []
    for image, image_faults in each_in_threads(_open, records, "reading image headers"):
        opened.append(image)
        faults += image_faults
    return opened, faults


def check_boxes(parsed: Parsed, opened: OpenedTable) -> tuple[np.ndarray, np.ndarray, list[Fault], int]:
    """Compare every box with its image.

    Returns:
        boxes: [N, 4] float32, clipped to their images.
        keep: [N] bool, the boxes that can be used.
        faults: of the boxes.
        rounded: how many kept boxes were clipped by less than a pixel, as rounding does, which is no fault.
    """
    count = len(parsed.boxes)
    boxes: np.ndarray = np.empty((count, 4), np.float32)
    faulty: np.ndarray = np.zeros((count, len(_EXPECTED)), bool)
    owners, rounded = parsed.boxes.images, 0
    sizes = np.where(opened.usable[:, None], opened.sizes, _NO_EDGE)
    for start in range(0, count, BOXES_AT_ONCE):
        rows = slice(start, start + BOXES_AT_ONCE)
        judged = _judge(parsed, parsed.boxes.yxyx_of(rows), sizes[owners[rows]])
        boxes[rows], faulty[rows] = judged.boxes, judged.faulty
        rounded += judged.rounded
    faults = []
    for place, (kind, expected) in enumerate(_EXPECTED.items()):
        records = [parsed.boxes[row] for row in np.flatnonzero(faulty[:, place]).tolist()]
        limits = sizes[[record.image for record in records]]
        used = _judge(parsed, np.array([record.yxyx for record in records]).reshape(-1, 4), limits).used
        faults += [
            _box_fault(parsed, opened, kind, record, box, expected.format(*size))
            for record, box, size in zip(records, used, limits)
        ]
    lost = faulty[:, : list(_EXPECTED).index("box-beyond-image")]
    return boxes, np.logical_not(lost.any(axis=1)), faults, rounded


class _Judged(NamedTuple):
    """Boxes compared with their images.

    Attributes:
        used: [n, 4] float64, in pixels; 0 for numbers that are not finite.
        boxes: [n, 4] float32, clipped.
        faulty: [n, 6] bool, by the kinds of `_EXPECTED`.
        rounded: how many good boxes were clipped by less than a pixel.
    """

    used: np.ndarray
    boxes: np.ndarray
    faulty: np.ndarray
    rounded: int


def _judge(parsed: Parsed, yxyx: np.ndarray, sizes: np.ndarray) -> _Judged:
    """Compare boxes [n, 4], as annotated, with the sizes [n, 2] of their images."""
    limits = np.tile(sizes, 2)
    finite = np.asarray(np.isfinite(yxyx).all(axis=1))
    used = np.where(finite[:, None], yxyx, 0.0)
    with np.errstate(over="ignore"):  # of numbers near 1e308; infinite sides are clipped
        used = used * limits if parsed.normalised else used
        # with inclusive coordinates, xmin == xmax means an empty box, not one pixel
        sides = used[:, 2:] - used[:, :2] - float(parsed.inclusive)
    inverted = finite & (sides < -_NO_SIDE).any(axis=1)
    zero_area = finite & ~inverted & (sides <= _NO_SIDE).any(axis=1)
    from_zero = np.zeros(used.shape, bool)
    if parsed.inclusive:
        from_zero[:, :2] = used[:, :2] == -1
    annotated = np.where(from_zero, 0.0, used)
    clipped = np.clip(annotated, 0.0, limits)
    excess = np.abs(annotated - clipped).max(axis=1, initial=0.0)
    boxes = clipped.astype(np.float32)
    good = finite & ~inverted & ~zero_area
    outside = good & (boxes[:, 2:] <= boxes[:, :2]).any(axis=1)
    keep = good & ~outside
    kinds = ~finite, inverted, zero_area, outside, keep & (excess >= 1), keep & from_zero.any(axis=1)
    return _Judged(used, boxes, np.stack(kinds, axis=1), int((keep & (excess > 0) & (excess < 1)).sum()))


def _open(record: ImageRecord) -> tuple[OpenedImage | None, list[Fault]]:
    # False also for a name too long
    path = next((c for c in record.candidates if os.path.isfile(bytes_of(c).file)), None)
    if path is None:
        places = " or ".join(map(str, record.candidates))
        message = f"expected an image file, found none at {places}"
        return None, [Fault("missing-image", record.file, record.name_field, message, candidates=record.candidates)]
    try:
        header = read_header(path)
    except BadImageError as error:
        return None, [Fault(error.kind, str(path), "", str(error))]
    faults = []
    if path.suffix and path.suffix.lower() not in EXTENSIONS[header.format]:
        message = f"expected {' or '.join(EXTENSIONS[header.format])} for a {header.format}, found {path.suffix}"
        faults.append(Fault("extension-differs", str(path), "", message))
    size, orientation = header.upright, header.orientation
    stored = "{1} x {0} px".format(*header.size)
    if record.size is None and record.size_field:
        message = f"expected a width and a height of at least 1, found none; {path} has {stored}"
        faults.append(Fault("image-size-missing", record.file, record.size_field, message, str(path)))
    elif record.size not in (None, size) and record.size == header.size:
        size, orientation = record.size, 1
        message = f"expected the turned size to be annotated (orientation {header.orientation}), found {stored}"
        faults.append(Fault("orientation-ignored", str(path), "EXIF", message))
    elif record.size not in (None, size):
        message = "expected {3} x {2} px as {4} has, found {1} x {0} px".format(*record.size, *size, path)
        faults.append(Fault("image-size-differs", record.file, record.size_field, message))
        return None, faults
    return OpenedImage(path, size, orientation), faults


def _box_fault(
    parsed: Parsed, opened: OpenedTable, kind: str, record: BoxRecord, box: np.ndarray, expected: str
) -> Fault:
    message = f"{expected}, found {parsed.show_box(*record.yxyx)}"
    file, image = parsed.images[record.image].file, opened[record.image]
    path = "" if image is None else str(image.path)
    return Fault(
        kind,
        file,
        parsed.box_field.format(record.place),
        message,
        path,
        tuple(box.tolist()) if kind != "nan-box" else None,
    )
