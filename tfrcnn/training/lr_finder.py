"""The learning-rate range test of Smith (arXiv 1506.01186, section 3.3): the loss while the rate rises.

Legend: T updates, r_t rate of update t, r_t = low (high / low)^(t / (T - 1)).

The suggestion is the rate at which the smoothed loss falls fastest over log r: lower rates learn slower, and higher
ones come close to the rate at which training diverges.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrcnn.config import TrainingConfig
from tfrcnn.config_base import Config
from tfrcnn.data.augment.common import Augmentation
from tfrcnn.data.example import Dataset
from tfrcnn.data.image_source import image_errors
from tfrcnn.data.pipeline import training_data
from tfrcnn.drawing.figures import plot_learning_rates
from tfrcnn.errors import InputError
from tfrcnn.files import check_local, check_path, write_json
from tfrcnn.models import FasterRCNN
from tfrcnn.models.transfer import renew_statistics
from tfrcnn.training.addons import announce_successor
from tfrcnn.training.checks import check_arguments
from tfrcnn.training.class_weights import label_weights
from tfrcnn.training.joint import TrainingModel
from tfrcnn.training.optimizer import REFERENCE_BATCH
from tfrcnn.training.process import kept_generators
from tfrcnn.training.run_optimizer import make_optimizer
from tfrcnn.training.schemes import JOINT, SCHEMES, freeze
from tfrcnn.training.state import seed_dropout

SMOOTHING = 0.9  # weight of the losses before in the smoothed loss
DIVERGED = 4.0  # times the lowest smoothed loss, at which the sweep ends
MIN_FALL = 0.05  # share of the first loss that must be lost for a suggestion
MIN_STEPS = 10


@dataclass(frozen=True)
class LearningRateSweep(Config):
    """The result of `find_learning_rate`.

    Attributes:
        rates: per update, as `TrainingConfig.learning_rate`: for 16 images.
        losses: per update, smoothed.
        suggestion: the rate at which the loss falls fastest; None if it does not fall.

    Example:
        sweep = recipe.find_learning_rate()
        sweep.save("runs/cells-lr-finder")
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float | None

    def save(self, folder: str | Path) -> None:
        """Write `lr_finder.json` and the picture `lr_finder.png` to a folder, which is made if there is none."""
        folder = check_local(check_path(folder, "folder"))
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "lr_finder.json", self.to_dict())
        plot_learning_rates(self.rates, self.losses, self.suggestion, folder / "lr_finder.png")


class _Sweep(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, low: float, high: float, steps: int) -> None:
        self.low, self.ratio, self.last = low, high / low, steps - 1

    def __call__(self, step: Any) -> tf.Tensor:
        return self.low * self.ratio ** (tf.cast(step, tf.float32) / self.last)


@kept_generators()
def find_learning_rate(
    detector: FasterRCNN,
    train_data: Dataset,
    training: TrainingConfig,
    steps: int = 100,
    low: float = 1e-5,
    high: float = 1.0,
    augment: Augmentation | None = None,
) -> LearningRateSweep:
    """Train for a few updates while the learning rate rises, and suggest a rate.

    The weights of the detector are restored afterwards. The scheme "alternating" is measured in joint training.

    Args:
        detector: as the run will start from it.
        train_data: what to learn from.
        training: of the run; its learning rate is not used.
        steps: updates, at least 10; the sweep ends earlier when the loss diverges.
        low: first rate, for 16 images.
        high: last rate, for 16 images.
        augment: as the run will have it, see `tfrcnn.training_data`.

    Returns:
        Rates, losses and the suggestion.

    Raises:
        InputError: as `tfrcnn.train`; steps or rates are out of range.

    Example:
        sweep = tfrcnn.find_learning_rate(detector, data, preset.training)
        training = preset.training.replace(learning_rate=sweep.suggestion)
    """
    are_numbers = isinstance(steps, Integral) and isinstance(low, Real) and isinstance(high, Real)
    if not are_numbers or steps < MIN_STEPS or not 0 < low < high < math.inf:
        raise InputError(
            f"find_learning_rate: expected steps >= {MIN_STEPS} and 0 < low < high, found {steps=} {low=} {high=}"
        )
    training = training.replace(ema=None, swa=None, patience=None)
    check_arguments(detector, train_data, None, training)
    announce_successor(training.optimizer)
    phase = JOINT if training.scheme == "alternating" else SCHEMES[training.scheme][0]
    freeze(detector, training, phase)
    weights = detector.get_weights()
    images = training.batch_size * training.accumulation_steps
    optimizer = make_optimizer(training, steps)
    optimizer.learning_rate = _Sweep(low * images / REFERENCE_BATCH, high * images / REFERENCE_BATCH, steps)
    model = TrainingModel(detector, training.seed, phase.losses)
    model.compile(optimizer=optimizer, jit_compile=False)
    seed_dropout(model, training.seed, phase.number)
    try:
        losses = _losses(model, train_data, training, steps, augment)
    finally:
        detector.set_weights(weights)
        renew_statistics(detector)
    rates = [low * (high / low) ** (i / (steps - 1)) for i in range(len(losses))]
    return LearningRateSweep(tuple(rates), tuple(losses), suggested_rate(rates, losses))


def suggested_rate(rates: list[float], losses: list[float]) -> float | None:
    """Return the rate at which smoothed losses fall fastest over the log of the rate, before their minimum."""
    lowest = int(np.argmin(losses))
    if lowest < 2 or losses[lowest] > (1.0 - MIN_FALL) * losses[0]:
        return None
    slopes = np.gradient(losses[: lowest + 1], np.log(rates[: lowest + 1]))
    return rates[int(np.argmin(slopes))]


@image_errors()
def _losses(
    model: TrainingModel, dataset: Dataset, training: TrainingConfig, steps: int, augment: Augmentation | None
) -> list[float]:
    """Train, and return the smoothed loss of every update until it diverges."""
    batches = iter(training_data(dataset, model.detector.config.image, training, augment=augment).batches())
    class_weight = label_weights(training, dataset)
    smoothed: list[float] = []
    total, weight = 0.0, 0.0
    for _ in range(steps):
        values = []
        for _ in range(training.accumulation_steps):
            model.reset_metrics()
            logs = model.train_on_batch(next(batches), class_weight=class_weight, return_dict=True)
            values.append(float(logs["loss"]))
        loss = float(np.mean(values))
        if not math.isfinite(loss):
            break
        total, weight = SMOOTHING * total + loss, SMOOTHING * weight + 1.0
        smoothed.append(total / weight)
        if smoothed[-1] > DIVERGED * min(smoothed):
            break
    if not smoothed:
        raise InputError("find_learning_rate: the loss of the first step is not a finite number: pass a lower low")
    return smoothed
