"""Optimizers of tensorflow-addons by name: its classes next to TensorFlow 2.15, elsewhere what replaced them."""

from __future__ import annotations

import importlib
import inspect
import warnings
from contextlib import suppress
from typing import Any

import keras

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
        optimizer = getattr(addons.optimizers, kind, None)
    else:
        optimizer = getattr(keras.optimizers, SUCCESSORS.get(kind, ""), None)
    if inspect.isclass(optimizer) and "learning_rate" in inspect.signature(optimizer).parameters:
        return optimizer
    raise InputError(
        "TrainingConfig.optimizer: expected a class of tensorflow-addons (TensorFlow 2.15 only: pip install "
        f'"tfrcnn[addons]") with a learning rate, or one that Keras has too, found {name!r}: set '
        f"{REPLACEMENTS.get(kind, 'another')} instead. Pass one that wraps another to TrainingModel.compile"
    )


def announce_successor(name: str) -> None:
    """Print which class of Keras trains in place of a class of tensorflow-addons; print nothing for other names."""
    if name.startswith(PREFIX) and not _addons():
        successor = addons_class(name).__name__.lower()
        print(f"{name}: training with its successor in Keras, --optimizer {successor}", flush=True)


def _addons() -> Any:
    """Return tensorflow-addons, or None where it is missing or does not import."""
    # it warns that it has reached its end of life
    with warnings.catch_warnings(action="ignore"), suppress(ImportError, AttributeError):
        return importlib.import_module("tensorflow_addons")
    return None
