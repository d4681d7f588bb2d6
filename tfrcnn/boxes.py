"""Geometry of boxes: pure TensorFlow, float32, no state.

Legend: N, M boxes; A anchors; "..." any leading (batch) shape. A box is [y1, x1, y2, x2] in pixels, continuous:
height = y2 - y1 (no +1). A delta is (dy, dx, dh, dw), paper section 3.1.2.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from tfrcnn.config import AnchorConfig

# The largest dh or dw that decode accepts: a box of 1000 px from an anchor of 16 px, the finest stride of old
# detectors. Larger ones come from random weights only, and exp would overflow (Detectron's BBOX_XFORM_CLIP).
MAX_LOG_SCALE = math.log(1000.0 / 16)


def area(boxes: tf.Tensor) -> tf.Tensor:
    """Area of boxes [..., 4] -> [...]; 0 for inverted boxes."""
    y1, x1, y2, x2 = tf.unstack(boxes, axis=-1)
    return tf.maximum(y2 - y1, 0.0) * tf.maximum(x2 - x1, 0.0)


def intersection(boxes_a: tf.Tensor, boxes_b: tf.Tensor) -> tf.Tensor:
    """Areas of the pairwise intersections: [..., N, 4], [..., M, 4] -> [..., N, M]."""
    top_left = tf.maximum(boxes_a[..., :, None, :2], boxes_b[..., None, :, :2])
    bottom_right = tf.minimum(boxes_a[..., :, None, 2:], boxes_b[..., None, :, 2:])
    sides = tf.maximum(bottom_right - top_left, 0.0)
    return sides[..., 0] * sides[..., 1]


def iou(boxes_a: tf.Tensor, boxes_b: tf.Tensor) -> tf.Tensor:
    """Pairwise intersection over union in [0, 1]: [..., N, 4], [..., M, 4] -> [..., N, M]; 0 for an empty union."""
    overlap = intersection(boxes_a, boxes_b)
    union = area(boxes_a)[..., :, None] + area(boxes_b)[..., None, :] - overlap
    return tf.math.divide_no_nan(overlap, union)


def encode(boxes: tf.Tensor, anchors: tf.Tensor, weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)) -> tf.Tensor:
    """Deltas that carry anchors to boxes (equation 2 of the paper): dy = w_y (y - y_a) / h_a, dh = w_h log(h / h_a).

    Args:
        boxes, anchors: [..., 4], sides positive (a side of 0 gives an infinite delta: mask it out).
        weights: (y, x, h, w) multipliers, the 1 / standard deviation of the targets.

    Returns:
        [..., 4] (dy, dx, dh, dw).
    """
    center, sides = _center_and_sides(boxes)
    anchor_center, anchor_sides = _center_and_sides(anchors)
    return tf.concat(
        [(center - anchor_center) / anchor_sides, tf.math.log(sides / anchor_sides)], axis=-1
    ) * tf.constant(weights, tf.float32)


def decode(deltas: tf.Tensor, anchors: tf.Tensor, weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)) -> tf.Tensor:
    """Boxes from anchors and deltas, the inverse of `encode`: decode(encode(b, a), a) == b.

    dh and dw, after division by the weights, are limited from above to log(1000 / 16).

    Args:
        deltas, anchors: [..., 4].

    Returns:
        [..., 4] boxes, not clipped to the image.
    """
    anchor_center, anchor_sides = _center_and_sides(anchors)
    deltas = deltas / tf.constant(weights, tf.float32)
    center = deltas[..., :2] * anchor_sides + anchor_center
    half = 0.5 * tf.exp(tf.minimum(deltas[..., 2:], MAX_LOG_SCALE)) * anchor_sides
    return tf.concat([center - half, center + half], axis=-1)


def clip(boxes: tf.Tensor, image_sizes: tf.Tensor) -> tf.Tensor:
    """Clip boxes [..., N, 4] to images whose (height, width) are `image_sizes` [..., 2], in pixels."""
    limits = tf.tile(image_sizes, [1] * (image_sizes.shape.rank - 1) + [2])[..., None, :]
    return tf.maximum(tf.minimum(boxes, limits), 0.0)


def base_anchors(config: AnchorConfig, level: int) -> np.ndarray:
    """The anchors of one cell, centred at the origin.

    Args:
        level: index into `config.sizes`.

    Returns:
        [k, 4] float32, ratio-major and size-minor.
    """
    ratios = np.asarray(config.ratios, np.float64)[:, None]
    sizes = np.asarray(config.sizes[level], np.float64)[None, :]
    if config.rounding == "paper":  # py-faster-rcnn: the sides of a 16 x 16 square, rounded, then scaled
        width = np.round(np.sqrt(16.0**2 / ratios))
        height = np.round(width * ratios)
        half_height, half_width = height * (sizes / 16) / 2, width * (sizes / 16) / 2
    else:
        half_height, half_width = sizes * np.sqrt(ratios) / 2, sizes / np.sqrt(ratios) / 2
    if config.rounding == "torchvision":
        half_height, half_width = np.round(half_height), np.round(half_width)
    half_height, half_width = np.broadcast_arrays(half_height, half_width)
    return np.stack([-half_height, -half_width, half_height, half_width], -1).reshape(-1, 4).astype(np.float32)


def grid_anchors(base: tf.Tensor, grid: tf.Tensor, stride: tf.Tensor, offset: float) -> tf.Tensor:
    """The anchors of one feature map: `base` at every cell, row by row (paper section 3.1.1).

    Args:
        base: [k, 4] float32, centred at the origin.
        grid: [2] int32 (rows, columns) of the feature map.
        stride: [2] int32, pixels from row to row and from column to column.
        offset: position of the centre within a cell, in cells.

    Returns:
        [rows * columns * k, 4] float32 in pixels, order (row, column, k); not clipped to the image.
    """
    stride = tf.cast(stride, tf.float32)
    ys = (tf.cast(tf.range(grid[0]), tf.float32) + offset) * stride[0]
    xs = (tf.cast(tf.range(grid[1]), tf.float32) + offset) * stride[1]
    y, x = tf.meshgrid(ys, xs, indexing="ij")
    centers = tf.reshape(tf.stack([y, x, y, x], axis=-1), [-1, 1, 4])
    return tf.reshape(centers + base, [-1, 4])


def _center_and_sides(boxes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    top_left, bottom_right = boxes[..., :2], boxes[..., 2:]
    sides = bottom_right - top_left
    return top_left + 0.5 * sides, sides
