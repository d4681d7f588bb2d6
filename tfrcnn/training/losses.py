"""The four losses: objectness and box of the RPN, class and box of the head (see `class_losses` for the class).

Legend: B batch, A anchors, S samples, C classes.

Each loss is a sum over the batch's samples divided by their number (positive and negative), as in py-faster-rcnn and
torchvision. The replicas of a `tf.distribute` strategy count the samples of the whole batch. The paper's equation (1)
divides the RPN's box loss differently,

    L = 1 / N_cls  sum_i L_cls(p_i, p_i*)  +  lambda / N_reg  sum_i p_i* L_reg(t_i, t_i*),

N_cls = 256 samples, N_reg about 2400 cells of the map, lambda = 10: a box counts 1 / 240. py-faster-rcnn divides both
sums by the 256 samples and has no lambda: 1 / 256. `RPNConfig.box_loss_weight` w makes it w / 256, so that

    w = lambda N_cls / N_reg,   1.07 for lambda = 10,   and table 9's 0.1, 1, 10, 100 are 0.0107, 0.107, 1.07, 10.7.

The box losses differ in scale. Smooth L1 sums four deltas, and the head's are multiplied by `box_weights`: a RoI of IoU
0.7 costs 2.5 there. An IoU loss lies in 0 .. 3 for any weights and costs 0.3 there, and its gradient by the deltas is a
ninth. So set `HeadConfig.box_loss_weight` to about 10 with it, as MMDetection's GIoU detector does. The RPN's deltas
have no weights: the gradients are 1.3 and 1.7 for an anchor of IoU 0.8, and 1 serves.

To add a box loss, write a function like `smooth_l1_loss` and add it to `BOX_LOSSES`. `BoxLossConfig.name` chooses it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import tensorflow as tf

from tfrcnn.config import BoxLossConfig, ClassLossConfig, DetectorConfig
from tfrcnn.errors import InputError, InputErrors
from tfrcnn.training.class_losses import ClassLoss, class_loss, cross_entropy_loss
from tfrcnn.training.iou_losses import IOU_OF_PAIRS, decode_both
from tfrcnn.training.replicas import mean_over_replicas, replica_count
from tfrcnn.training.targets import RoITargets, RPNTargets

# (predicted deltas, target deltas, boxes that the deltas are relative to), each [B, S, 4] -> loss per box [B, S]
# Padding RoIs are empty boxes, so values and gradients must be finite for those too.
BoxLoss: TypeAlias = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]
BoxWeights: TypeAlias = tuple[float, float, float, float]


def smooth_l1(difference: tf.Tensor, beta: float) -> tf.Tensor:
    """Compute smooth L1 (Girshick, arXiv 1504.08083, equation 3, with its corner at `beta`).

    x^2 / (2 beta) if |x| < beta, else |x| - beta / 2. At beta 0 that is L1.
    """
    size = tf.abs(difference)
    if not beta:
        return size
    return tf.where(size < beta, 0.5 * size * size / beta, size - 0.5 * beta)


def smooth_l1_loss(config: BoxLossConfig, box_weights: BoxWeights) -> BoxLoss:
    """Make the box loss of the paper: smooth L1, summed over the four deltas."""
    return lambda deltas, targets, boxes: tf.reduce_sum(smooth_l1(deltas - targets, config.beta), axis=-1)


def iou_loss(config: BoxLossConfig, box_weights: BoxWeights) -> BoxLoss:
    """Make GIoU, DIoU or CIoU loss, see `tfrcnn.training.iou_losses`: 1 - IoU of the decoded boxes, which is 0 .. 3.

    The box weights only scale the deltas that the network predicts; the loss is the same for any.
    """
    iou = IOU_OF_PAIRS[config.name]
    return lambda deltas, targets, boxes: 1.0 - iou(*decode_both(deltas, targets, boxes, box_weights))


# Each entry makes a loss from its configuration and the weights that the deltas are multiplied by.
BOX_LOSSES: dict[str, Callable[[BoxLossConfig, BoxWeights], BoxLoss]] = {
    "smooth_l1": smooth_l1_loss,
    **dict.fromkeys(IOU_OF_PAIRS, iou_loss),
}


def box_loss(config: BoxLossConfig, box_weights: BoxWeights = (1.0, 1.0, 1.0, 1.0)) -> BoxLoss:
    """Make the box loss that a configuration names.

    Args:
        config: the name of the loss, and its options.
        box_weights: the deltas (y, x, h, w) are multiplied by these.

    Raises:
        InputError: `BOX_LOSSES` has no loss of that name.
    """
    if config.name not in BOX_LOSSES:
        raise InputError(f"BoxLossConfig.name must be one of {', '.join(BOX_LOSSES)}, found {config.name!r}")
    return BOX_LOSSES[config.name](config, box_weights)


def check_losses(config: DetectorConfig) -> None:
    """Check that the losses that a detector names exist.

    Raises:
        InputError: with all that do not.
    """
    errors = InputErrors()
    for box in (config.rpn.box_loss, config.head.box_loss):
        with errors.collect():
            box_loss(box)
    with errors.collect():
        class_loss(config.head.class_loss)
    errors.check()


def _sample_count(valid: tf.Tensor) -> tf.Tensor:
    """Count the samples of a replica, the same for all replicas of a batch, so that each sample has the same weight."""
    return tf.maximum(mean_over_replicas(tf.reduce_sum(valid)), 1.0 / replica_count())


def rpn_losses(
    logits: tf.Tensor, deltas: tf.Tensor, targets: RPNTargets, loss: BoxLoss, box_weight: float = 1.0
) -> tuple[tf.Tensor, tf.Tensor]:
    """Compute the RPN's losses: binary cross-entropy of the sampled anchors, box loss of the positive ones.

    Args:
        logits: [B, A], objectness.
        deltas: [B, A, 4].
        targets: which anchors are sampled, and their targets.
        loss: of the deltas.
        box_weight: multiplies the box loss, see the head of the file.

    Returns:
        objectness: scalar, float32.
        box: scalar, float32.
    """
    samples = targets.samples
    valid = tf.cast(samples.valid, tf.float32)
    positive = tf.cast(samples.positive, tf.float32)
    count = _sample_count(valid)
    sampled = tf.gather(logits, samples.index, batch_dims=1)
    objectness = tf.nn.sigmoid_cross_entropy_with_logits(positive, sampled) * valid
    box = loss(tf.gather(deltas, samples.index, batch_dims=1), targets.deltas, targets.boxes) * positive
    return tf.reduce_sum(objectness) / count, box_weight * tf.reduce_sum(box) / count


def head_losses(
    class_logits: tf.Tensor,
    deltas: tf.Tensor,
    targets: RoITargets,
    loss: BoxLoss,
    class_weights: list[float] | None = None,
    classification: ClassLoss | None = None,
    loss_weights: tuple[float, float] = (1.0, 1.0),
) -> tuple[tf.Tensor, tf.Tensor]:
    """Compute the head's losses: class loss of the sampled RoIs, box loss of the positive ones.

    The box loss takes the deltas of each RoI's ground-truth class.

    Args:
        class_logits: [B, S, C + 1].
        deltas: [B, S, C, 4], or [B, S, 1, 4] for all classes.
        targets: which RoIs are sampled, and their targets.
        loss: of the deltas.
        class_weights: C + 1 factors of the class loss by label, background last; None is 1 for all.
        classification: the loss of the logits; None is the cross-entropy.
        loss_weights: factors of the class loss and of the box loss.

    Returns:
        classifier: scalar, float32.
        box: scalar, float32.
    """
    valid = tf.cast(targets.samples.valid, tf.float32)
    positive = tf.cast(targets.samples.positive, tf.float32)
    count = _sample_count(valid)
    classification = classification or cross_entropy_loss(ClassLossConfig())
    classifier = classification(class_logits, targets.labels) * valid
    if class_weights is not None:
        classifier *= tf.gather(tf.constant(class_weights, tf.float32), targets.labels)
    labels = targets.labels % deltas.shape[2]  # any deltas for the background, C; the only ones if class-agnostic
    box = loss(tf.gather(deltas, labels, batch_dims=2), targets.deltas, targets.boxes) * positive
    class_weight, box_weight = loss_weights
    return class_weight * tf.reduce_sum(classifier) / count, box_weight * tf.reduce_sum(box) / count
