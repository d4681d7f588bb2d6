"""Headers of image files, compared with Pillow."""

import io
import itertools
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from tfrcnn.export.serving import image_file

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def encode(kind, **options):
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, kind, **options)
    return stream.getvalue()


KINDS = [
    ("PNG", {}),
    ("JPEG", {}),
    ("JPEG", {"progressive": True}),
    ("GIF", {}),
    ("BMP", {}),
    ("WEBP", {}),
    ("WEBP", {"lossless": True}),
    ("WEBP", {"exif": Image.Exif()}),
]


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_a_file_of_more_pixels_than_the_limit_is_refused(kind, options):
    image_file.check_cost(encode(kind, **options), 600)
    with pytest.raises(image_file.CostlyError, match="expected at most 599 pixels, found 20 x 30"):
        image_file.check_cost(encode(kind, **options), 599)


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_damaged_files_are_left_to_the_decoder(kind, options):
    data, random = bytearray(encode(kind, **options)), np.random.default_rng(1)
    for length in range(0, 60):
        image_file.check_cost(bytes(data[:length]), 2**70)
    for _ in range(300):
        damaged = data.copy()
        for at in random.integers(0, len(data), 5):
            damaged[at] = random.integers(256)
        image_file.check_cost(bytes(damaged), 2**70)
        image_file.png_orientation(bytes(damaged))


def test_a_jpeg_of_65000_segments_is_refused_at_once():
    jpeg = encode("JPEG")
    started = time.monotonic()
    for segment in (b"\xff\xe5\x00\x02" * 65_000, b"\xff\x01" * 65_000):
        with pytest.raises(image_file.CostlyError, match="2000 segments"):
            image_file.check_cost(jpeg[:2] + segment + jpeg[2:], 10**6)
    image_file.check_cost(jpeg[:2] + b"\xff" * 10_000_000 + jpeg[2:], 10**6)
    image_file.check_cost(jpeg[:2] + b"\xff" * 10_000_000, 10**6)  # no marker follows
    image_file.check_cost(
        jpeg[:2] + b"\xff\xe5\x00\x02" * 1000 + jpeg[2:] + b"\xff\xda" * 1000, 10**6
    )  # a video behind
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("start", [b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n"])
def test_jpeg_xl_is_refused_since_its_size_cannot_be_bounded(start):
    with pytest.raises(image_file.CostlyError, match="found JPEG XL"):
        image_file.check_cost(start + bytes(100), 10**6)


def test_a_progressive_jpeg_of_many_scans_is_refused():
    jpeg = encode("JPEG", progressive=True)
    scan = jpeg.index(b"\xff\xda")
    for copies, max_pixels in ((100, 10**6), (20, 600)):
        with pytest.raises(image_file.CostlyError, match="64 scans"):
            image_file.check_cost(jpeg[:scan] + jpeg[scan : scan + 14] * copies + jpeg[scan:], max_pixels)
    image_file.check_cost(jpeg[:scan] + jpeg[scan : scan + 14] * 20 + jpeg[scan:], 10**6)


@pytest.mark.parametrize(("orientation", "order"), list(itertools.product(range(1, 9), (b"II", b"MM"))))
def test_the_orientation_of_a_png_is_pillows(orientation, order):
    endian = ">" if order == b"MM" else "<"
    entry = struct.pack(f"{endian}HHIHH", 0x0112, 3, 1, orientation, 0)
    exif = order + struct.pack(f"{endian}HIH", 42, 8, 1) + entry + struct.pack(f"{endian}I", 0)
    chunk = struct.pack(">I", len(exif)) + b"eXIf" + exif + struct.pack(">I", zlib.crc32(b"eXIf" + exif))
    plain = encode("PNG")
    data = plain[:33] + chunk + plain[33:]  # after the header
    assert image_file.png_orientation(data) == orientation
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    np.testing.assert_array_equal(image_file.turn_upright(PIXELS, orientation), upright)
    assert image_file.png_orientation(plain) == image_file.png_orientation(b"eXIf") == 1
    assert image_file.png_orientation(data.replace(chunk, chunk[:-1] + b"x")) == 1  # a wrong checksum
    assert image_file.png_orientation(plain[:-12] + chunk + plain[-12:]) == 1  # behind the pixels
