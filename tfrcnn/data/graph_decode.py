"""Decodes image files to upright RGB pixels in TensorFlow ops, for exported files: no Python runs there.

Training and prediction read files with `tfrcnn.data.decode`. Both return the same pixels, and each format has a test:
- JPEG: the same pixels. Pillow decodes with INTEGER_ACCURATE; TensorFlow's default differs by 1 on average. CMYK and
  YCCK are within 1. Both invert Adobe's CMYK.
- PNG: the same pixels; alpha is dropped. 16 bits become their high byte.
- BMP: the same pixels, also with palettes of 1, 4 and 8 bits. 16-bit and run-length coded files are refused.
- GIF: the first frame; transparent pixels are black.

WebP is decoded by the releases of TensorFlow that can, for example 2.21. TIFF is refused.
"""

from __future__ import annotations

import tensorflow as tf


def decode_image(data: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Decode an image file and turn it upright; works inside tf.data.

    Args:
        data: scalar string, the content of the file.
        orientation: scalar int32, EXIF orientation 1..8; other values count as 1.

    Returns:
        [H, W, 3] uint8 RGB.

    Raises:
        tf.errors.InvalidArgumentError: the data cannot be decoded.
    """
    pixels = tf.case(
        [
            (tf.io.is_jpeg(data), lambda: tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")),
            (tf.equal(tf.strings.substr(data, 0, 2), b"BM"), lambda: _decode_bmp(data)),
        ],
        default=lambda: tf.io.decode_image(data, channels=3, expand_animations=False),
    )
    return _upright(tf.ensure_shape(pixels, [None, None, 3]), orientation)


def _upright(pixels: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Undo an EXIF orientation: stored pixels [h, w, 3] to upright ones [H, W, 3]."""

    def transposed() -> tf.Tensor:
        return tf.transpose(pixels, [1, 0, 2])

    return tf.switch_case(
        orientation - 1,
        [
            lambda: pixels,
            lambda: tf.reverse(pixels, [1]),
            lambda: tf.reverse(pixels, [0, 1]),
            lambda: tf.reverse(pixels, [0]),
            transposed,
            lambda: tf.reverse(transposed(), [1]),
            lambda: tf.reverse(transposed(), [0, 1]),
            lambda: tf.reverse(transposed(), [0]),
        ],
        default=lambda: pixels,
    )


def _decode_bmp(data: tf.Tensor) -> tf.Tensor:
    """Decode a BMP file to [H, W, 3]. TensorFlow's op reads 8-bit palette indices as grey and refuses 1 and 4 bits."""
    # BITMAPINFOHEADER, from byte 10 on: offset of the pixels, header's size, width, height, planes and bits
    # (two bytes each), compression, ..., number of colours.
    fields = tf.io.decode_raw(tf.strings.substr(data, 10, 40), tf.int32)
    bits, compression = fields[4] // 65536, fields[5]
    # Pillow and others write an alpha channel as 3 (BITFIELDS) with 32 bits; the order of the colours is the same.
    supported = tf.where(bits >= 24, (compression == 0) | (compression == 3), (compression == 0) & (bits != 16))
    check = tf.debugging.assert_equal(supported, True, "a BMP of 16 bits per pixel or with run-length coding")
    with tf.control_dependencies([check]):
        return tf.cond(
            bits >= 24, lambda: tf.io.decode_bmp(data)[..., :3], lambda: _decode_palette_bmp(data, fields, bits)
        )


def _decode_palette_bmp(data: tf.Tensor, fields: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    """Decode an uncompressed BMP of 1, 4 or 8 bits per pixel to [H, W, 3]."""
    offset, header, width, signed_height, colors = fields[0], fields[1], fields[2], fields[3], fields[9]
    height = tf.abs(signed_height)
    colors = tf.where(colors == 0, tf.bitwise.left_shift(1, bits), colors)
    palette = tf.reshape(tf.io.decode_raw(tf.strings.substr(data, 14 + header, 4 * colors), tf.uint8), [colors, 4])
    stride = (width * bits + 31) // 32 * 4  # rows end at a multiple of 4 bytes
    packed = tf.io.decode_raw(tf.strings.substr(data, offset, stride * height), tf.uint8)
    packed = tf.cast(tf.reshape(packed, [height, stride, 1]), tf.int32)
    shifts = tf.range(8 - bits, -1, -bits)  # the leftmost pixel is in the highest bits
    indices = tf.bitwise.bitwise_and(tf.bitwise.right_shift(packed, shifts), tf.bitwise.left_shift(1, bits) - 1)
    indices = tf.reshape(indices, [height, stride * 8 // bits])[:, :width]
    bottom_up = signed_height > 0
    indices = tf.cond(bottom_up, lambda: tf.reverse(indices, [0]), lambda: indices)
    return tf.gather(palette[:, 2::-1], indices)  # stored as blue, green, red, unused
