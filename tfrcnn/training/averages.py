"""The averaged weights of a run, put in place of the trained ones while an epoch is judged and saved.

Averaged weights of a network with batch norm need statistics that fit them. A moving average (`ema`) stays close to
the newest weights, whose running statistics it keeps. The mean over many epochs (`swa`) does not: its statistics are
the means over training batches, as Izmailov et al. (arXiv 1803.05407, section 3.2) compute them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf

from tfrcnn.training.joint import TrainingModel
from tfrcnn.training.optimizer import SGD

MAX_BATCHES = 50  # that the statistics are computed over

Batches = Callable[[], tf.data.Dataset]


@contextmanager
def averaged_weights(model: TrainingModel, sgd: SGD, batches: Batches | None = None) -> Iterator[None]:
    """Give a model its averaged weights, and afterwards the trained ones and all else as it was.

    Args:
        model: compiled; without averages it stays as it is.
        sgd: its optimizer.
        batches: returns training batches with an end, for the statistics of batch norms. None keeps the newest.
    """
    if not sgd.use_ema or int(sgd.iterations) == 0:  # averages begin with the first update
        yield
        return
    norms = [layer for layer in model.detector._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    trained = [norm for norm in norms if norm.trainable]
    before = [(variable, variable.numpy()) for variable in model.non_trainable_variables]
    sgd.swap_averages()
    try:
        if trained and batches is not None and sgd.is_averaging:
            _compute_statistics(model, trained, batches())
        yield
    finally:
        sgd.swap_averages()
        for variable, value in before:
            variable.assign(value)


def _compute_statistics(
    model: TrainingModel, norms: list[keras.layers.BatchNormalization], batches: tf.data.Dataset
) -> None:
    """Set the statistics of batch norms to their means over batches."""
    momenta = [norm.momentum for norm in norms]
    try:
        for i, batch in enumerate(batches.take(MAX_BATCHES)):
            for norm in norms:
                norm.momentum = i / (i + 1)  # the mean of i + 1 batches
            model.losses_of(batch, model(batch, training=True), training=True)
    finally:
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum
