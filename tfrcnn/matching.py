"""Labels for boxes from ground truth, and the samples that a loss sees: pure TensorFlow, batched, static shapes.

Legend: B batch, N boxes (anchors or proposals), M padded ground truth, S samples.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfrcnn import boxes as box_ops
from tfrcnn.config import MatchConfig

POSITIVE, NEGATIVE, IGNORED = 1, 0, -1
MAX_PAIRS = 2**22  # of boxes and ground truth that are compared at once: 16 MB per float32 tensor


class Matches(NamedTuple):
    """The verdict of the ground truth on each box.

    Attributes:
        labels: [B, N] int32, POSITIVE, NEGATIVE or IGNORED.
        ground_truth: [B, N] int32, index into M of the best overlap.
    """

    labels: tf.Tensor
    ground_truth: tf.Tensor


class Samples(NamedTuple):
    """The boxes that a loss sees.

    Attributes:
        index: [B, S] int32 into N.
        positive: [B, S] bool.
        valid: [B, S] bool, False in empty slots.
    """

    index: tf.Tensor
    positive: tf.Tensor
    valid: tf.Tensor


def match(
    boxes: tf.Tensor, boxes_valid: tf.Tensor, gt_boxes: tf.Tensor, gt_valid: tf.Tensor, config: MatchConfig
) -> Matches:
    """Label boxes by their best overlap with ground truth (paper section 3.1.2).

    If `config.allow_low_quality`, the boxes that overlap a ground truth most (all of them, on ties) are positive too,
    at any IoU. They keep the ground truth that overlaps *them* most, as in py-faster-rcnn and torchvision. A ground
    truth that touches no box makes nothing positive.

    The ground truth is compared in groups: memory grows with B * N, not with M.

    Args:
        boxes: [N, 4] or [B, N, 4].
        boxes_valid: [B, N] bool. The others are IGNORED, and are no ground truth's best box.
        gt_boxes: [B, M, 4].
        gt_valid: [B, M] bool, False for padding, which never matches.
        config: the IoU thresholds.

    Returns:
        The labels, and the ground truth of each box. Every valid box of an image without ground truth is NEGATIVE.
    """
    boxes = boxes if boxes.shape.rank == 3 else boxes[None]
    batch, count = _dimension(boxes_valid, 0), _dimension(boxes_valid, 1)
    objects = _dimension(gt_boxes, 1)
    limit = MAX_PAIRS // (batch * count + 1) + 1
    step = -(-objects // (objects // limit + 1))  # groups of equal size, at most `limit`

    def compare(start: tf.Tensor, best: tf.Tensor, ground_truth: tf.Tensor, is_best: tf.Tensor) -> tuple[Any, ...]:
        # the last group starts early enough to be whole: an object that is compared twice changes nothing
        first = tf.minimum(start, objects - step)
        group = tf.slice(gt_boxes, [0, first, 0], [batch, step, 4])
        group_valid = tf.slice(gt_valid, [0, first], [batch, step])
        overlap = box_ops.iou(group, boxes)  # [B, step, N]
        overlap = tf.where(group_valid[..., None] & boxes_valid[:, None], overlap, -1.0)
        best_of_group = tf.reduce_max(overlap, axis=1)
        is_better = best_of_group > best  # on ties the first object stays
        ground_truth = tf.where(is_better, first + tf.argmax(overlap, axis=1, output_type=tf.int32), ground_truth)
        if config.allow_low_quality:
            best_of_gt = tf.reduce_max(overlap, axis=2, keepdims=True)
            is_best |= tf.reduce_any((overlap == best_of_gt) & (best_of_gt > 0.0), axis=1)
        return start + step, tf.maximum(best, best_of_group), ground_truth, is_best

    unmatched = tf.fill([batch, count], -np.inf), tf.zeros([batch, count], tf.int32), tf.zeros([batch, count], tf.bool)
    _, best, ground_truth, is_best = tf.while_loop(
        lambda start, *_: start < objects, compare, (tf.constant(0), *unmatched), parallel_iterations=1
    )
    labels = tf.where(
        best >= config.foreground_iou, POSITIVE, tf.where(best < config.background_iou, NEGATIVE, IGNORED)
    )
    labels = tf.where(is_best, POSITIVE, labels)
    return Matches(tf.where(boxes_valid, labels, IGNORED), ground_truth)


def sample(labels: tf.Tensor, config: MatchConfig, priority: tf.Tensor) -> Samples:
    """Choose at most `config.samples` boxes per image, at most `positive_fraction` of them positive, the rest negative.

    Negatives replace missing positives (paper section 3.1.3). If both are short, slots stay empty.

    Args:
        labels: [B, N] from `Matches`.
        config: how many samples, and how many of them positive.
        priority: [B, N] float32 in [0, 1). Boxes of higher priority are chosen first; random numbers make the choice
            random.

    Returns:
        S = config.samples slots, positives first.
    """
    limit = config.samples
    positive_limit = int(config.samples * config.positive_fraction)
    available = tf.shape(labels)[1]
    positive_count = tf.reduce_sum(tf.cast(labels == POSITIVE, tf.int32), axis=1, keepdims=True)
    negative_count = tf.reduce_sum(tf.cast(labels == NEGATIVE, tf.int32), axis=1, keepdims=True)
    positives = tf.minimum(positive_count, positive_limit)
    negatives = tf.minimum(negative_count, limit - positives)

    _, positive_index = tf.math.top_k(
        tf.where(labels == POSITIVE, priority, -1.0), tf.minimum(positive_limit, available)
    )
    _, negative_index = tf.math.top_k(tf.where(labels == NEGATIVE, priority, -1.0), tf.minimum(limit, available))
    slot = tf.range(limit)[None]
    is_positive = slot < positives
    index = tf.where(
        is_positive,
        _take(positive_index, tf.zeros_like(positives) + slot),
        _take(negative_index, slot - positives),
    )
    return Samples(index, is_positive, slot < positives + negatives)


def _take(values: tf.Tensor, slots: tf.Tensor) -> tf.Tensor:
    """values[b, slots[b, s]], with slots clamped to the range of values: [B, K], [B, S] -> [B, S]."""
    return tf.gather(values, tf.clip_by_value(slots, 0, tf.shape(values)[1] - 1), batch_dims=1)


def _dimension(x: tf.Tensor, axis: int) -> Any:
    """Return the length of an axis: a number if it is static, else a tensor."""
    length = x.shape[axis]
    return tf.shape(x)[axis] if length is None else length
