"""Open image files: one place decides which files are images that can be used, for headers and for pixels.

Everything is judged by the content of a file; its name does not count.
"""

from __future__ import annotations

import io
import os
import re
import stat
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL import Image, JpegImagePlugin, UnidentifiedImageError

from tfrcnn.data.embedded import bytes_of, open_bytes
from tfrcnn.errors import InputError
from tfrcnn.pixels import orientation_of

EXTENSIONS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png",),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
}
MAX_PIXELS = 178_956_970  # per image, as Pillow's limit: 0.5 GB of RGB, and 0.7 GB more while decoding
_EXPECTED = "expected a JPEG, PNG, BMP, GIF, WebP or TIFF image"
_LAST_BYTES = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNKS = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"eXIf"}
_TAIL = 64 * 1024  # the end of most files is here; the whole file is searched if it is not
_WIDTH, _HEIGHT = 256, 257  # TIFF's tags
_SILENCE = ("ignore", None, Warning, re.compile(r"PIL\."), 0)  # an entry of `warnings.filters`


class BadImageError(InputError):
    """An image file that cannot be used; `kind` is its key in `tfrcnn.data.faults.KINDS`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class ImageHeader(NamedTuple):
    """The header of an image file.

    Attributes:
        format: a key of `EXTENSIONS`.
        size: (height, width) of the stored pixels. A TIFF's are those after its orientation is applied.
        orientation: EXIF orientation 1..8; 1 if there is none, and for a TIFF.
    """

    format: str
    size: tuple[int, int]
    orientation: int

    @property
    def upright(self) -> tuple[int, int]:
        """(height, width) after the orientation is applied."""
        height, width = self.size
        return (width, height) if self.orientation >= 5 else (height, width)


def read_header(path: str | Path) -> ImageHeader:
    """Read the header of an image file, and check that the file is whole, without decoding it.

    Behind the start of its pixels, a JPEG must have its end marker and a PNG its last chunk.

    Raises:
        BadImageError: there is no such file; it is not an image; its format is not supported; it is cut off.
    """
    with open_image(path, header_only=True) as (_, header):
        return header


@contextmanager
def open_image(path: str | Path | bytes, header_only: bool = False) -> Iterator[tuple[Image.Image, ImageHeader]]:
    """Open an image file, and yield the image, whose pixels are not loaded yet, and its header.

    Args:
        path: image file, or the content of one.
        header_only: the block does not load the pixels. If it does, their errors are reported as errors of the file.

    Raises:
        BadImageError: as in `read_header`, or the block raises an error.
    """
    _silence_pillow()
    try:
        if not isinstance(path, bytes) and not stat.S_ISREG(
            os.stat(bytes_of(path).file).st_mode
        ):  # a pipe would block, a device never end
            raise BadImageError("missing-image", "expected an image file, found a folder, a pipe or a device")
        with open_bytes(path) as file, _open(file, header_only) as image:
            yield image, _header(image, file)
    except (BadImageError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise BadImageError(
            "missing-image", f"expected an image file, found nothing at {os.fsdecode(path)} (No such file)"
        ) from error
    except UnidentifiedImageError as error:
        raise BadImageError(*_unidentified(path)) from error
    except Image.DecompressionBombError as error:
        raise BadImageError("unsupported-image", f"expected at most {MAX_PIXELS:,} pixels, found more") from error
    except Exception as error:  # Pillow's parsers and decoders raise exceptions of all kinds
        raise _damaged(error) from error


def _open(file: BinaryIO, header_only: bool) -> Image.Image:
    start = file.read(8)
    file.seek(0)
    if start[:3] == b"\xff\xd8\xff":
        # Phones write more pictures behind a JPEG ("MPO"), with an index that may be damaged. The first one counts.
        return JpegImagePlugin.JpegImageFile(file)
    if start == _PNG:
        return Image.open(_without_metadata(file, last=b"IDAT" if header_only else b"IEND"))
    return Image.open(file)


def _without_metadata(file: BinaryIO, last: bytes) -> BinaryIO:
    """Copy a PNG's pixels and EXIF up to the chunk `last`; leave `file` behind the first chunk of pixels.

    Damaged or huge texts, profiles and dates would end Pillow, and they do not change the pixels.
    """
    copy, pixels_from, kind = [file.read(len(_PNG))], 0, b""
    while kind != last and len(head := file.read(8)) == 8:
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind == b"IDAT":
            pixels_from = pixels_from or file.tell()
        if kind == b"IDAT" and last == kind:
            copy += [head]
        elif kind in _PNG_CHUNKS:
            body = file.read(length + 4)
            if kind != b"eXIf" or body[-4:] == zlib.crc32(kind + body[:-4]).to_bytes(4, "big"):
                copy += [head, body]
        else:
            file.seek(length + 4, os.SEEK_CUR)
    file.seek(pixels_from)
    return io.BytesIO(b"".join(copy))


def _header(image: Image.Image, file: BinaryIO) -> ImageHeader:
    """Check an image that has been opened, and return its header."""
    pixels_from = file.tell()
    kind = str(image.format)
    if kind not in EXTENSIONS:
        raise BadImageError("unsupported-image", f"{_EXPECTED}, found {kind}")
    if image.width * image.height > MAX_PIXELS:
        actual = f"{image.width} x {image.height} px"
        raise BadImageError("unsupported-image", f"expected at most {MAX_PIXELS:,} pixels, found {actual}")
    if kind == "BMP":
        _check_bmp(file)
    if kind in _LAST_BYTES and not _has_end(file, pixels_from, _LAST_BYTES[kind]):
        raise BadImageError("truncated-image", f"expected the end of a {kind}, found that the file is cut off")
    height, width, orientation = image.height, image.width, orientation_of(image)
    if kind == "TIFF":  # some releases of Pillow turn a TIFF while loading it, and `size` has the turned size already
        width, height = (int(image.tag_v2[tag]) for tag in (_WIDTH, _HEIGHT))  # type: ignore[attr-defined]
        height, width = ImageHeader(kind, (height, width), orientation).upright
        orientation = 1
    file.seek(pixels_from)
    return ImageHeader(kind, (height, width), orientation)


def _check_bmp(file: BinaryIO) -> None:
    """Refuse the BMPs that few tools write and TensorFlow's decoder in exported files refuses."""
    file.seek(14)
    fields = file.read(20)
    header, bits, compression = (int.from_bytes(fields[a:b], "little") for a, b in ((0, 4), (14, 16), (16, 20)))
    plain = compression == 0 or (compression == 3 and bits == 32)  # 3: with an alpha channel
    if header < 40 or bits == 16 or not plain:
        actual = f"a header of {header} bytes, {bits} bits per pixel and compression {compression}"
        raise BadImageError(
            "unsupported-image", f"expected an uncompressed BMP of 1, 4, 8, 24 or 32 bits, found {actual}"
        )


def _has_end(file: BinaryIO, pixels_from: int, end: bytes) -> bool:
    """Return whether the end of a picture is in the file, behind the start of its pixels.

    Not before: a JPEG's EXIF thumbnail has its own end marker. Cameras append previews, metadata and whole videos.
    """
    tail = max(pixels_from, file.seek(0, os.SEEK_END) - _TAIL)
    file.seek(tail)
    if end in file.read():
        return True
    file.seek(pixels_from)
    return end in file.read(tail - pixels_from + len(end) - 1)  # the end may reach into the tail


def _unidentified(path: str | Path | bytes) -> tuple[str, str]:
    with open_bytes(path) as file:
        start = file.read(16)
    if not start:
        return "truncated-image", f"{_EXPECTED}, found an empty file"
    if start[4:8] == b"ftyp":  # ISO media: heic, heif, avif, mp4, ...
        return "unsupported-image", f"{_EXPECTED}, found {start[8:12].decode('latin-1').strip().upper()}"
    return "unreadable-image", f"{_EXPECTED}, found no image (it starts with {start[:8]!r})"


def _damaged(error: Exception) -> BadImageError:
    """Describe an error of Pillow, or of reading the file, in one line."""
    reason = getattr(error, "strerror", None) or next(iter(str(error).splitlines()), "") or type(error).__name__
    if "truncated" in reason.lower():
        return BadImageError("truncated-image", f"expected a whole image, found that the file is cut off ({reason})")
    return BadImageError("unreadable-image", f"{_EXPECTED} that can be decoded, found an error: {reason}")


def _silence_pillow() -> None:
    """Ignore the warnings of Pillow's parsers: damaged metadata, whose pixels are good.

    The filter stays. `warnings.catch_warnings` would change the filters of all threads, and images are read in many.
    """
    if not warnings.filters or warnings.filters[0] != _SILENCE:
        warnings.filterwarnings("ignore", module=_SILENCE[3].pattern)
