"""Decodes image files to upright RGB pixels: the one decoder of training, evaluation, prediction and the doctor.

Pillow decodes. `tfrcnn.data.headers` decides which files are accepted.

The result is 8-bit RGB:
- Alpha is dropped, and so is a palette's transparency. Transparent pixels of a GIF are black.
- Grey becomes three equal channels. 16 bits become their high byte.
- CMYK is converted without a colour profile. CMYK JPEGs without Adobe's marker are not inverted, as in browsers.
- The first picture of an animation, of a TIFF with several pages, or of a phone's MPO counts.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageOps

from tfrcnn.data.headers import BadImageError, ImageHeader, open_image, read_header
from tfrcnn.errors import InputError

# EXIF orientation -> the transposition that makes the stored pixels upright
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


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
    try:
        return np.array(decode_file(path, orientation))
    except BadImageError as error:
        raise InputError(f"{path}: {error}") from error


def read_orientation(path: str | Path) -> int:
    """Read the EXIF orientation of an image file.

    Args:
        path: image file.

    Returns:
        1..8; 1 if the file has no valid orientation.

    Raises:
        InputError: the file does not exist or is not an image.
    """
    try:
        return read_header(path).orientation
    except BadImageError as error:
        raise InputError(f"{path}: {error}") from error


def decode_file(path: str | Path, orientation: int | None = None) -> Image.Image:
    """Decode an image file.

    Args:
        path: image file.
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
        pixels = _to_rgb(image, header)
        turn = _UPRIGHT.get(header.orientation if orientation is None else orientation)
        return pixels if turn is None else pixels.transpose(turn)


def _to_rgb(image: Image.Image, header: ImageHeader) -> Image.Image:
    """Convert a loaded image to mode "RGB"."""
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I;16") or (image.mode == "I" and header.format == "PNG"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in {"I", "F"}:
        bits = f"32-bit {'integers' if image.mode == 'I' else 'floats'}"
        raise BadImageError("unsupported-image", f"expected 8 or 16 bits per sample, found {bits}")
    if image.mode == "CMYK" and header.format == "JPEG" and "adobe" not in image.info:
        image = ImageChops.invert(image)
    if header.format == "GIF" and "transparency" in image.info:
        black = Image.new("RGB", image.size)
        colours = image.convert("RGBA")
        black.paste(colours, mask=colours)
        return black
    return image.convert("RGB")
