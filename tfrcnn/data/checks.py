"""What COCO and Pascal VOC share: what a parser hands over, and the checks of images and boxes that follow.

A parser gives `Parsed`: images and boxes as annotated, nothing opened, nothing judged. Here the header of each image
is read, its size compared, the EXIF orientation decided, and every box held against its image.

EXIF: boxes refer to the annotated width and height. Where the stored picture is to be turned by a quarter
(orientation 5..8), the annotated size shows which picture the annotator saw: the turned one (the orientation is
applied, as image viewers do) or the stored one (it is not). Where the size cannot tell (orientations 2..4, square
images, no annotated size), the orientation is applied.

Legend: N boxes of the whole data set. A box is [y1, x1, y2, x2], continuous.
"""

from __future__ import annotations

import os
import struct
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from tqdm import tqdm

from tfrcnn.config import Category
from tfrcnn.data.faults import Fault
from tfrcnn.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")

EXTENSIONS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
}
_LAST_BYTES = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
_TAIL = 64 * 1024  # cameras append previews and metadata after the end of the picture
_NO_SIDE = 1e-3  # pixels; the finest that float32 tells apart at 10,000 pixels
_NO_EDGE = 1e9  # pixels; the sides of an image that cannot be used: which of its boxes reach over its edge is unknown
_PROGRESS_FROM = 2000  # files; fewer are read before a bar could be looked at


class BadImageError(InputError):
    """An image file that cannot be used; `kind` is its key in `tfrcnn.data.faults.KINDS`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class ImageHeader(NamedTuple):
    """What the header of an image file says: format "JPEG", "PNG", "BMP" or "GIF", (height, width) of the stored
    pixels, and the EXIF orientation 1..8 (1 where there is none)."""

    format: str
    size: tuple[int, int]
    orientation: int

    @property
    def upright(self) -> tuple[int, int]:
        """(height, width) after the orientation is applied."""
        height, width = self.size
        return (width, height) if self.orientation >= 5 else (height, width)


class ImageRecord(NamedTuple):
    """An image as annotated: its file is the first of `candidates` that exists; `size` is the annotated
    (height, width) or None; `file`, `name_field` and `size_field` are for messages."""

    image_id: int | str
    candidates: tuple[Path, ...]
    size: tuple[int, int] | None
    file: str
    name_field: str
    size_field: str


class BoxRecord(NamedTuple):
    """A box as annotated: `image` is an index into the images, `place` its position in the file, for messages;
    `area` and `annotation_id` are None where the file has none."""

    image: int
    place: int
    yxyx: tuple[float, float, float, float]
    label: int
    crowd: bool = False
    difficult: bool = False
    area: float | None = None
    annotation_id: int | None = None


@dataclass
class Parsed:
    """What a parser found. `inclusive`: a side is last - first + 1 pixels, counted from 1 (VOC); `box_field` has a
    place for `BoxRecord.place`; `show_box` writes y1, x1, y2, x2 as the file does."""

    inclusive: bool
    box_field: str
    show_box: Callable[[float, float, float, float], str]
    categories: tuple[Category, ...] = ()
    images: list[ImageRecord] = field(default_factory=list)
    boxes: list[BoxRecord] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)


class OpenedImage(NamedTuple):
    """An image whose file can be used: `size` (height, width) is upright, after `orientation` is applied."""

    path: Path
    size: tuple[int, int]
    orientation: int


def in_threads(function: Callable[[Item], Result], items: Sequence[Item], label: str) -> list[Result]:
    """`function` of each item, in order, by threads; with a progress bar if there are thousands."""
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        # Pillow warns of EXIF that it can read in part only and of very large pictures; the pixels are good.
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        results = pool.map(function, items)
        return list(tqdm(results, total=len(items), desc=label, disable=len(items) <= _PROGRESS_FROM))


def read_header(path: Path) -> ImageHeader:
    """The format, size and orientation of an image file, and that it is whole, without decoding it.

    A JPEG must hold its end marker and a PNG its last chunk, behind the start of the pixels.

    Raises:
        BadImageError: no such file, not an image, of a format that is not read, or cut off.
    """
    try:
        with path.open("rb") as file, Image.open(file) as image:
            # "MPO" is what phones write: a JPEG with more pictures behind it.
            kind = "JPEG" if image.format == "MPO" else str(image.format)
            if kind not in EXTENSIONS:
                raise BadImageError("unsupported-image", f"expected {_formats()}, found {kind}")
            pixels_from = file.tell()
            if kind == "BMP":
                _check_bmp(file)
            header = ImageHeader(kind, (image.height, image.width), _orientation(image))
            if kind in _LAST_BYTES and _LAST_BYTES[kind] not in _tail(file, pixels_from):
                raise BadImageError("truncated-image", f"expected the end of a {kind}, found that the file is cut off")
            return header
    except FileNotFoundError as error:
        raise BadImageError("missing-image", f"expected an image file, found nothing at {path}") from error
    except UnidentifiedImageError as error:
        raise BadImageError(*_unidentified(path)) from error
    except BadImageError:
        raise
    except Exception as error:  # Pillow's parsers raise whatever a broken file makes them meet
        raise BadImageError("unreadable-image", f"expected {_formats()}, found that {error}") from error


def check_images(records: Sequence[ImageRecord]) -> tuple[list[OpenedImage | None], list[Fault]]:
    """Find and open the file of each image; None where it cannot be used, which a fault explains."""
    results = in_threads(_open, records, "reading image headers")
    return [image for image, _ in results], [fault for _, faults in results for fault in faults]


def check_boxes(
    parsed: Parsed, opened: Sequence[OpenedImage | None]
) -> tuple[np.ndarray, np.ndarray, list[Fault], int]:
    """Hold every box against its image.

    Returns:
        boxes [N, 4] float32 clipped to their images; which of them [N] to keep; the faults; and how many of the kept
        were clipped by less than a pixel, as rounding does, which is no fault.
    """
    raw = np.array([record.yxyx for record in parsed.boxes], np.float64).reshape(-1, 4)
    sizes = np.array([image.size if image is not None else (_NO_EDGE, _NO_EDGE) for image in opened]).reshape(-1, 2)
    limits = np.tile(sizes[np.array([record.image for record in parsed.boxes], np.intp)], 2)
    finite = np.asarray(np.isfinite(raw).all(axis=1))
    raw = np.where(finite[:, None], raw, 0.0)
    with np.errstate(over="ignore"):  # of numbers near 1e308; infinite sides are clipped
        # Where coordinates are inclusive, xmin == xmax is meant as nothing, not as one pixel.
        sides = raw[:, 2:] - raw[:, :2] - float(parsed.inclusive)
    inverted = finite & (sides < -_NO_SIDE).any(axis=1)
    zero_area = finite & ~inverted & (sides <= _NO_SIDE).any(axis=1)
    from_zero = np.zeros(raw.shape, bool)
    if parsed.inclusive:
        from_zero[:, :2] = raw[:, :2] == -1
    given = np.where(from_zero, 0.0, raw)
    clipped = np.clip(given, 0.0, limits)
    excess = np.abs(given - clipped).max(axis=1, initial=0.0)
    boxes = clipped.astype(np.float32)
    good = finite & ~inverted & ~zero_area
    outside = good & (boxes[:, 2:] <= boxes[:, :2]).any(axis=1)
    keep = good & ~outside
    found = {
        "nan-box": (~finite, "expected four finite numbers"),
        "inverted-box": (inverted, "expected positive sides"),
        "zero-area-box": (zero_area, "expected positive sides"),
        "box-outside-image": (outside, "expected a box in the image of {1:g} x {0:g} px"),
        "box-beyond-image": (keep & (excess >= 1), "expected a box within the image of {1:g} x {0:g} px"),
        "zero-based-box": (
            keep & from_zero.any(axis=1),
            "expected coordinates from 1 (a set with any 0 is probably 0-based: all its boxes then lie 1 px off)",
        ),
    }
    faults = [
        _box_fault(parsed, kind, parsed.boxes[i], expected.format(*limits[i]))
        for kind, (mask, expected) in found.items()
        for i in np.flatnonzero(mask)
    ]
    return boxes, keep, faults, int((keep & (excess > 0) & (excess < 1)).sum())


def _formats() -> str:
    return "JPEG, PNG, BMP or GIF"


def _check_bmp(file: BinaryIO) -> None:
    """Refuse what `tfrcnn.data.decode` refuses."""
    file.seek(14)
    header, _, _, _, bits, compression = struct.unpack("<IiiHHI", file.read(20))
    plain = compression == 0 or (compression == 3 and bits == 32)  # 3: with an alpha channel
    if header < 40 or bits == 16 or not plain:
        found = f"a header of {header} bytes, {bits} bits a pixel and compression {compression}"
        raise BadImageError(
            "unsupported-image", f"expected an uncompressed BMP of 1, 4, 8, 24 or 32 bits, found {found}"
        )


def _tail(file: BinaryIO, pixels_from: int) -> bytes:
    # Not before the pixels: a JPEG's EXIF thumbnail has an end marker of its own.
    file.seek(max(pixels_from, file.seek(0, os.SEEK_END) - _TAIL))
    return file.read()


def _orientation(image: Image.Image) -> int:
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # Pillow would decode the whole picture in search of it
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # as above; where EXIF cannot be read, viewers show the picture as stored
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _unidentified(path: Path) -> tuple[str, str]:
    with path.open("rb") as file:
        start = file.read(16)
    if not start:
        return "truncated-image", f"expected {_formats()}, found an empty file"
    if start[4:8] == b"ftyp":  # ISO media: heic, heif, avif, mp4, ...
        return "unsupported-image", f"expected {_formats()}, found {start[8:12].decode('latin-1').strip().upper()}"
    return "unreadable-image", f"expected {_formats()}, found no image (it starts with {start[:8]!r})"


def _open(record: ImageRecord) -> tuple[OpenedImage | None, list[Fault]]:
    path = next((c for c in record.candidates if os.path.isfile(c)), None)  # False also for a name too long
    if path is None:
        places = " or ".join(map(str, record.candidates))
        fault = Fault(
            "missing-image", record.file, record.name_field, f"expected an image file, found none at {places}"
        )
        return None, [fault]
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
    if record.size is None:
        message = f"expected a width and a height of at least 1, found none; {path} has {stored}"
        faults.append(Fault("image-size-missing", record.file, record.size_field, message))
    elif record.size != size and record.size == header.size:
        size, orientation = record.size, 1
        message = f"expected the turned size to be annotated (orientation {header.orientation}), found {stored}"
        faults.append(Fault("orientation-ignored", str(path), "EXIF", message))
    elif record.size != size:
        message = "expected {3} x {2} px as {4} has, found {1} x {0} px".format(*record.size, *size, path)
        faults.append(Fault("image-size-differs", record.file, record.size_field, message))
        return None, faults
    return OpenedImage(path, size, orientation), faults


def _box_fault(parsed: Parsed, kind: str, record: BoxRecord, expected: str) -> Fault:
    message = f"{expected}, found {parsed.show_box(*record.yxyx)}"
    return Fault(kind, parsed.images[record.image].file, parsed.box_field.format(record.place), message)
