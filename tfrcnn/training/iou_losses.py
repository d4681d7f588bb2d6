"""Box losses by overlap: GIoU (Rezatofighi et al., arXiv 1902.09630), DIoU and CIoU (Zheng et al., arXiv 1911.08287).

Legend: A and B two boxes, H their hull (the smallest box that holds both), c the diagonal of H, d the distance of the
centres, w and h the sides of a box.

    GIoU = IoU - (|H| - |A u B|) / |H|          in (-1, 1]
    DIoU = IoU - d^2 / c^2                      in (-1, 1]
    CIoU = DIoU - a v,   v = (2 / pi  (atan(w_A / h_A) - atan(w_B / h_B)))^2,   a = v / (1 - IoU + v)

Each loss is 1 minus that. As in torchvision, a is a constant to the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf

from tfrcnn import boxes as box_ops

MIN_SIDE = 1e-6  # pixels; the angle of a box without sides has no gradient


def decode_both(
    deltas: tf.Tensor, targets: tf.Tensor, boxes: tf.Tensor, box_weights: tuple[float, ...]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Compute the boxes that predicted and target deltas stand for, relative to the centres of `boxes`.

    The overlap does not depend on the place, and small coordinates round less. Boxes without area, which are padding,
    count as one pixel, so that all is finite. A size above the limit of `tfrcnn.boxes.decode` keeps its gradient: a
    prediction that is far too large can shrink again.

    Args:
        deltas: [..., 4] predicted.
        targets: [..., 4].
        boxes: [..., 4] yxyx pixels, that the deltas are relative to.
        box_weights: the deltas (y, x, h, w) are multiplied by these.

    Returns:
        predicted: [..., 4] yxyx pixels.
        target: [..., 4] yxyx pixels.
    """
    sides = boxes[..., 2:] - boxes[..., :2]
    half = 0.5 * tf.where(sides > 0.0, sides, 1.0)
    centered = tf.concat([-half, half], axis=-1)
    limit = tf.grad_pass_through(lambda log_scale: tf.minimum(log_scale, box_ops.MAX_LOG_SCALE))

    def decoded(values: tf.Tensor) -> tf.Tensor:
        values = values / tf.constant(box_weights, tf.float32)
        return box_ops.decode(tf.concat([values[..., :2], limit(values[..., 2:])], axis=-1), centered)

    return decoded(deltas), decoded(targets)


def generalized_iou(boxes_a: tf.Tensor, boxes_b: tf.Tensor) -> tf.Tensor:
    """Compute GIoU of boxes in pairs: [..., 4], [..., 4] -> [...] in [-1, 1]."""
    overlap, union = _overlap_and_union(boxes_a, boxes_b)
    hull = tf.reduce_prod(_hull_sides(boxes_a, boxes_b), axis=-1)
    return tf.math.divide_no_nan(overlap, union) - tf.math.divide_no_nan(hull - union, hull)


def distance_iou(boxes_a: tf.Tensor, boxes_b: tf.Tensor) -> tf.Tensor:
    """Compute DIoU of boxes in pairs: [..., 4], [..., 4] -> [...] in [-1, 1]."""
    return tf.math.divide_no_nan(*_overlap_and_union(boxes_a, boxes_b)) - _distance(boxes_a, boxes_b)


def complete_iou(boxes_a: tf.Tensor, boxes_b: tf.Tensor) -> tf.Tensor:
    """Compute CIoU of boxes in pairs: [..., 4], [..., 4] -> [...] in [-2, 1]."""
    iou = tf.math.divide_no_nan(*_overlap_and_union(boxes_a, boxes_b))
    shape = tf.square(2 / math.pi * (_angle(boxes_a) - _angle(boxes_b)))
    trade_off = tf.stop_gradient(tf.math.divide_no_nan(shape, tf.maximum(1.0 - iou, 0.0) + shape))
    return iou - _distance(boxes_a, boxes_b) - trade_off * shape


IOU_OF_PAIRS: dict[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "giou": generalized_iou,
    "diou": distance_iou,
    "ciou": complete_iou,
}


def _overlap_and_union(boxes_a: tf.Tensor, boxes_b: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    top_left = tf.maximum(boxes_a[..., :2], boxes_b[..., :2])
    bottom_right = tf.minimum(boxes_a[..., 2:], boxes_b[..., 2:])
    overlap = tf.reduce_prod(tf.maximum(bottom_right - top_left, 0.0), axis=-1)
    return overlap, box_ops.area(boxes_a) + box_ops.area(boxes_b) - overlap


def _hull_sides(boxes_a: tf.Tensor, boxes_b: tf.Tensor) -> tf.Tensor:
    return tf.maximum(boxes_a[..., 2:], boxes_b[..., 2:]) - tf.minimum(boxes_a[..., :2], boxes_b[..., :2])


def _distance(boxes_a: tf.Tensor, boxes_b: tf.Tensor) -> tf.Tensor:
    """Compute the squared distance of the centres over the squared diagonal of the hull."""
    centers = 0.5 * (boxes_a[..., :2] + boxes_a[..., 2:] - boxes_b[..., :2] - boxes_b[..., 2:])
    diagonal = tf.reduce_sum(tf.square(_hull_sides(boxes_a, boxes_b)), axis=-1)
    return tf.math.divide_no_nan(tf.reduce_sum(tf.square(centers), axis=-1), diagonal)


def _angle(boxes: tf.Tensor) -> tf.Tensor:
    """Compute atan(w / h)."""
    sides = tf.maximum(boxes[..., 2:] - boxes[..., :2], MIN_SIDE)
    return tf.atan2(sides[..., 1], sides[..., 0])
