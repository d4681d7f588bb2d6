"""Resize, pad and normalise images: pure TensorFlow, the same code in the input pipeline and in every export.

Legend: B batch, (H, W) the original image, (h, w) resized, (N_h, N_w) the padded network input.
"""

from __future__ import annotations

import tensorflow as tf

from tfrcnn.config import ImageConfig


def resized_size(size: tf.Tensor, config: ImageConfig) -> tf.Tensor:
    """Compute the size that an image is scaled to: floor(k * side), with k of `ImageConfig`.

    In float64, as torchvision's GeneralizedRCNNTransform: a side that should be exactly `max_size` stays so.

    Args:
        size: [2] int32 (H, W).
        config: the sizes of the network's frame.

    Returns:
        [2] int32 (h, w), at least 1.
    """
    sides = tf.cast(size, tf.float64)
    if config.static_size is not None:
        scale = tf.reduce_min(tf.constant(config.static_size, tf.float64) / sides)
    else:
        # One division of pairs. For a constant divided by a side, OpenVINO 2026.4 multiplies by the inverse if a Resize
        # follows.
        limits = tf.constant([config.min_size, config.max_size], tf.float64)
        scale = tf.reduce_min(limits / tf.stack([tf.reduce_min(sides), tf.reduce_max(sides)]))
    return tf.maximum(tf.cast(tf.floor(sides * scale), tf.int32), 1)


def padded_size(size: tf.Tensor, config: ImageConfig) -> tf.Tensor:
    """Compute the network input that holds a resized image.

    Args:
        size: [2] int32 (h, w).
        config: `divisor`, or `static_size`.

    Returns:
        [2] int32 (N_h, N_w), multiples of `config.divisor`.
    """
    if config.static_size is not None:
        return tf.constant(config.static_size, tf.int32)
    return tf.cast(tf.math.ceil(size / config.divisor), tf.int32) * config.divisor


def resize(images: tf.Tensor, config: ImageConfig, scale_factor: tf.Tensor | float = 1.0) -> tf.Tensor:
    """Scale images to the network's frame, keeping their aspect; no padding.

    Bilinear, half-pixel centres, no antialiasing: source coordinate (i + 0.5) * H / h - 0.5, clamped to the image.

    Args:
        images: [..., H, W, 3] uint8 or float, 0..255.
        config: the sizes of the network's frame.
        scale_factor: scalar that multiplies the result of `resized_size` (scale jitter).

    Returns:
        [..., h, w, 3] float32, 0..255.
    """
    size = resized_size(tf.shape(images)[-3:-1], config)
    if not (isinstance(scale_factor, float) and scale_factor == 1.0):
        size = tf.maximum(tf.cast(tf.cast(size, tf.float32) * scale_factor, tf.int32), 1)
    return tf.image.resize(images, size, method="bilinear", antialias=False)


def pad(images: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Pad images with zeros at the bottom and right.

    Args:
        images: [..., h, w, 3].
        size: [2] int32 (N_h, N_w).

    Returns:
        [..., N_h, N_w, 3].
    """
    height, width = tf.unstack(size - tf.shape(images)[-3:-1])
    leading = [[0, 0]] * (images.shape.rank - 3)
    return tf.pad(images, [*leading, [0, height], [0, width], [0, 0]])


def normalize(images: tf.Tensor, image_sizes: tf.Tensor, config: ImageConfig) -> tf.Tensor:
    """Compute (pixel - mean) / std inside each image, and 0 in its padding, as if padded after normalising.

    Args:
        images: [B, N_h, N_w, 3] float32 RGB 0..255.
        image_sizes: [B, 2] float32, (h, w) of each image without its padding.
        config: mean, std and channel order.

    Returns:
        [B, N_h, N_w, 3] float32.
    """
    if config.channel_order == "BGR":
        images = tf.reverse(images, axis=[-1])
    # a row as one vector: broadcasting along the three channels takes four times as long
    shape = tf.shape(images)
    width = 3 * shape[2]
    mean, std = (tf.tile(tf.constant(values), [shape[2]]) for values in (config.mean, config.std))
    sizes = tf.cast(image_sizes, tf.int32)
    rows = tf.cast(tf.range(shape[1])[None] < sizes[:, :1], tf.float32)  # [B, N_h]
    columns = tf.cast(tf.range(width)[None] < 3 * sizes[:, 1:], tf.float32)  # [B, 3 N_w]
    scale = rows[:, :, None] * (columns / std)[:, None]
    normalized = (tf.reshape(images, [shape[0], shape[1], width]) - mean) * scale
    return tf.ensure_shape(tf.reshape(normalized, shape), images.shape)
