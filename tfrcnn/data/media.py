"""The sources of a prediction: image files, videos, web addresses, cameras, and images in memory."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np

from tfrcnn.data.decode import decode_bytes, read_image
from tfrcnn.errors import InputError
from tfrcnn.pixels import to_rgb
from tfrcnn.printable import without_login

VIDEO_EXTENSIONS = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg"),
    *(".wmv", ".flv", ".3gp", ".mts", ".m2ts", ".ogv"),
)
STREAMS = ("rtsp", "rtsps", "rtmp", "rtmps", "srt", "udp")  # schemes that only FFmpeg reads
SCHEMES = ("http", "https", *STREAMS)
_ADDRESS = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+)://")


@dataclass(frozen=True)
class Camera:
    """A camera of this machine.

    Attributes:
        number: 0 is the first.

    Example:
        predict_images(predictor, [Camera(0)], "out")
    """

    number: int


@dataclass(frozen=True, eq=False)
class Source:
    """One image or video.

    Attributes:
        content: a `Path`, a web address, a `Camera`, the bytes of a file, a PIL image or an array.
        name: of the source in the results.
        stem: name for its output files, without a suffix.
    """

    content: Any
    name: str
    stem: str

    @property
    def is_live(self) -> bool:
        """Whether the source ends only when the user stops it."""
        return isinstance(self.content, Camera) or (isinstance(self.content, str) and _scheme(self.content) in STREAMS)

    @property
    def is_video(self) -> bool:
        """Whether the source has frames."""
        return self.is_live or (isinstance(self.content, Path | str) and is_video_name(self.stem_source))

    @property
    def stem_source(self) -> str:
        """Path of the file, or the path in its web address."""
        return urlsplit(self.content).path if isinstance(self.content, str) else str(self.content)

    def read(self) -> np.ndarray:
        """Read the image.

        Returns:
            [H, W, 3] RGB 0..255, upright; uint8, or float32 for an array of floating point.

        Raises:
            InputError: the image cannot be read; the message has its name.
        """
        if isinstance(self.content, Path):
            return read_image(self.content)
        if isinstance(self.content, str):
            from tfrcnn.data.web import read_address

            return read_address(self.content)
        if isinstance(self.content, bytes):
            return decode_bytes(self.content, self.name)
        return to_rgb(self.content, self.name)


def make_source(value: Any, number: int) -> Source:
    """Describe a source.

    Args:
        value: a file's path, a web address, a camera's number or `Camera`, the bytes of an image file, a PIL image, or
            an array [H, W, 3] of RGB 0..255.
        number: names an image in memory: "image-1".

    Raises:
        InputError: a web address of another scheme, or a negative number of a camera.
    """
    if isinstance(value, Source):
        return value
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        value = Camera(int(value))
    if isinstance(value, Camera):
        if value.number < 0:
            raise InputError(f"camera: expected a number of at least 0, found {value.number}")
        return Source(value, f"camera-{value.number}", f"camera-{value.number}")
    if isinstance(value, str) and is_address(value):
        if _scheme(value) not in SCHEMES:
            raise InputError(f"{value}: expected an address of {', '.join(SCHEMES)}, found {_scheme(value)}")
        try:
            parts = urlsplit(value)
        except ValueError as error:
            raise InputError(f"{value}: expected a web address: {error}") from error
        return Source(value, without_login(value), PurePosixPath(unquote(parts.path)).stem or parts.hostname or "image")
    if isinstance(value, str | os.PathLike):
        path = Path(value)
        return Source(path, str(path), path.stem)
    content = bytes(value) if isinstance(value, bytearray | memoryview) else value
    return Source(content, f"image-{number}", f"image-{number}")


def is_address(text: str) -> bool:
    """Return whether a text is a web address, of any scheme."""
    return _ADDRESS.match(text) is not None


def is_video_name(name: str) -> bool:
    """Return whether a file name has the extension of a video."""
    return name.lower().endswith(VIDEO_EXTENSIONS)


def can_read_videos() -> bool:
    """Return whether PyAV is installed."""
    return find_spec("av") is not None


def _scheme(address: str) -> str:
    return address.partition("://")[0].lower()
