"""The four losses: objectness and box of the RPN, class and box of the head.

Legend: B batch, A anchors, S samples, C classes. Each is a sum over the batch's samples divided by their number (of
both kinds), as py-faster-rcnn and torchvision do. For the RPN's boxes that is 1/256 an image where the paper's
equation (1) writes lambda / N_reg = 10 / 2400 = 1/240: nearly the same, and lambda must not be applied on top.
"""

from __future__ import annotations

import tensorflow as tf

from tfrcnn.training.targets import RoITargets, RPNTargets


def smooth_l1(difference: tf.Tensor, beta: float) -> tf.Tensor:
    """Smooth L1 (Girshick, arXiv 1504.08083, equation 3, with its corner at `beta`): x^2 / (2 beta) if |x| < beta, else
    |x| - beta / 2; at beta 0 that is L1."""
    size = tf.abs(difference)
    if not beta:
        return size
    return tf.where(size < beta, 0.5 * size * size / beta, size - 0.5 * beta)


def rpn_losses(logits: tf.Tensor, deltas: tf.Tensor, targets: RPNTargets, beta: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Binary cross-entropy of the sampled anchors' objectness, smooth L1 of the positive ones' deltas.

    Args:
        logits: [B, A]; deltas: [B, A, 4].

    Returns:
        two scalars, float32.
    """
    samples = targets.samples
    valid = tf.cast(samples.valid, tf.float32)
    positive = tf.cast(samples.positive, tf.float32)
    count = tf.maximum(tf.reduce_sum(valid), 1.0)
    chosen = tf.gather(logits, samples.index, batch_dims=1)
    objectness = tf.nn.sigmoid_cross_entropy_with_logits(positive, chosen) * valid
    difference = tf.gather(deltas, samples.index, batch_dims=1) - targets.deltas
    box = tf.reduce_sum(smooth_l1(difference, beta), axis=-1) * positive
    return tf.reduce_sum(objectness) / count, tf.reduce_sum(box) / count


def head_losses(
    class_logits: tf.Tensor, deltas: tf.Tensor, targets: RoITargets, beta: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Cross-entropy of the sampled RoIs' classes, smooth L1 of the positive ones' deltas for their own class.

    Args:
        class_logits: [B, S, C + 1]; deltas: [B, S, C, 4].

    Returns:
        two scalars, float32.
    """
    valid = tf.cast(targets.samples.valid, tf.float32)
    positive = tf.cast(targets.samples.positive, tf.float32)
    count = tf.maximum(tf.reduce_sum(valid), 1.0)
    classifier = tf.nn.sparse_softmax_cross_entropy_with_logits(targets.labels, class_logits) * valid
    own_class = tf.where(targets.samples.positive, targets.labels, 0)
    difference = tf.gather(deltas, own_class, batch_dims=2) - targets.deltas
    box = tf.reduce_sum(smooth_l1(difference, beta), axis=-1) * positive
    return tf.reduce_sum(classifier) / count, tf.reduce_sum(box) / count
