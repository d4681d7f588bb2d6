"""Losses of the head's class logits. Each is a function of logits and labels that returns a loss per RoI.

Legend: B batch, S samples, C classes; the background is the last logit, label C. p_t is the softmax's probability of
the label, with K = C + 1 classes.

    cross-entropy       -log p_t
    label smoothing e   -(1 - e) log p_t - e / K  sum_k log p_k         (Szegedy et al., arXiv 1512.00567)
    focal               -a_t (1 - p_t)^gamma log p_t                    (Lin et al., arXiv 1708.02002, on a softmax)
    sigmoid focal       the same for each class alone, summed over the C classes; p_t is sigmoid(x) for the label's
                        class and 1 - sigmoid(x) for the others. The background's logit is not used.

`head_losses` divides the sum by the number of samples, also for the focal losses. To add a loss, write a function like
`focal_loss` and add it to `CLASS_LOSSES`. `ClassLossConfig.name` chooses it. Detection takes the softmax of the logits
as scores, or the sigmoid if the name begins with "sigmoid": a loss must train logits of that kind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import tensorflow as tf

from tfrcnn.config import ClassLossConfig
from tfrcnn.errors import InputError

# (class logits [B, S, C + 1], labels [B, S] int32 in 0..C) -> loss per RoI [B, S]
ClassLoss: TypeAlias = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def cross_entropy_loss(config: ClassLossConfig) -> ClassLoss:
    """Make the class loss of the paper: softmax cross-entropy, with `label_smoothing`."""
    smoothing = config.label_smoothing

    def loss(class_logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, class_logits)
        if not smoothing:
            return cross_entropy
        return (1 - smoothing) * cross_entropy - smoothing * tf.reduce_mean(tf.nn.log_softmax(class_logits), axis=-1)

    return loss


def focal_loss(config: ClassLossConfig) -> ClassLoss:
    """Make the focal loss on a softmax: RoIs that are classified well count less, by (1 - p_t)^gamma."""

    def loss(class_logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        is_label = tf.one_hot(labels, class_logits.shape[-1], True, False, dtype=tf.bool)
        others = tf.reduce_logsumexp(tf.where(is_label, class_logits.dtype.min, class_logits), axis=-1)
        # log(1 - p_t) from the other logits: 1 - p_t itself would round to 0, where a power has no gradient
        log_rest = others - tf.reduce_logsumexp(class_logits, axis=-1)
        cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, class_logits)
        focal = tf.exp(config.gamma * log_rest) * cross_entropy
        if config.alpha is None:
            return focal
        return tf.where(labels == class_logits.shape[-1] - 1, 1 - config.alpha, config.alpha) * focal

    return loss


def sigmoid_focal_loss(config: ClassLossConfig) -> ClassLoss:
    """Make the focal loss of a sigmoid per class; RoIs of the background are negatives of all classes."""

    def loss(class_logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        logits = class_logits[..., :-1]
        positive = tf.one_hot(labels, logits.shape[-1])  # the background's label is beyond: zeros
        toward = tf.where(positive > 0, logits, -logits)  # p_t = sigmoid(toward)
        focal = tf.exp(-config.gamma * tf.nn.softplus(toward)) * tf.nn.softplus(-toward)
        if config.alpha is not None:
            focal *= tf.where(positive > 0, config.alpha, 1 - config.alpha)
        return tf.reduce_sum(focal, axis=-1)

    return loss


# Each entry makes a loss from its configuration.
CLASS_LOSSES: dict[str, Callable[[ClassLossConfig], ClassLoss]] = {
    "cross_entropy": cross_entropy_loss,
    "focal": focal_loss,
    "sigmoid_focal": sigmoid_focal_loss,
}


def class_loss(config: ClassLossConfig) -> ClassLoss:
    """Make the class loss that a configuration names.

    Raises:
        InputError: `CLASS_LOSSES` has no loss of that name.

    Example:
        loss = class_loss(tfrcnn.ClassLossConfig("focal"))
        loss(tf.zeros([2, 512, 21]), tf.zeros([2, 512], tf.int32)).shape  # (2, 512)
    """
    if config.name not in CLASS_LOSSES:
        raise InputError(f"ClassLossConfig.name must be one of {', '.join(CLASS_LOSSES)}, found {config.name!r}")
    return CLASS_LOSSES[config.name](config)
