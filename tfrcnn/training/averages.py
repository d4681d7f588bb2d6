"""The averaged weights of a run, put in place of the trained ones while an epoch is judged and saved.

Averaged weights of a network with batch norm need statistics that fit them. A moving average (`ema`) stays close to
the newest weights, whose running statistics it keeps. The mean over many epochs (`swa`) does not: its statistics are
the means over training batches, as Izmailov et al. (arXiv 1803.05407, section 3.2) compute them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from tfrcnn.training.joint import TrainingModel
from tfrcnn.training.optimizer import SGD

MAX_BATCHES = 50  # that the statistics are computed over

Batches = Callable[[], tf.data.Dataset]


class Statistics:
    """Computes the statistics of batch norms over training batches, by a step that is traced once.

    Example:
        statistics = Statistics(lambda: data.batches().take(data.steps_per_epoch))
        with averaged_weights(model, sgd, statistics):
            measure(model)
    """

    def __init__(self, batches: Batches) -> None:
        """
        Args:
            batches: returns training batches with an end.
        """
        self.batches = batches
        self._step: Callable[..., None] | None = None

    def compute(self, model: TrainingModel, norms: list[keras.layers.BatchNormalization]) -> None:
        """Set the statistics of batch norms to their means over batches.

        Args:
            model: the same in each call.
            norms: its batch norms, the same in each call.
        """
        batches = self.batches().take(MAX_BATCHES)
        self._step = self._step or _make_step(model, norms, batches.element_spec)
        for i, batch in enumerate(batches):
            self._step(batch, tf.constant(i / (i + 1), tf.float32))  # the mean of i + 1 batches


@contextmanager
def averaged_weights(model: TrainingModel, sgd: SGD, statistics: Statistics | None = None) -> Iterator[None]:
    """Give a model its averaged weights, and afterwards the trained ones and all else as it was.

    Args:
        model: compiled; without averages it stays as it is.
        sgd: its optimizer.
        statistics: for the batch norms that are trained; None keeps the newest.
    """
    if not sgd.use_ema or int(sgd.iterations.numpy()) == 0:  # averages begin with the first update
        yield
        return
    norms = [layer for layer in model.detector._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    trained = [norm for norm in norms if norm.trainable]
    before = [
        (variable, variable.numpy()) for variable in (*model.non_trainable_variables, *model.foreground.variables)
    ]
    sgd.swap_averages()
    try:
        if trained and statistics is not None and sgd.is_averaging:
            statistics.compute(model, trained)
        yield
    finally:
        sgd.swap_averages()
        for variable, value in before:
            variable.assign(value)


def _make_step(model: TrainingModel, norms: list[keras.layers.BatchNormalization], batch: Any) -> Callable[..., None]:
    """Make a function of a batch and a momentum that runs a model with this momentum in its batch norms."""

    def step(batch: dict[str, tf.Tensor], momentum: tf.Tensor) -> None:
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = momentum
        try:
            model.losses_of(batch, model(batch, training=True), training=True)
        finally:
            for norm, value in zip(norms, momenta):
                norm.momentum = value

    traced: Callable[..., None] = tf.function(step, [batch, tf.TensorSpec([], tf.float32)], autograph=False)
    return traced
