"""Geometry of boxes: pure TensorFlow, float32, no state.

Legend: N, M boxes; A anchors; "..." any leading (batch) shape. A box is [y1, x1, y2, x2] in pixels, continuous:
height = y2 - y1 (no +1). A delta is (dy, dx, dh, dw), paper section 3.1.2.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from tfrcnn.config import AnchorConfig, HeadConfig

# Limit of dh and dw in decode: a box of 1000 px from an anchor of 16 px, the finest stride of early detectors. Only
# random weights give larger ones, and exp would overflow (Detectron's BBOX_XFORM_CLIP).
MAX_LOG_SCALE = math.log(1000.0 / 16)


def area(boxes: tf.Tensor) -> tf.Tensor:
    """Compute the area of boxes: [..., 4] -> [...]; 0 for inverted boxes."""
    y1, x1, y2, x2 = tf.unstack(boxes, axis=-1)
    return tf.maximum(y2 - y1, 0.0) * tf.maximum(x2 - x1, 0.0)


def intersection(boxes_a: tf.Tensor, boxes_b: tf.Tensor) -> tf.Tensor:
    """Compute the areas of pairwise intersections: [..., N, 4], [..., M, 4] -> [..., N, M]."""
    top_left = tf.maximum(boxes_a[..., :, None, :2], boxes_b[..., None, :, :2])
    bottom_right = tf.minimum(boxes_a[..., :, None, 2:], boxes_b[..., None, :, 2:])
    sides = tf.maximum(bottom_right - top_left, 0.0)
    return sides[..., 0] * sides[..., 1]


def iou(boxes_a: tf.Tensor, boxes_b: tf.Tensor) -> tf.Tensor:
    """Compute pairwise intersection over union in [0, 1]: [..., N, 4], [..., M, 4] -> [..., N, M].

    An empty union gives 0.
    """
    overlap = intersection(boxes_a, boxes_b)
    union = area(boxes_a)[..., :, None] + area(boxes_b)[..., None, :] - overlap
    return tf.math.divide_no_nan(overlap, union)


def encode(boxes: tf.Tensor, anchors: tf.Tensor, weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)) -> tf.Tensor:
    """Compute the deltas from anchors to boxes (equation 2): dy = w_y (y - y_a) / h_a, dh = w_h log(h / h_a).

    Args:
        boxes: [..., 4], sides positive. A side of 0 gives an infinite delta: mask it out.
        anchors: [..., 4], sides positive.
        weights: (y, x, h, w) factors, 1 / standard deviation of the targets.

    Returns:
        [..., 4] (dy, dx, dh, dw).
    """
    center, sides = _center_and_sides(boxes)
    anchor_center, anchor_sides = _center_and_sides(anchors)
    return tf.concat(
        [(center - anchor_center) / anchor_sides, tf.math.log(sides / anchor_sides)], axis=-1
    ) * tf.constant(weights, tf.float32)


def decode(deltas: tf.Tensor, anchors: tf.Tensor, weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)) -> tf.Tensor:
    """Compute boxes from anchors and deltas, the inverse of `encode`: decode(encode(b, a), a) == b.

    dh and dw, divided by the weights, are limited to at most log(1000 / 16).

    Args:
        deltas: [..., 4] (dy, dx, dh, dw).
        anchors: [..., 4].
        weights: as `encode`.

    Returns:
        [..., 4] boxes, not clipped to the image.
    """
    anchor_center, anchor_sides = _center_and_sides(anchors)
    deltas = deltas / tf.constant(weights, tf.float32)
    center = deltas[..., :2] * anchor_sides + anchor_center
    half = 0.5 * tf.exp(tf.minimum(deltas[..., 2:], MAX_LOG_SCALE)) * anchor_sides
    return tf.concat([center - half, center + half], axis=-1)


def clip(boxes: tf.Tensor, image_sizes: tf.Tensor) -> tf.Tensor:
    """Clip boxes to their images.

    Args:
        boxes: [..., N, 4] pixels.
        image_sizes: [..., 2] (height, width), in pixels.

    Returns:
        [..., N, 4].
    """
    image_sizes = tf.convert_to_tensor(image_sizes)
    limits = tf.tile(image_sizes, [1] * (image_sizes.shape.rank - 1) + [2])[..., None, :]
    return tf.maximum(tf.minimum(boxes, limits), 0.0)


def base_anchors(config: AnchorConfig, level: int) -> np.ndarray:
    """Compute the anchors of one cell, centred at the origin.

    Args:
        config: sizes, ratios and rounding.
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
    """Place `base` at every cell of a feature map, row by row (paper section 3.1.1).

    Args:
        base: [k, 4] float32, centred at the origin.
        grid: [2] int32 (rows, columns) of the feature map.
        stride: [2] int32, pixels from row to row and from column to column.
        offset: position of the centre in its cell, in cells.

    Returns:
        [rows * columns * k, 4] float32 in pixels, order (row, column, k); not clipped to the image.
    """
    stride = tf.cast(stride, tf.float32)
    ys = (tf.cast(tf.range(grid[0]), tf.float32) + offset) * stride[0]
    xs = (tf.cast(tf.range(grid[1]), tf.float32) + offset) * stride[1]
    y, x = tf.meshgrid(ys, xs, indexing="ij")
    centers = tf.reshape(tf.stack([y, x, y, x], axis=-1), [-1, 1, 4])
    return tf.reshape(centers + base, [-1, 4])


def roi_samples(boxes: tf.Tensor, config: HeadConfig) -> tuple[tf.Tensor, tf.Tensor]:
    """Find where RoIAlign samples a feature map: y(i) = first + i step, i = 0 .. n - 1 (see `tfrcnn.layers.roi_align`).

    Args:
        boxes: [R, 4] yxyx in cells, that is in pixels divided by the map's stride.
        config: pool_size, sampling_ratio and aligned.

    Returns:
        first: [R, 2] (y, x) of the first sample, in cells; the value of cell j lies at j.
        step: [R, 2] (y, x) from one sample to the next.
    """
    first, sides = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    if config.aligned:
        first = first - 0.5
    else:
        sides = tf.maximum(sides, 1.0)
    step = sides / (config.pool_size * config.sampling_ratio)
    return first + 0.5 * step, step


def roi_positions(boxes: tf.Tensor, config: HeadConfig) -> tf.Tensor:
    """List the samples of `roi_samples`: boxes [R, 4] -> [R, n, 2] (y, x), in cells."""
    first, step = roi_samples(boxes, config)
    numbers = tf.range(config.pool_size * config.sampling_ratio, dtype=tf.float32)
    return first[:, None] + step[:, None] * numbers[None, :, None]


def _center_and_sides(boxes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    top_left, bottom_right = boxes[..., :2], boxes[..., 2:]
    sides = bottom_right - top_left
    return top_left + 0.5 * sides, sides
