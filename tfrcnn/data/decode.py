"""Decodes image files to upright RGB pixels: the one decoder of training, evaluation, prediction and the doctor.

Pillow decodes. `tfrcnn.data.headers` decides which files are accepted.

The result is 8-bit RGB:
- Alpha is dropped, and so is a palette's transparency. Transparent pixels of a GIF are black.
- Grey becomes three equal channels. 16 bits become their high byte.
- CMYK is converted without a colour profile. CMYK JPEGs without Adobe's marker are not inverted, as in browsers.
- The first picture of an animation, of a TIFF with several pages, or of a phone's MPO counts.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from tfrcnn.data.headers import BadImageError, open_image
from tfrcnn.errors import InputError
from tfrcnn.pixels import TURNS, pillow_to_rgb


def read_image(path: str | Path, orientation: int | None = None) -> np.ndarray:
    """Read an image file, to the same pixels as training reads.

    Args:
        path: JPEG, PNG, BMP, GIF, WebP or TIFF file.
        orientation: EXIF orientation 1..8 to apply, for example `Example.orientation`; None applies the file's.

    Returns:
        [H, W, 3] uint8 RGB, upright.

    Raises:
        InputError: the file does not exist or cannot be decoded.

    Example:
        image = read_image("street.jpg")
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"path: expected an image file, found {type(path).__name__}")
    try:
        return np.array(decode_file(path, orientation))
    except BadImageError as error:
        raise InputError(f"{path}: {error}") from error


def decode_bytes(content: bytes | bytearray | memoryview, name: str) -> np.ndarray:
    """Decode the content of an image file, see `read_image`.

    Args:
        content: of a JPEG, PNG, BMP, GIF, WebP or TIFF file.
        name: of the image, for error messages.

    Returns:
        [H, W, 3] uint8 RGB, upright.

    Raises:
        InputError: the content cannot be decoded.

    Example:
        image = decode_bytes(Path("street.jpg").read_bytes(), "street.jpg")
    """
    if not isinstance(content, bytes | bytearray | memoryview):
        raise InputError(f"{name}: expected the bytes of an image file, found {type(content).__name__}")
    try:
        return np.array(decode_file(bytes(content)))
    except BadImageError as error:
        raise InputError(f"{name}: {error}") from error


def decode_file(path: str | Path | bytes, orientation: int | None = None) -> Image.Image:
    """Decode an image file.

    Args:
        path: image file, or the content of one.
        orientation: EXIF orientation 1..8 to apply; None applies the file's.

    Returns:
        The upright image, in Pillow's mode "RGB".

    Raises:
        BadImageError: the file does not exist or cannot be decoded.
    """
    with open_image(path) as (image, header):
        image.load()
        if header.format == "TIFF":
            ImageOps.exif_transpose(image, in_place=True)  # does nothing if loading has turned it
        if image.mode in {"I", "F"} and header.format != "PNG":
            bits = f"32-bit {'integers' if image.mode == 'I' else 'floats'}"
            raise BadImageError("unsupported-image", f"expected 8 or 16 bits per sample, found {bits}")
        pixels = pillow_to_rgb(image)
        turn = TURNS.get(header.orientation if orientation is None else orientation)
        return pixels if turn is None else pixels.transpose(turn)
