"""Resize, pad and normalise images: pure TensorFlow, the same code in the input pipeline and in every export.

Legend: B batch, (H, W) the image as given, (h, w) resized, (N_h, N_w) the padded network input.
"""

from __future__ import annotations

import tensorflow as tf

from tfrcnn.config import ImageConfig


def resized_size(size: tf.Tensor, config: ImageConfig) -> tf.Tensor:
    """The size an image is scaled to: floor(k * side), k as in `ImageConfig`, in float64 so that a side that is
    met exactly is not lost to rounding (GeneralizedRCNNTransform of torchvision does the same).

    Args:
        size: [2] int32 (H, W).

    Returns:
        [2] int32 (h, w), at least 1.
    """
    sides = tf.cast(size, tf.float64)
    if config.static_size is not None:
        scale = tf.reduce_min(tf.constant(config.static_size, tf.float64) / sides)
    else:
        # one division of pairs: of a constant by a side, OpenVINO 2026.4 takes the inverse where a Resize follows
        limits = tf.constant([config.min_size, config.max_size], tf.float64)
        scale = tf.reduce_min(limits / tf.stack([tf.reduce_min(sides), tf.reduce_max(sides)]))
    return tf.maximum(tf.cast(tf.floor(sides * scale), tf.int32), 1)


def padded_size(size: tf.Tensor, config: ImageConfig) -> tf.Tensor:
    """The network input that holds a resized image: [2] int32 (N_h, N_w), multiples of `config.divisor`."""
    if config.static_size is not None:
        return tf.constant(config.static_size, tf.int32)
    return tf.cast(tf.math.ceil(size / config.divisor), tf.int32) * config.divisor


def resize(images: tf.Tensor, config: ImageConfig, scale_factor: tf.Tensor | float = 1.0) -> tf.Tensor:
    """Scale images to the network's frame, keeping their aspect; no padding.

    Bilinear, half-pixel centres, no antialiasing: source coordinate (i + 0.5) * H / h - 0.5, clamped to the image.

    Args:
        images: [..., H, W, 3] uint8 or float, 0..255.
        scale_factor: scalar, multiplies the size after the rule of `resized_size` (scale jitter).

    Returns:
        [..., h, w, 3] float32, 0..255.
    """
    size = resized_size(tf.shape(images)[-3:-1], config)
    if not (isinstance(scale_factor, float) and scale_factor == 1.0):
        size = tf.maximum(tf.cast(tf.cast(size, tf.float32) * scale_factor, tf.int32), 1)
    return tf.image.resize(images, size, method="bilinear", antialias=False)


def pad(images: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Pad [..., h, w, 3] with zeros at the bottom and right to `size` (N_h, N_w)."""
    height, width = tf.unstack(size - tf.shape(images)[-3:-1])
    leading = [[0, 0]] * (images.shape.rank - 3)
    return tf.pad(images, [*leading, [0, height], [0, width], [0, 0]])


def normalize(images: tf.Tensor, image_sizes: tf.Tensor, config: ImageConfig) -> tf.Tensor:
    """(pixel - mean) / std inside each image, 0 in its padding, as if padded after normalising.

    Args:
        images: [B, N_h, N_w, 3] float32 RGB 0..255.
        image_sizes: [B, 2] float32, the (h, w) of each image that is not padding.

    Returns:
        [B, N_h, N_w, 3] float32.
    """
    if config.channel_order == "BGR":
        images = tf.reverse(images, axis=[-1])
    # a row as one vector: broadcasting along the three channels instead takes four times as long
    shape = tf.shape(images)
    width = 3 * shape[2]
    mean, std = (tf.tile(tf.constant(values), [shape[2]]) for values in (config.mean, config.std))
    sizes = tf.cast(image_sizes, tf.int32)
    rows = tf.cast(tf.range(shape[1])[None] < sizes[:, :1], tf.float32)  # [B, N_h]
    columns = tf.cast(tf.range(width)[None] < 3 * sizes[:, 1:], tf.float32)  # [B, 3 N_w]
    scale = rows[:, :, None] * (columns / std)[:, None]
    normalized = (tf.reshape(images, [shape[0], shape[1], width]) - mean) * scale
    return tf.ensure_shape(tf.reshape(normalized, shape), images.shape)
