"""Arguments of Keras' methods that do not fit a detector: each is refused at once, with what to do instead."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from tfrcnn.data.example import Dataset
from tfrcnn.data.pipeline import TrainingData
from tfrcnn.errors import InputError

_MEASURE = "the losses are reported; measure detections with tfrcnn.train or tfrcnn.evaluate"
INSTEAD = {
    "loss": "the detector has its four losses; RPNConfig.box_loss and HeadConfig.box_loss choose their kind",
    "loss_weights": "set box_loss_weight of RPNConfig and HeadConfig, and HeadConfig.class_loss_weight",
    "metrics": _MEASURE,
    "weighted_metrics": _MEASURE,
    "sample_weight": "repeat the images that should count more in the data set, or pass class_weight",
    "y": "the batches of tfrcnn.training_data hold boxes and labels",
}
# The entries of a batch: their dtypes and shape. The network computes boxes in float32.
BATCH = {
    "images": (("float32",), "[B, N_h, N_w, 3]"),
    "image_sizes": (("float32",), "[B, 2]"),
    "boxes": (("float32",), "[B, M, 4]"),
    "labels": (("int32", "int64"), "[B, M]"),
}
_STEPS = (("x", "steps_per_epoch"), ("x", "steps"), ("validation_data", "validation_steps"))  # of data without an end


def check_arguments(method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Check the arguments of a call of `fit` or another method of Keras, and return them by name.

    Raises:
        InputError: one does not fit a detector, or the data have no end and no number of steps is given.
    """
    signature = inspect.signature(method)
    values = dict(signature.bind(*args, **kwargs).arguments)
    values |= values.pop("kwargs", {})
    check_values(values)
    for name in ("x", "validation_data"):
        if name in signature.parameters and (name == "x" or values.get(name) is not None):
            values[name] = _batches(values.get(name), f"TrainingModel.{method.__name__}: {name}")
    for data, steps in _STEPS:
        if steps in signature.parameters and values.get(steps) is None and _is_endless(values.get(data)):
            raise InputError(
                f"TrainingModel.{method.__name__}: {data} has no end, so pass {steps}, for example "
                f"{steps}=data.steps_per_epoch of tfrcnn.training_data"
            )
    return values


def check_batch(batch: Any) -> None:
    """Check that a batch is as `tfrcnn.training_data` makes it.

    Raises:
        InputError: an entry is missing, or has another shape or dtype.
    """
    for name, (kinds, shape) in BATCH.items():
        expected = "TrainingModel: expected batches as tfrcnn.training_data makes them"
        if not isinstance(batch, Mapping) or name not in batch:
            raise InputError(f"{expected}, found no {name!r}")
        value = batch[name]
        kind, actual = tf.as_dtype(value.dtype).name, tf.TensorShape(value.shape)
        sides = [int(side) if side.isdigit() else None for side in shape.strip("[]").split(", ")]
        if kind not in kinds or not actual.is_compatible_with(sides):
            raise InputError(f"{expected}, with {name} {kinds[0]} {shape}, found {kind} {actual}")


def weights_of(class_weight: Mapping[int, float] | None, classes: int) -> list[float] | None:
    """Return a factor for each of C classes and the background.

    Args:
        class_weight: factors by label, 0..C-1 or C for the background; labels that it lacks have 1.
        classes: C.

    Raises:
        InputError: a label or a factor is wrong.
    """
    if class_weight is None:
        return None
    weights = [1.0] * (classes + 1)
    for label, weight in class_weight.items():
        if label not in range(classes + 1) or not 0 <= weight < math.inf:
            raise InputError(
                f"class_weight must map labels 0..{classes} ({classes} is background) to numbers of at least 0, found "
                f"{{{label!r}: {weight!r}}}"
            )
        weights[label] = float(weight)
    return weights


def check_values(values: Mapping[str, Any]) -> None:
    """Check arguments by name.

    Raises:
        InputError: one does not fit a detector.
    """
    name = next((name for name in INSTEAD if values.get(name) is not None), None)
    if name:
        raise InputError(f"TrainingModel takes no {name}, leave it out: {INSTEAD[name]}")


def _batches(data: Any, name: str) -> Any:
    """Return data as Keras takes them: a generator of batches becomes one of tuples.

    Raises:
        InputError: they are no batches.
    """
    if data is None or isinstance(data, str | os.PathLike | Dataset | TrainingData) or inspect.isroutine(data):
        expected = "expected batches, for example data.batches() of data = tfrcnn.training_data(...)"
        raise InputError(f"{name}: {expected}, found {type(data).__name__}")
    return ((batch,) if isinstance(batch, Mapping) else batch for batch in data) if inspect.isgenerator(data) else data


def _is_endless(data: Any) -> bool:
    return isinstance(data, tf.data.Dataset) and int(data.cardinality()) == tf.data.INFINITE_CARDINALITY
