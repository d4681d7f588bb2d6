"""Optimizers by name, as `TrainingConfig.optimizer` has them.

Keras' optimizers have short names. `tfa:CLASS` is a class of tensorflow-addons, which imports next to TensorFlow 2.15
only. Next to later releases the name stands for Keras' class that replaced it, or the error says what did.
"""

from __future__ import annotations

import importlib
import inspect
import warnings
from functools import cache
from typing import Any

import keras
import tensorflow as tf

from tfrcnn import compat
from tfrcnn.config import TrainingConfig
from tfrcnn.errors import InputError

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
ADDONS = "tfa:"
SUCCESSORS = {"AdamW": "adamw", "LAMB": "lamb", "LazyAdam": "adam"}
REPLACEMENTS = {
    "AdaBelief": "training.optimizer=adamw",
    "Lookahead": "training.ema",
    "MovingAverage": "training.ema",
    "NovoGrad": "training.optimizer=lamb",
    "RectifiedAdam": "training.optimizer=adamw with training.warmup_steps",
    "SGDW": "training.optimizer=sgd with training.weight_decay",
    "SWA": "training.swa",
    "Yogi": "training.optimizer=adam",
}
# The learning rate of a preset is for SGD, and other optimizers take this multiple of it. mmdetection trains Faster
# R-CNN by SGD at 0.02 and by AdamW at 1e-4. Lion takes a third to a tenth of AdamW's (arXiv 2302.06675). LAMB and
# Adafactor scale an update by the norm of its weights, and take rates near 1e-3.
_MULTIPLES = {"sgd": 1.0, "SGDW": 1.0, "lion": 1 / 1000, "lamb": 1 / 20, "adafactor": 1 / 20}
_USUAL_MULTIPLE = 1 / 200


def usual_rate(name: str, rate: float) -> float:
    """Return the learning rate of an optimizer, from the rate of SGD."""
    kind = name.removeprefix(ADDONS)
    return rate * _MULTIPLES.get(SUCCESSORS.get(kind, kind), _USUAL_MULTIPLE)


def optimizer_class(name: str) -> Any:
    """Return the class that a name stands for, or the class of Keras that replaced it.

    Raises:
        InputError: the installed libraries have neither; the message says what to set instead.
    """
    if name.startswith(ADDONS):
        return _class_of_addons(name.removeprefix(ADDONS))
    if name not in KERAS:
        expected = f"one of {', '.join(KERAS)}, or {ADDONS}CLASS of tensorflow-addons"
        raise InputError(f"TrainingConfig.optimizer must be {expected}, found {name!r}")
    kind = getattr(keras.optimizers, KERAS[name], None)
    if kind is None:
        raise InputError(f"TrainingConfig.optimizer: {name} needs Keras 3, found {keras.__version__}")
    return kind


def announce_successor(name: str) -> None:
    """Print which class of Keras trains in place of a class of tensorflow-addons; print nothing for other names."""
    kind = optimizer_class(name)
    if name.startswith(ADDONS) and _addons() is None:
        print(
            f"{name}: tensorflow-addons was not found next to TensorFlow {tf.__version__}; training with its successor "
            f"keras.optimizers.{kind.__name__} (--optimizer {SUCCESSORS[name.removeprefix(ADDONS)]})",
            flush=True,
        )


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


def _class_of_addons(kind: str) -> Any:
    addons, name = _addons(), f"{ADDONS}{kind}"
    if addons is None:
        if hasattr(keras.optimizers, KERAS.get(SUCCESSORS.get(kind, ""), "?")):
            return optimizer_class(SUCCESSORS[kind])
        advice = f"set {REPLACEMENTS[kind]} instead" if kind in REPLACEMENTS else "nothing replaced it in Keras"
        if tf.__version__.startswith("2.15."):
            advice = 'pip install "tfrcnn[addons]"'
        raise InputError(
            f"TrainingConfig.optimizer: {name} needs tensorflow-addons, which imports next to TensorFlow 2.15 only and "
            f"was not found next to {tf.__version__}: {advice}"
        )
    value = getattr(addons.optimizers, kind, None)
    if not inspect.isclass(value) or "learning_rate" not in inspect.signature(value).parameters:
        raise InputError(
            f"TrainingConfig.optimizer: expected an optimizer of tensorflow_addons.optimizers with a learning rate, "
            f"found {name!r}. Pass an optimizer that wraps another, for example Lookahead, to TrainingModel.compile"
        )
    return value


@cache
def _addons() -> Any:
    """Return tensorflow-addons, or None where it is missing or does not import."""
    with warnings.catch_warnings(action="ignore"):  # that it has reached its end of life
        try:
            return importlib.import_module("tensorflow_addons")
        except (ImportError, AttributeError):
            return None
