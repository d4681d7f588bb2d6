"""Soft NMS and weighted box fusion: alternatives to dropping each box that overlaps a better one.

Both are plain TensorFlow operators in one loop, so that they run the same in every runtime.

Legend: B batch, M candidates per image, best first. A group is a set of candidates that compete: a class, or all.
"""

from __future__ import annotations

import tensorflow as tf

from tfrcnn import boxes as box_ops
from tfrcnn.config import DetectionConfig
from tfrcnn.kernels import ABSENT


def soft_nms(
    boxes: tf.Tensor,
    scores: tf.Tensor,
    groups: tf.Tensor,
    config: DetectionConfig,
    thresholds: tf.Tensor | None = None,
) -> tf.Tensor:
    """Lower the scores of boxes that overlap better ones (Bodla et al., arXiv 1704.04503).

    Takes the best box, multiplies the scores of the others by a factor f of their IoU with it, and starts again:

        linear    f = 1 - IoU if IoU > nms_iou, else 1
        Gaussian  f = exp(-IoU^2 / nms_sigma)

    Args:
        boxes: [B, M, 4] yxyx pixels.
        scores: [B, M] in (0, 1); `ABSENT` if the box takes no part.
        groups: [B, M] int32; a box lowers the scores of its own group only.
        config: nms, nms_iou, nms_sigma, max_detections and score_threshold, which the lowered scores must exceed. A box
            whose score falls to the threshold is dropped at once.
        thresholds: [B, M] in place of `config.score_threshold`; None is that for all.

    Returns:
        [B, M] the lowered scores of the boxes that are kept, at most max_detections per image; `ABSENT` elsewhere.

    Example:
        soft_nms(boxes, scores, labels, tfrcnn.DetectionConfig(nms="soft_gaussian"))
    """
    positions = tf.range(tf.shape(scores)[1])[None]
    limits = config.score_threshold if thresholds is None else thresholds

    def unfinished(step: tf.Tensor, left: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
        return (step < config.max_detections) & tf.reduce_any(left > ABSENT)

    def keep_one(step: tf.Tensor, left: tf.Tensor, kept: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        best = tf.argmax(left, axis=1, output_type=tf.int32)[:, None]
        chosen = positions == best
        overlap = box_ops.iou(tf.gather(boxes, best, batch_dims=1), boxes)[:, 0]
        if config.nms == "soft_linear":
            factors = tf.where(overlap > config.nms_iou, 1.0 - overlap, 1.0)
        else:
            factors = tf.exp(-overlap * overlap / config.nms_sigma)
        present = left > ABSENT
        competes = (groups == tf.gather(groups, best, batch_dims=1)) & present
        kept = tf.where(chosen & present, left, kept)
        left = tf.where(competes, left * factors, left)
        return step + 1, tf.where(chosen | (left <= limits), ABSENT, left), kept

    start = (tf.constant(0), tf.where(scores > limits, scores, ABSENT), tf.fill(tf.shape(scores), ABSENT))
    return tf.while_loop(unfinished, keep_one, start)[2]


def weighted_fusion(
    boxes: tf.Tensor, scores: tf.Tensor, groups: tf.Tensor, iou_threshold: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Average the boxes that overlap (weighted boxes fusion, Solovyev et al., arXiv 1910.13302).

    Goes through the boxes from the best to the worst. A box joins the cluster whose fused box has the highest IoU with
    it, if that is above the threshold; else it opens a cluster. A fused box is the mean of its members, weighted by
    their scores. It has the score of its best member: all members come from one detector, so that a weaker one next to
    the best is no evidence against it.

    Args:
        boxes: [B, M, 4] yxyx pixels.
        scores: [B, M] in (0, 1), descending but for `ABSENT`, which marks a box that takes no part.
        groups: [B, M] int32; a box joins clusters of its own group only.
        iou_threshold: boxes of a higher IoU are fused.

    Returns:
        boxes: [B, M, 4] the fused box of the cluster that each box opened; 0 elsewhere.
        scores: [B, M] its score; `ABSENT` elsewhere.

    Example:
        weighted_fusion(boxes, scores, labels, iou_threshold=0.55)
    """
    positions = tf.range(tf.shape(scores)[1])[None]
    end = tf.reduce_max(tf.where(scores > ABSENT, positions + 1, 0))

    def add_one(step: tf.Tensor, sums: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        box, score, group = (tf.gather(values, step[None], axis=1) for values in (boxes, scores, groups))
        overlap = box_ops.iou(box, tf.math.divide_no_nan(sums, weights[..., None]))[:, 0]
        overlap = tf.where((groups == group) & (weights > 0.0), overlap, 0.0)
        nearest = tf.argmax(overlap, axis=1, output_type=tf.int32)[:, None]
        joins = tf.reduce_max(overlap, axis=1, keepdims=True) > iou_threshold
        added = tf.where((positions == tf.where(joins, nearest, step)) & (score > ABSENT), score, 0.0)
        return step + 1, sums + added[..., None] * box, weights + added

    start = (tf.constant(0), tf.zeros_like(boxes), tf.zeros_like(scores))
    _, sums, weights = tf.while_loop(lambda step, *_: step < end, add_one, start)
    return tf.math.divide_no_nan(sums, weights[..., None]), tf.where(weights > 0.0, scores, ABSENT)
