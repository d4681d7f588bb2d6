"""Training targets of the two stages: sampled anchors for the RPN, sampled RoIs for the box head.

Legend: B batch, A anchors, M padded ground truth, P proposals, S samples, C classes.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from tfrcnn import boxes as box_ops
from tfrcnn.config import HeadConfig, RPNConfig
from tfrcnn.matching import IGNORED, POSITIVE, Samples, match, sample


class RPNTargets(NamedTuple):
    """The targets of the RPN.

    Attributes:
        samples: of S anchors per image.
        deltas: [B, S, 4] from the anchors to the ground truth; 0 for anchors that are not positive.
        boxes: [B, S, 4] the sampled anchors, yxyx pixels.
    """

    samples: Samples
    deltas: tf.Tensor
    boxes: tf.Tensor


class RoITargets(NamedTuple):
    """S regions of interest per image for the box head.

    Attributes:
        boxes: [B, S, 4] yxyx pixels.
        labels: [B, S] int32 in 0..C; C is the background.
        deltas: [B, S, 4] to the ground truth of positive regions, times the box weights; 0 for others.
        samples: which regions are positive, and which slots are filled.
    """

    boxes: tf.Tensor
    labels: tf.Tensor
    deltas: tf.Tensor
    samples: Samples


def rpn_targets(
    anchors: tf.Tensor,
    gt_boxes: tf.Tensor,
    gt_labels: tf.Tensor,
    image_sizes: tf.Tensor,
    config: RPNConfig,
    priority: tf.Tensor,
) -> RPNTargets:
    """Sample the anchors that the RPN is trained on (paper sections 3.1.2 and 3.1.3).

    Args:
        anchors: [A, 4] yxyx pixels.
        gt_boxes: [B, M, 4] yxyx pixels.
        gt_labels: [B, M] int32, negative for padding.
        image_sizes: [B, 2] (h, w). `config.ignore_cross_boundary` drops anchors that cross it before matching, as in
            py-faster-rcnn: the best anchor inside is then positive.
        config: matching and sampling.
        priority: [B, A], see `sample`.

    Returns:
        The sampled anchors and their targets.
    """
    if config.ignore_cross_boundary:
        inside = tf.reduce_all((anchors[None, :, :2] >= 0.0) & (anchors[None, :, 2:] <= image_sizes[:, None]), axis=-1)
    else:
        inside = tf.ones_like(priority, tf.bool)
    labels, ground_truth = match(anchors, inside, gt_boxes, gt_labels >= 0, config.match)
    samples = sample(labels, config.match, priority)
    target = _ground_truth_of(samples, ground_truth, gt_boxes)
    sampled = tf.gather(anchors, samples.index)
    deltas = box_ops.encode(target, sampled)
    return RPNTargets(samples, tf.where(samples.positive[..., None], deltas, 0.0), sampled)


def roi_targets(
    proposals: tf.Tensor,
    valid: tf.Tensor,
    gt_boxes: tf.Tensor,
    gt_labels: tf.Tensor,
    num_classes: int,
    config: HeadConfig,
    priority: tf.Tensor,
) -> RoITargets:
    """Label and sample the regions that the box head is trained on: proposals and the ground-truth boxes.

    Args:
        proposals: [B, P, 4] yxyx pixels.
        valid: [B, P] bool; padding is never sampled.
        gt_boxes: [B, M, 4] yxyx pixels.
        gt_labels: [B, M] int32, negative for padding.
        num_classes: C.
        config: matching, sampling and box weights.
        priority: [B, P + M], see `sample`.

    Returns:
        The sampled regions and their targets.
    """
    gt_valid = gt_labels >= 0
    boxes = tf.concat([proposals, gt_boxes], axis=1)
    present = tf.concat([valid, gt_valid], axis=1)
    labels, ground_truth = match(boxes, present, gt_boxes, gt_valid, config.match)
    samples = sample(labels, config.match, priority)
    return _roi_targets_of(samples, boxes, ground_truth, gt_boxes, gt_labels, num_classes, config)


def refined_roi_targets(
    boxes: tf.Tensor,
    valid: tf.Tensor,
    gt_boxes: tf.Tensor,
    gt_labels: tf.Tensor,
    num_classes: int,
    config: HeadConfig,
) -> RoITargets:
    """Label the regions of a later stage of a cascade: all of them, since their sample was drawn in the first stage.

    Args:
        boxes: [B, S, 4] yxyx pixels, the boxes that the stage before predicts.
        valid: [B, S] bool, False in empty slots. A box without area is not valid either.
        gt_boxes: [B, M, 4] yxyx pixels.
        gt_labels: [B, M] int32, negative for padding.
        num_classes: C.
        config: matching and box weights of the stage, see `HeadConfig.stages`.

    Returns:
        The same S regions and their targets.
    """
    valid &= box_ops.area(boxes) > 0.0
    labels, ground_truth = match(boxes, valid, gt_boxes, gt_labels >= 0, config.match)
    index = tf.zeros_like(labels) + tf.range(tf.shape(labels)[1])
    samples = Samples(index, labels == POSITIVE, labels != IGNORED)
    return _roi_targets_of(samples, boxes, ground_truth, gt_boxes, gt_labels, num_classes, config)


def _roi_targets_of(
    samples: Samples,
    boxes: tf.Tensor,
    ground_truth: tf.Tensor,
    gt_boxes: tf.Tensor,
    gt_labels: tf.Tensor,
    num_classes: int,
    config: HeadConfig,
) -> RoITargets:
    sampled = tf.gather(boxes, samples.index, batch_dims=1)
    target = _ground_truth_of(samples, ground_truth, gt_boxes)
    deltas = box_ops.encode(target, sampled, config.box_weights)
    matched = tf.gather(gt_labels, tf.gather(ground_truth, samples.index, batch_dims=1), batch_dims=1)
    return RoITargets(
        boxes=sampled,
        labels=tf.where(samples.positive, matched, num_classes),
        deltas=tf.where(samples.positive[..., None], deltas, 0.0),
        samples=samples,
    )


def _ground_truth_of(samples: Samples, ground_truth: tf.Tensor, gt_boxes: tf.Tensor) -> tf.Tensor:
    """Look up the ground-truth box of each sample: [B, S, 4]."""
    return tf.gather(gt_boxes, tf.gather(ground_truth, samples.index, batch_dims=1), batch_dims=1)
