"""The four losses: objectness and box of the RPN, class and box of the head.

Legend: B batch, A anchors, S samples, C classes. Each is a sum over the batch's samples divided by their number (of
both kinds), as py-faster-rcnn and torchvision do. The paper's equation (1) has another divisor for the RPN's boxes,

    L = 1 / N_cls  sum_i L_cls(p_i, p_i*)  +  lambda / N_reg  sum_i p_i* L_reg(t_i, t_i*),

N_cls = 256 samples, N_reg about 2400 cells of the map, lambda = 10: a box counts 1 / 240. py-faster-rcnn divides both
by the 256 samples and has no lambda: 1 / 256. `RPNConfig.box_loss_weight` w makes it w / 256, so that

    w = lambda N_cls / N_reg,   1.07 for lambda = 10,   and table 9's 0.1, 1, 10, 100 are 0.0107, 0.107, 1.07, 10.7.
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


def rpn_losses(
    logits: tf.Tensor, deltas: tf.Tensor, targets: RPNTargets, beta: float, box_weight: float = 1.0
) -> tuple[tf.Tensor, tf.Tensor]:
    """Binary cross-entropy of the sampled anchors' objectness, smooth L1 of the positive ones' deltas.

    Args:
        logits: [B, A]; deltas: [B, A, 4].
        beta: of smooth L1; box_weight: see above.

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
    return tf.reduce_sum(objectness) / count, box_weight * tf.reduce_sum(box) / count


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
