"""Reads the headers of image files: what decoding would cost, and how a PNG is turned. Nothing is decoded.

A header is a few bytes, and it decides how much memory a decoder takes: a PNG of 1 MB can hold 20000 x 20000 pixels.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

import numpy as np

MAX_SEGMENTS = 2000  # of a JPEG before its pixels; the longest ICC profiles and depth maps have a few hundred
MAX_CHUNKS = 10_000  # of a PNG before its pixels; encoders write about ten
MAX_SCANS = 64  # of a progressive JPEG: each one passes over all pixels; encoders write about ten
FULL_SCANS = 16  # of a JPEG of the most pixels
_ORIENTATION = 0x0112  # EXIF's tag
_PNG = b"\x89PNG\r\n\x1a\n"
# JPEG XL, which some releases of TensorFlow decode: a codestream, and a container
_JPEG_XL = (b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n")
_MARKER = re.compile(rb"\xff([^\xff])", re.DOTALL)  # of a JPEG segment; fill bytes 0xFF may precede it


class CostlyError(Exception):
    """A file that is refused for what its decoding would cost."""


def check_cost(data: bytes, max_pixels: int) -> None:
    """Check that a file can be decoded at a bounded cost. Files that cannot be read are left to the decoder.

    Args:
        data: The content of a file.
        max_pixels: The most pixels that are decoded.

    Raises:
        CostlyError: The file has more pixels, a JPEG has more segments or scans than any encoder writes, or it is a
            JPEG XL, whose size is not in plain sight.
    """
    if data.startswith(_JPEG_XL):
        raise CostlyError("expected a JPEG, PNG, BMP, GIF or WebP file, found JPEG XL")
    is_jpeg = data[:2] == b"\xff\xd8"
    height, width, scans = _jpeg_size(data) if is_jpeg else (*_size(data), 1)
    if height * width > max_pixels:
        raise CostlyError(f"expected at most {max_pixels} pixels, found {height} x {width}")
    if scans > MAX_SCANS or scans * height * width > FULL_SCANS * max_pixels:
        raise CostlyError(f"expected a JPEG of at most {MAX_SCANS} scans, less if it is large, found {scans}")


def _size(data: bytes) -> tuple[int, int]:
    """Return (height, width) of a PNG, GIF, BMP or WebP file; (0, 0) if the header is cut off or of another format."""
    try:
        if data[:8] == _PNG:
            width, height = struct.unpack_from(">II", data, 16)
        elif data[:4] == b"GIF8":
            width, height = struct.unpack_from("<HH", data, 6)
        elif data[:2] == b"BM":
            width, height = struct.unpack_from("<ii", data, 18)
        elif data[:4] == b"RIFF" and data[8:15] == b"WEBPVP8":
            width, height = _webp_size(data)
        else:
            return 0, 0
    except struct.error:
        return 0, 0
    return abs(height), abs(width)


def _webp_size(data: bytes) -> tuple[int, int]:
    if data[15:16] == b"X":  # extended: 24 bits each, less one
        low = struct.unpack_from("<HBHB", data, 24)
        return low[0] + (low[1] << 16) + 1, low[2] + (low[3] << 16) + 1
    if data[15:16] == b"L":  # lossless: 14 bits each, less one
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _jpeg_size(data: bytes) -> tuple[int, int, int]:
    """Return height and width of a JPEG file from its frame header, and the number of scans; zeros if there is none."""
    for count, (marker, at) in enumerate(_jpeg_segments(data)):
        if count > MAX_SEGMENTS:
            raise CostlyError(f"expected a JPEG of at most {MAX_SEGMENTS} segments, found more")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            # Inside a frame 0xFF is a marker, or it is followed by 0.
            end = data.find(b"\xff\xd9", at)
            scans = data.count(b"\xff\xda", at, end if end > 0 else len(data))
            height, width = struct.unpack_from(">HH", data, at + 3) if at + 7 <= len(data) else (0, 0)
            return height, width, scans
    return 0, 0, 0


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the marker of each segment, and the position after it."""
    at = 2
    while match := _MARKER.search(data, at):
        marker, at = match[1][0], match.end()
        yield marker, at
        alone = marker <= 1 or 0xD0 <= marker <= 0xD8
        if not alone:
            at += int.from_bytes(data[at : at + 2], "big")


def png_orientation(data: bytes) -> int:
    """Return the EXIF orientation 1..8 of a PNG file, as `tfrcnn.read_image` applies it.

    It is in a chunk before the pixels, whose checksum is right; 1 if there is none, or for another file.
    """
    at = 8
    if data[:8] != _PNG or b"eXIf" not in data:
        return 1
    for _ in range(MAX_CHUNKS):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind in (b"IDAT", b""):
            break
        body = data[at + 8 : at + 8 + length]
        checksum = data[at + 8 + length : at + 12 + length]
        if kind == b"eXIf" and zlib.crc32(kind + body).to_bytes(4, "big") == checksum:
            return _exif_orientation(body)
        at += 12 + length
    return 1


def _exif_orientation(exif: bytes) -> int:
    """Read the orientation in the first directory of EXIF data, which is TIFF's format."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", exif, entry)
            if tag == _ORIENTATION:
                (value,) = struct.unpack_from(f"{order}{'I' if kind == 4 else 'H'}", exif, entry + 8)
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:  # cut off
        pass
    return 1


def turn_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation.

    Args:
        pixels: [h, w, 3] as stored.
        orientation: 1..8.

    Returns:
        [H, W, 3], upright.
    """
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    down, right = {1: (1, 1), 2: (1, -1), 3: (-1, -1), 4: (-1, 1), 5: (1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}[
        orientation
    ]
    return np.ascontiguousarray(pixels[::down, ::right])
