"""EXIF orientation read by TensorFlow ops: what Pillow reads, in files of every kind."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfrcnn.data.headers import read_header
from tfrcnn.data.orientation import ORIENTATION_TAG, jpeg_orientation

READ = tf.function(jpeg_orientation, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
PIXELS = Image.fromarray(np.zeros((4, 6, 3), np.uint8))


def jpeg(exif=b"", **options):
    written = io.BytesIO()
    PIXELS.save(written, "JPEG", exif=exif, **options)
    return written.getvalue()


def tiff(order, kind, value, others=()):
    """EXIF with one directory: `others` are (tag, value) of 16 bits before the orientation."""
    entries = [(tag, 3, struct.pack(f"{order}HH", v, 0)) for tag, v in others]
    entries.append((ORIENTATION_TAG, kind, struct.pack(f"{order}HH" if kind == 3 else f"{order}I", *value)))
    directory = b"".join(struct.pack(f"{order}HHI", tag, k, 1) + v for tag, k, v in entries)
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    return b"Exif\0\0" + head + struct.pack(f"{order}H", len(entries)) + directory + b"\0\0\0\0"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_read_eager_and_in_a_graph(orientation):
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    exif[0x010F] = "a maker's name, longer than an entry"
    data = jpeg(exif.tobytes())
    assert int(jpeg_orientation(tf.constant(data))) == int(READ(data)) == orientation


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "value"), [(3, (6, 0)), (4, (6,))])
def test_both_byte_orders_and_widths_are_read_as_pillow_reads_them(order, kind, value, tmp_path):
    data = jpeg(tiff(order, kind, value, [(0x0100, 6), (0x0101, 4)]))
    (tmp_path / "a.jpg").write_bytes(data)
    assert int(READ(data)) == read_header(tmp_path / "a.jpg").orientation == 6


def test_exif_behind_other_segments_is_found():
    data = jpeg(tiff("<", 3, (8, 0)), comment=b"x" * 60_000, dpi=(72, 72))
    comment = b"\xff\xfe" + struct.pack(">H", 60_002) + b"y" * 60_000
    assert int(READ(data[:2] + comment + data[2:])) == 8


@pytest.mark.parametrize(
    "data",
    [
        jpeg(),
        jpeg(tiff("<", 3, (0, 0))),
        jpeg(tiff("<", 3, (9, 0))),
        jpeg(tiff(">", 3, (6, 0))[:16]),  # cut short
        jpeg(b"Exif\0\0II*\0\xff\xff\xff\xff"),  # a directory out of the file
        jpeg(tiff("<", 3, (6, 0)))[:2],
        b"\xff\xd8\xff",
        b"",
        b"II*\0",
        b"GIF89a",
    ],
)
def test_no_orientation_or_a_damaged_one_is_1(data):
    assert int(READ(data)) == 1


def test_noise_never_fails():
    rng = np.random.default_rng(0)
    for length in rng.integers(0, 400, 60):
        noise = rng.integers(0, 256, length, np.uint8).tobytes()
        assert 1 <= int(READ(b"\xff\xd8\xff\xe1\x00\x20Exif\0\0II*\0" + noise)) <= 8
