"""Reads the EXIF orientation of a JPEG file in TensorFlow ops, for graphs whose input is a file.

A JPEG file is a sequence of segments (FF, marker, length of two bytes, content). EXIF is a segment with marker E1 that
begins with "Exif\\0\\0": a TIFF header (byte order, offset of a directory) and a directory of 12-byte entries (tag,
type, count, value). The entry with tag 0x0112 has the orientation, 1..8: how the stored pixels are turned.
"""

from __future__ import annotations

import tensorflow as tf

ORIENTATION_TAG = 0x0112
_HEAD = 1 << 18  # bytes to search: EXIF comes first, and a segment has at most 64 KiB
_START_OF_SCAN, _APP1 = 0xDA, 0xE1
_LONG = 4  # TIFF's type of 32 bits; an orientation should be a SHORT of 16 bits
_MAX_ENTRIES = 500


def jpeg_orientation(data: tf.Tensor) -> tf.Tensor:
    """Read the orientation of a JPEG file, with the same result as `tfrcnn.data.headers.read_header`.

    Args:
        data: scalar string, the content of an image file.

    Returns:
        Scalar int32, 1..8; 1 for missing or damaged EXIF, and for other formats.
    """
    head = tf.cast(tf.io.decode_raw(tf.strings.substr(data, 0, _HEAD), tf.uint8), tf.int32)
    head = tf.pad(head, [[0, 1]])  # bytes beyond the end read as 0
    position = tf.while_loop(
        lambda at: _is_segment(head, at) & ~_is_exif(head, at),
        lambda at: [at + 2 + _number(head, at + 2, 2, tf.constant(False))],
        [tf.constant(2)],
    )[0]
    has_exif = tf.io.is_jpeg(data) & _is_exif(head, position)
    orientation = _read_directory(head, position + 10)
    return tf.where(has_exif & (orientation >= 1) & (orientation <= 8), orientation, 1)


def _is_segment(head: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
    inside = at + 4 < tf.size(head)
    return inside & tf.equal(_byte(head, at), 0xFF) & tf.not_equal(_byte(head, at + 1), _START_OF_SCAN)


def _is_exif(head: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
    content = _byte(head, at + 4 + tf.range(6))
    is_exif = tf.reduce_all(tf.equal(content, tf.constant(list(b"Exif\0\0"))))
    return tf.equal(_byte(head, at), 0xFF) & tf.equal(_byte(head, at + 1), _APP1) & is_exif


def _read_directory(head: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """Read the orientation from the first directory of the TIFF data at `start`; 0 if it has none."""
    little = tf.equal(_byte(head, start), ord("I"))
    directory = start + _number(head, start + 4, 4, little)
    count = tf.clip_by_value(_number(head, directory, 2, little), 0, _MAX_ENTRIES)
    entries = directory + 2 + 12 * tf.range(count)
    is_orientation = tf.equal(_number(head, entries, 2, little), ORIENTATION_TAG)
    is_long = tf.equal(_number(head, entries + 2, 2, little), _LONG)
    values = tf.where(is_long, _number(head, entries + 8, 4, little), _number(head, entries + 8, 2, little))
    return tf.reduce_max(tf.concat([tf.where(is_orientation, values, 0), [0]], axis=0))


def _number(head: tf.Tensor, at: tf.Tensor, count: int, little: tf.Tensor) -> tf.Tensor:
    """Read unsigned integers of `count` bytes at `at`, in little-endian order if `little`."""
    digits = _byte(head, at[..., None] + tf.range(count))
    powers = tf.constant([256**i if i < 3 else 0 for i in range(count)])  # 2^24 and more is out of range
    return tf.reduce_sum(digits * tf.where(little, powers, powers[::-1]), axis=-1)


def _byte(head: tf.Tensor, at: tf.Tensor) -> tf.Tensor:
    return tf.gather(head, tf.clip_by_value(at, 0, tf.size(head) - 1))
