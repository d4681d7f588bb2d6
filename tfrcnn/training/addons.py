"""Optimizers of tensorflow-addons by name.

tensorflow-addons imports next to TensorFlow 2.15 only. Next to later releases a name stands for Keras' class that
replaced it, or the error says what did.
"""

from __future__ import annotations

import importlib
import inspect
import warnings
from functools import cache
from typing import Any

import keras
import tensorflow as tf

from tfrcnn.errors import InputError

PREFIX = "tfa:"
SUCCESSORS = {"AdamW": "AdamW", "LAMB": "Lamb", "LazyAdam": "Adam"}  # classes of Keras
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


def addons_class(name: str) -> Any:
    """Return the class of a name such as "tfa:LAMB", or the class of Keras that replaced it.

    Raises:
        InputError: the installed libraries have neither; the message says what to set instead.
    """
    kind = name.removeprefix(PREFIX)
    if addons := _addons():
        value = getattr(addons.optimizers, kind, None)
        if inspect.isclass(value) and "learning_rate" in inspect.signature(value).parameters:
            return value
        raise InputError(
            f"TrainingConfig.optimizer: expected an optimizer of tensorflow_addons.optimizers with a learning rate, "
            f"found {name!r}. Pass an optimizer that wraps another, for example Lookahead, to TrainingModel.compile"
        )
    if successor := getattr(keras.optimizers, SUCCESSORS.get(kind, ""), None):
        return successor
    advice = f"set {REPLACEMENTS[kind]} instead" if kind in REPLACEMENTS else "nothing replaced it in Keras"
    if tf.__version__.startswith("2.15."):
        advice = 'pip install "tfrcnn[addons]"'
    raise InputError(
        f"TrainingConfig.optimizer: {name} needs tensorflow-addons, which imports next to TensorFlow 2.15 only and "
        f"was not found next to {tf.__version__}: {advice}"
    )


def announce_successor(name: str) -> None:
    """Print which class of Keras trains in place of a class of tensorflow-addons; print nothing for other names."""
    if name.startswith(PREFIX) and not _addons():
        successor = addons_class(name).__name__
        print(
            f"{name}: tensorflow-addons was not found next to TensorFlow {tf.__version__}; training with its successor "
            f"keras.optimizers.{successor} (--optimizer {successor.lower()})",
            flush=True,
        )


@cache
def _addons() -> Any:
    """Return tensorflow-addons, or None where it is missing or does not import."""
    with warnings.catch_warnings(action="ignore"):  # that it has reached its end of life
        try:
            return importlib.import_module("tensorflow_addons")
        except (ImportError, AttributeError):
            return None
