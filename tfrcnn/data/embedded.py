"""Images inside other files, named by a path.

A TFRecord shard holds its images. The path of such an image names the shard, the first and last byte, and the image:
`train.tfrecord/bytes=128-51361/0001.jpg`. Code that opens, compares or names images by their path works for both kinds,
and no image stays in memory.
"""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import NamedTuple

_EMBEDDED = re.compile(r"(?P<file>.+)[/\\]bytes=(?P<first>\d+)-(?P<last>\d+)[/\\][^/\\]+", re.DOTALL)


class ImageBytes(NamedTuple):
    """The bytes of an image.

    Attributes:
        file: the file on the disk.
        offset: of the first byte.
        size: number of bytes; None is the whole file.
    """

    file: Path
    offset: int = 0
    size: int | None = None


class ImageStatus(NamedTuple):
    """Identifies the content of an image without reading it.

    Attributes:
        size: in bytes.
        number: device, inode and offset, the same for all links to a file.
    """

    size: int
    number: tuple[int, int, int]


def embedded_path(file: Path, offset: int, size: int, name: str) -> Path:
    """Return the path of an image inside a file.

    Args:
        file: the file that holds the image.
        offset: of the image's first byte.
        size: of the image in bytes, at least 1.
        name: of the image, for example "0001.jpg".
    """
    return file / f"bytes={offset}-{offset + size - 1}" / name


def bytes_of(path: str | Path) -> ImageBytes:
    """Return where the bytes of an image are; nothing is opened."""
    text = os.fspath(path)
    match = _EMBEDDED.fullmatch(text) if "bytes=" in text else None
    if match is None:
        return ImageBytes(Path(text))
    first, last = int(match["first"]), int(match["last"])
    return ImageBytes(Path(match["file"]), first, last - first + 1)


def open_bytes(path: str | Path | bytes) -> io.BufferedReader | io.BytesIO:
    """Open an image file, the part of a file that is an image, or the content of a file.

    Raises:
        OSError: as `open`.
    """
    if isinstance(path, bytes):
        return io.BytesIO(path)
    place = bytes_of(path)
    file = open(place.file, "rb")  # noqa: SIM115
    if place.size is None:
        return file
    with file:
        file.seek(place.offset)
        return io.BytesIO(file.read(place.size))


def image_status(path: str | Path) -> ImageStatus:
    """Return what identifies the content of an image.

    Raises:
        OSError: as `os.stat`.
    """
    place = bytes_of(path)
    status = os.stat(place.file)
    size = status.st_size if place.size is None else place.size
    return ImageStatus(size, (status.st_dev, status.st_ino, place.offset))
