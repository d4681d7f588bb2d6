"""Read the header of an image file: format, size, orientation, and whether the file is whole."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL import ExifTags, Image, UnidentifiedImageError

from tfrcnn.errors import InputError

EXTENSIONS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
}
_LAST_BYTES = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
_TAIL = 64 * 1024  # cameras append previews and metadata after the end of the picture


class BadImageError(InputError):
    """An image file that cannot be used; `kind` is its key in `tfrcnn.data.faults.KINDS`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class ImageHeader(NamedTuple):
    """The header of an image file.

    Attributes:
        format: "JPEG", "PNG", "BMP" or "GIF".
        size: (height, width) of the stored pixels.
        orientation: EXIF orientation 1..8; 1 if there is none.
    """

    format: str
    size: tuple[int, int]
    orientation: int

    @property
    def upright(self) -> tuple[int, int]:
        """(height, width) after the orientation is applied."""
        height, width = self.size
        return (width, height) if self.orientation >= 5 else (height, width)


def read_header(path: Path) -> ImageHeader:
    """Read the header of an image file, and check that the file is whole, without decoding it.

    Behind the start of its pixels, a JPEG must have its end marker and a PNG its last chunk.

    Raises:
        BadImageError: there is no such file; it is not an image; its format is not supported; it is cut off.
    """
    try:
        with path.open("rb") as file, Image.open(file) as image:
            # phones write "MPO": a JPEG with more pictures behind it
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
    except Exception as error:  # Pillow's parsers raise exceptions of all kinds
        raise BadImageError("unreadable-image", f"expected {_formats()}, found that {error}") from error


def _formats() -> str:
    return "JPEG, PNG, BMP or GIF"


def _check_bmp(file: BinaryIO) -> None:
    """Refuse the BMPs that `tfrcnn.data.decode` refuses."""
    file.seek(14)
    header, _, _, _, bits, compression = struct.unpack("<IiiHHI", file.read(20))
    plain = compression == 0 or (compression == 3 and bits == 32)  # 3: with an alpha channel
    if header < 40 or bits == 16 or not plain:
        actual = f"a header of {header} bytes, {bits} bits per pixel and compression {compression}"
        raise BadImageError(
            "unsupported-image", f"expected an uncompressed BMP of 1, 4, 8, 24 or 32 bits, found {actual}"
        )


def _tail(file: BinaryIO, pixels_from: int) -> bytes:
    # not before the pixels: a JPEG's EXIF thumbnail has its own end marker
    file.seek(max(pixels_from, file.seek(0, os.SEEK_END) - _TAIL))
    return file.read()


def _orientation(image: Image.Image) -> int:
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # Pillow would decode the whole picture in search of it
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # as above; if EXIF cannot be read, viewers show the picture as stored
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
