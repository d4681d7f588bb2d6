"""Converts the images that a caller passes to RGB pixels. Imports neither TensorFlow nor Keras.

Detectors of every format take their images from here, so that all accept the same images, with the same messages.
The check comes before every `tf.function`: TensorFlow keeps a function's lock if it cannot bind an argument, and then
all other threads that call the function wait for ever.

Legend: H, W pixels of the upright image; C channels: 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageChops

from tfrcnn.errors import InputError

CHANNELS = (1, 2, 3, 4)
# EXIF orientation -> the transposition that makes the stored pixels upright
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def to_rgb(image: Any, name: str = "image") -> np.ndarray:
    """Convert one image to RGB pixels.

    Alpha is dropped. A PIL image of any mode is turned upright by its EXIF orientation; its 16 bits become 8.

    Args:
        image: a PIL image, or an array, tensor or nested list [H, W] or [H, W, C], 0..255.
        name: of the image, for error messages.

    Returns:
        [H, W, 3] 0..255, contiguous; uint8 for whole numbers, float32 for floating point.

    Raises:
        InputError: another shape, type or range, or a value that is not finite.

    Example:
        to_rgb(np.zeros((480, 640), np.uint16)).shape  # (480, 640, 3), uint8
    """
    pixels = _from_pillow(image, name) if isinstance(image, Image.Image) else _to_array(image, name)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[-1] not in CHANNELS or 0 in pixels.shape:
        raise InputError(f"{name} must be [H, W, 3] and not empty, found {list(pixels.shape)}{_hint(pixels.shape)}")
    check_range(pixels, name)
    return _to_three_channels(pixels)


def to_rgb_batch(images: Any, name: str = "images") -> np.ndarray:
    """Convert images of one size to RGB pixels, see `to_rgb`.

    Args:
        images: an array or tensor [B, H, W, C], or a list of images.
        name: of the images, for error messages; "images[2]" is the third.

    Returns:
        [B, H, W, 3] 0..255, contiguous; uint8 for whole numbers, float32 for floating point.

    Raises:
        InputError: another shape, type or range, several sizes, or a value that is not finite.

    Example:
        to_rgb_batch([np.zeros((480, 640, 3), np.uint8), Image.new("L", (640, 480))]).shape  # (2, 480, 640, 3)
    """
    if isinstance(images, list | tuple) and images and not isinstance(images[0], list | tuple):
        rgb = [to_rgb(image, f"{name}[{i}]") for i, image in enumerate(images)]
        for i, image in enumerate(rgb):
            if image.shape != rgb[0].shape:
                size, first = list(image.shape[:2]), list(rgb[0].shape[:2])
                raise InputError(f"{name}[{i}] must have the size of {name}[0], {first}, found {size}")
        return np.stack(rgb)
    pixels = _to_array(images, name)
    if pixels.ndim != 4 or pixels.shape[-1] not in CHANNELS or 0 in pixels.shape:
        hint = ", one image: pass images[None]" if pixels.ndim in (2, 3) else ""
        raise InputError(f"{name} must be [B, H, W, 3] and not empty, found {list(pixels.shape)}{hint}")
    for i, image in enumerate(pixels):
        check_range(image, f"{name}[{i}]")
    return _to_three_channels(pixels)


def to_uint8(pixels: np.ndarray) -> np.ndarray:
    """Round pixels to 0..255; uint8 is returned as it is, because rounding would convert it to float16, slowly."""
    return pixels if pixels.dtype == np.uint8 else np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


def check_range(pixels: np.ndarray, name: str) -> None:
    """Check that pixels are 0..255.

    Args:
        pixels: bool, whole numbers or floating point, not empty.
        name: of the image, for the error message.

    Raises:
        InputError: a value rounds to another range, is not finite, or all are 0..1 in floating point.
    """
    if pixels.dtype == np.uint8:
        return
    low, high = float(pixels.min()), float(pixels.max())  # NaN if any value is
    if pixels.dtype.kind == "b":
        hint = "multiply by 255"
    elif not np.isfinite([low, high]).all():
        hint = "replace values that are NaN or infinite"
    elif np.rint(low) < 0:
        hint = "leave out the normalisation, the detector has its own"
    elif np.rint(high) > 255:
        hint = "scale to 8 bits, for example image // 256 for 16 bits"
    elif pixels.dtype.kind == "f" and high <= 1:
        hint = "multiply by 255 (if the image is black, pass whole numbers)"
    else:
        return
    raise InputError(f"{name} must be RGB 0..255, found {low:g}..{high:g} of {pixels.dtype}: {hint}")


def _to_array(value: Any, name: str) -> np.ndarray:
    """Convert an array, a tensor or nested lists to numbers."""
    kind = type(value).__name__
    if isinstance(value, bytes | bytearray):
        raise InputError(
            f"{name} must be an array or a PIL image, found {kind}: PIL.Image.open(io.BytesIO(data)) opens it"
        )
    if hasattr(value, "read"):
        raise InputError(f"{name} must be an array or a PIL image, found an open file: PIL.Image.open(file) opens it")
    if isinstance(value, str | os.PathLike):
        raise InputError(f"{name} must be an array or a PIL image, found a path: PIL.Image.open(path) opens it")
    try:
        pixels = np.asarray(value)
    except Exception as error:  # libraries of tensors raise exceptions without a common base
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{name} must be an array, found {kind} that NumPy cannot convert: {reason}") from error
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        count = np.count_nonzero(value.mask)
        raise InputError(f"{name} must have no masked pixels, found {count:,}: pass image.filled(0)")
    if pixels.dtype.name == "bfloat16":  # from a library of tensors; NumPy has no kind for it
        pixels = pixels.astype(np.float32)
    if pixels.dtype.kind not in "buif":
        raise InputError(f"{name} must be an array of numbers or a PIL image, found {kind} of {pixels.dtype}")
    return pixels


def _from_pillow(image: Image.Image, name: str) -> np.ndarray:
    """Return the pixels of a PIL image, upright; modes I and F are returned as they are."""
    try:
        image.load()  # turns a TIFF file upright and removes its orientation
        turn = TURNS.get(orientation_of(image))
        pixels = image if image.mode in ("I", "F") and image.format != "PNG" else pillow_to_rgb(image)
        return np.asarray(pixels if turn is None else pixels.transpose(turn))
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError(f"{name} must be a PIL image of pixels, found mode {image.mode}: {error}") from error


def pillow_to_rgb(image: Image.Image) -> Image.Image:
    """Convert a loaded PIL image to mode "RGB", with the same result as for its file.

    See `tfrcnn.data.decode` for the rules. Modes I and F are expected to hold 16 bits.
    """
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        return ImageChops.invert(image).convert("RGB")
    if image.format == "GIF" and "transparency" in image.info:
        colours = image.convert("RGBA")
        black = Image.new("RGB", image.size)
        black.paste(colours, mask=colours)
        return black
    # Pillow warns of transparent colours of P, and cannot convert La
    image = image.convert({"P": "RGBA", "La": "LA"}.get(image.mode, image.mode))
    return image.convert("RGB")


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation 1..8 of an opened image; 1 if it has none, or damaged EXIF."""
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # Pillow would decode the whole picture in search of it
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow raises several kinds; if EXIF cannot be read, viewers show the picture as stored
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _to_three_channels(pixels: np.ndarray) -> np.ndarray:
    """Convert [..., C] in range to [..., 3] uint8 or float32."""
    channels = pixels.shape[-1]
    if channels < 3:
        pixels = np.repeat(pixels[..., :1], 3, axis=-1)
    elif channels == 4:
        pixels = pixels[..., :3]
    if pixels.dtype.kind == "f":
        pixels = np.clip(pixels, 0, 255).astype(np.float32, copy=False)
    return np.ascontiguousarray(pixels, np.float32 if pixels.dtype.kind == "f" else np.uint8)


def _hint(shape: tuple[int, ...]) -> str:
    if len(shape) == 4:
        return ", a batch: pass one image at a time"
    if len(shape) == 3 and shape[0] in CHANNELS and 0 not in shape:
        return ", channels first: pass image.transpose(1, 2, 0)"
    return ""
