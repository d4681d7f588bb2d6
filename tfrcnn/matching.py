"""Labels for boxes from ground truth, and the samples that a loss sees: pure TensorFlow, batched, static shapes.

Legend: B batch, N boxes (anchors or proposals), M padded ground truth, S samples.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfrcnn import boxes as box_ops
from tfrcnn.config import MatchConfig

POSITIVE, NEGATIVE, IGNORED = 1, 0, -1


class Matches(NamedTuple):
    """kind [B, N] int32: POSITIVE, NEGATIVE or IGNORED; ground_truth [B, N] int32: index into M of the best overlap."""

    kind: tf.Tensor
    ground_truth: tf.Tensor


class Samples(NamedTuple):
    """index [B, S] int32 into N; positive [B, S] bool; valid [B, S] bool, False in slots that could not be filled."""

    index: tf.Tensor
    positive: tf.Tensor
    valid: tf.Tensor


def match(
    boxes: tf.Tensor, boxes_valid: tf.Tensor, gt_boxes: tf.Tensor, gt_valid: tf.Tensor, config: MatchConfig
) -> Matches:
    """Label boxes by their best overlap with ground truth (paper section 3.1.2).

    With `config.allow_low_quality`, the boxes that overlap a ground truth most (all of them, on ties) are positive too,
    whatever their IoU; they keep the ground truth that overlaps *them* most, as py-faster-rcnn and torchvision have
    it. A ground truth that no box touches makes nothing positive.

    Args:
        boxes: [N, 4] or [B, N, 4].
        boxes_valid: [B, N] bool; the others are IGNORED, and are nobody's best box either.
        gt_boxes: [B, M, 4]; gt_valid: [B, M] bool, False for padding, which never matches.

    Returns:
        `Matches`; in an image without ground truth every valid box is NEGATIVE.
    """
    overlap = box_ops.iou(gt_boxes, boxes if boxes.shape.rank == 3 else boxes[None])  # [B, M, N]
    overlap = tf.where(gt_valid[..., None] & boxes_valid[:, None], overlap, -1.0)
    best = tf.reduce_max(overlap, axis=1)
    ground_truth = tf.argmax(overlap, axis=1, output_type=tf.int32)
    kind = tf.where(best >= config.foreground_iou, POSITIVE, tf.where(best < config.background_iou, NEGATIVE, IGNORED))
    if config.allow_low_quality:
        best_of_gt = tf.reduce_max(overlap, axis=2, keepdims=True)
        is_best = tf.reduce_any((overlap == best_of_gt) & (best_of_gt > 0.0), axis=1)
        kind = tf.where(is_best, POSITIVE, kind)
    return Matches(tf.where(boxes_valid, kind, IGNORED), ground_truth)


def sample(kind: tf.Tensor, config: MatchConfig, priority: tf.Tensor) -> Samples:
    """Choose at most `config.samples` boxes an image, at most `positive_fraction` of them positive, the rest negative.

    Where positives are short, negatives take their place (paper section 3.1.3); where both are short, slots stay empty.

    Args:
        kind: [B, N] as of `Matches`.
        priority: [B, N] float32 in [0, 1): boxes of higher priority are chosen first. Random numbers make the choice
            random.

    Returns:
        `Samples` with S = config.samples, positives first.
    """
    most = config.samples
    most_positive = int(config.samples * config.positive_fraction)
    available = tf.shape(kind)[1]
    positive_count = tf.reduce_sum(tf.cast(kind == POSITIVE, tf.int32), axis=1, keepdims=True)
    negative_count = tf.reduce_sum(tf.cast(kind == NEGATIVE, tf.int32), axis=1, keepdims=True)
    positives = tf.minimum(positive_count, most_positive)
    negatives = tf.minimum(negative_count, most - positives)

    _, positive_index = tf.math.top_k(tf.where(kind == POSITIVE, priority, -1.0), tf.minimum(most_positive, available))
    _, negative_index = tf.math.top_k(tf.where(kind == NEGATIVE, priority, -1.0), tf.minimum(most, available))
    slot = tf.range(most)[None]
    is_positive = slot < positives
    index = tf.where(
        is_positive,
        _take(positive_index, tf.zeros_like(positives) + slot),
        _take(negative_index, slot - positives),
    )
    return Samples(index, is_positive, slot < positives + negatives)


def _take(values: tf.Tensor, slots: tf.Tensor) -> tf.Tensor:
    """values[b, slots[b, s]], any slot clamped to what there is: [B, K], [B, S] -> [B, S]."""
    return tf.gather(values, tf.clip_by_value(slots, 0, tf.shape(values)[1] - 1), batch_dims=1)
