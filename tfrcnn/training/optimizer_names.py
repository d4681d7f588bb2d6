"""Optimizers by name, as `TrainingConfig.optimizer` has them.

Keras' optimizers have short names. `tfa:CLASS` is a class of tensorflow-addons, see `addons`.
"""

from __future__ import annotations

import inspect
from typing import Any

import keras
import tensorflow as tf

from tfrcnn import compat
from tfrcnn.config import TrainingConfig
from tfrcnn.errors import InputError
from tfrcnn.training.addons import PREFIX, SUCCESSORS, addons_class

KERAS = {
    "sgd": "SGD",
    "adam": "Adam",
    "adamw": "AdamW",
    "nadam": "Nadam",
    "rmsprop": "RMSprop",
    "adafactor": "Adafactor",
    "lion": "Lion",
    "lamb": "Lamb",  # since Keras 3
}
# The learning rate of a preset is for SGD, and other optimizers take this multiple of it. mmdetection trains Faster
# R-CNN by SGD at 0.02 and by AdamW at 1e-4. Lion takes a third to a tenth of AdamW's (arXiv 2302.06675). LAMB and
# Adafactor scale an update by the norm of its weights, and take rates near 1e-3.
_MULTIPLES = {"sgd": 1.0, "sgdw": 1.0, "lion": 1 / 1000, "lamb": 1 / 20, "adafactor": 1 / 20}
_USUAL_MULTIPLE = 1 / 200


def usual_rate(name: str, rate: float) -> float:
    """Return the learning rate of an optimizer, from the rate of SGD."""
    kind = name.removeprefix(PREFIX)
    return rate * _MULTIPLES.get(SUCCESSORS.get(kind, kind).lower(), _USUAL_MULTIPLE)


def optimizer_class(name: str) -> Any:
    """Return the class that a name stands for, or the class of Keras that replaced it.

    Raises:
        InputError: the installed libraries have neither; the message says what to set instead.
    """
    if name.startswith(PREFIX):
        return addons_class(name)
    if name not in KERAS:
        expected = f"one of {', '.join(KERAS)}, or {PREFIX}CLASS of tensorflow-addons"
        raise InputError(f"TrainingConfig.optimizer must be {expected}, found {name!r}")
    kind = getattr(keras.optimizers, KERAS[name], None)
    if kind is None:
        raise InputError(f"TrainingConfig.optimizer: {name} needs Keras 3, found {keras.__version__}")
    return kind


def option_names(kind: Any) -> list[str]:
    """List the options of a class of optimizers that no other field of a configuration sets."""
    sgd, adam = (inspect.signature(each).parameters for each in (keras.optimizers.SGD, keras.optimizers.Adam))
    fixed = {"momentum"} if issubclass(kind, keras.optimizers.SGD) else set()
    return [name for name in inspect.signature(kind).parameters if name not in sgd.keys() & adam.keys() | fixed]


def check_optimizer(training: TrainingConfig) -> None:
    """Check that the optimizer of a configuration is there, has its options, and suits the strategy.

    Raises:
        InputError: one is not.
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if training.optimizer != "sgd" and replicas > 1 and compat.SUMS_BEFORE_CLIPPING:
        raise InputError(
            f"TrainingConfig.optimizer must be sgd under a strategy of {replicas} replicas with Keras 2, found "
            f"{training.optimizer!r}"
        )
    kind, options = optimizer_class(training.optimizer), training.optimizer_options or {}
    parameters, names = inspect.signature(kind).parameters, option_names(kind)
    where = f"TrainingConfig.optimizer_options of {training.optimizer}"
    for name, value in options.items():
        if name not in names:
            raise InputError(f"{where} must be some of {', '.join(names)}, found {name!r}")
        default = parameters[name].default
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if isinstance(default, bool) and not isinstance(value, bool):
            raise InputError(f"{where}: {name} must be true or false, found {value!r}")
        if isinstance(default, int | float) and not isinstance(default, bool) and not is_number:
            raise InputError(f"{where}: {name} must be a number, found {value!r}")
    if training.weight_decay and "weight_decay" not in parameters:
        raise InputError(f"TrainingConfig.weight_decay must be 0 for {training.optimizer}, which has no weight decay")
