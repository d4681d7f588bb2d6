"""Shared by all augmentations: the types, and which boxes are still objects after a cut. Legend: see the package."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import tensorflow as tf

from tfrcnn.boxes import area, clip

Sample: TypeAlias = tuple[tf.Tensor, tf.Tensor, tf.Tensor]
Augmentation: TypeAlias = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], Sample]

# A cut box is kept if its centre and this share of its area are visible (TF Object Detection API: overlap_thresh).
MIN_VISIBLE = 0.3
MIN_SIDE = 1.0  # pixels of the result; a shorter object could not be found (torchvision: SanitizeBoundingBoxes)


def crop_boxes(boxes: tf.Tensor, begin: tf.Tensor, extent: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Move and clip boxes for a crop.

    Args:
        boxes: [N, 4] in pixels of the image.
        begin: [2] int32 (y, x), the first pixel of the crop.
        extent: [2] int32 (height, width) of the crop.

    Returns:
        boxes: [N, 4] in pixels of the crop, clipped to it.
        keep: [N] bool, the boxes that are still objects.
    """
    size = tf.cast(extent, tf.float32)
    moved = boxes - tf.tile(tf.cast(begin, tf.float32), [2])
    cut = clip(moved, size)
    center = (moved[:, :2] + moved[:, 2:]) / 2
    shown = tf.reduce_all((center >= 0) & (center < size) & (cut[:, 2:] - cut[:, :2] >= MIN_SIDE), axis=-1)
    return cut, shown & (area(cut) >= MIN_VISIBLE * area(moved))


def size_of(image: tf.Tensor) -> tf.Tensor:
    """Return (H, W), [2] float32."""
    return tf.cast(tf.shape(image)[:2], tf.float32)


def happens(seed: tf.Tensor, probability: float) -> tf.Tensor:
    """Draw a scalar bool that is true with a probability."""
    return tf.random.stateless_uniform([], seed) < probability


def cut_image(image: tf.Tensor, begin: tf.Tensor, extent: tf.Tensor) -> tf.Tensor:
    """Crop the part that starts at `begin` [2] and is `extent` [2] pixels large."""
    return tf.slice(image, tf.pad(begin, [[0, 1]]), tf.pad(extent, [[0, 1]], constant_values=3))


def some_left(keep: tf.Tensor) -> tf.Tensor:
    """Return a scalar bool: a box is kept, or there was none."""
    return tf.reduce_any(keep) | tf.equal(tf.size(keep), 0)
