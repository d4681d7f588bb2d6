"""Find torch's weights of a Keras layer, convert their layout, and transfer them without leaving any out.

C channels in, O out, k kernel size. `state` is a torch state dict as numpy arrays, with keys such as
"layer1.0.bn1.running_mean".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import keras
import numpy as np

from tfrcnn.compat import path_of
from tfrcnn.errors import InputError

Converter = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Assignment:
    """One weight to set: variable <- convert(state[key]).

    Attributes:
        variable: The variable to set.
        key: The weight's key in torch's state dict.
        convert: Converts torch's layout to Keras'.
    """

    variable: keras.Variable
    key: str
    convert: Converter


def unchanged(array: np.ndarray) -> np.ndarray:
    """Return the array itself: biases, and all weights of a batch norm."""
    return array


def conv_kernel(array: np.ndarray) -> np.ndarray:
    """Convert [O, C, k, k] -> [k, k, C, O]."""
    return array.transpose(2, 3, 1, 0)


def depthwise_kernel(array: np.ndarray) -> np.ndarray:
    """Convert [C, 1, k, k] -> [k, k, C, 1]."""
    return array.transpose(2, 3, 0, 1)


def dense_kernel(array: np.ndarray) -> np.ndarray:
    """Convert [O, C] -> [C, O]."""
    return array.transpose(1, 0)


def flattened_kernel(rows: int, columns: int) -> Converter:
    """Return the conversion [O, C * rows * columns] -> [rows * columns * C, O].

    It is for a dense layer behind a feature map, which torch flattens channels first.
    """

    def convert(array: np.ndarray) -> np.ndarray:
        maps = array.reshape(len(array), -1, rows, columns)
        return maps.transpose(2, 3, 1, 0).reshape(-1, len(array))

    return convert


def outputs(order: np.ndarray, count: int, convert: Converter = unchanged) -> Converter:
    """Return a conversion that reorders torch's outputs, then applies `convert`.

    Args:
        order: Output i here is torch's output order[i].
        count: Number of outputs that torch's layer has.
        convert: Conversion of the reordered array.
    """

    def reordered(array: np.ndarray) -> np.ndarray:
        if len(array) != count:
            raise ValueError(f"{count} outputs expected, found {len(array)}")
        return convert(array[order])

    return reordered


KERNELS: dict[type, Converter] = {
    keras.layers.Conv2D: conv_kernel,
    keras.layers.DepthwiseConv2D: depthwise_kernel,
    keras.layers.Dense: dense_kernel,
}


def layer_assignments(layer: keras.layers.Layer, module: str, kernel: Converter | None = None) -> list[Assignment]:
    """Return an assignment for each weight of a layer, from the torch module of the same kind.

    Args:
        layer: A built layer.
        module: The module's name in the state dict, for example "backbone.body.layer1.0.conv1".
        kernel: Conversion of the kernel; None is the usual one of the layer's class.

    Raises:
        TypeError: The layer has weights, but no known counterpart in torch.
    """
    if isinstance(layer, keras.layers.BatchNormalization):
        names = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
        return [Assignment(getattr(layer, name), f"{module}.{key}", unchanged) for name, key in names.items()]
    if type(layer) in KERNELS:
        result = [Assignment(layer.weights[0], f"{module}.weight", kernel or KERNELS[type(layer)])]
        return [*result, *([Assignment(layer.bias, f"{module}.bias", unchanged)] if layer.use_bias else [])]
    if layer.weights:
        raise TypeError(f"torch has no known counterpart for the weights of {layer.name}, a {type(layer).__name__}")
    return []


def body_assignments(model: keras.Model, module: Callable[[str], str]) -> list[Assignment]:
    """Return an assignment for each weight of a backbone with torchvision's names (`resnet`, `mobilenet_v3_large`).

    Args:
        model: The backbone.
        module: `classifier_module` or `detector_module`: translates a layer's name to the name of torch's module.
    """
    return [each for layer in model.layers for each in layer_assignments(layer, module(layer.name))]


def classifier_module(layer_name: str) -> str:
    """Translate for torchvision's classifiers: `layer1_0_conv1` -> "layer1.0.conv1"."""
    return layer_name.replace("_", ".")


def detector_module(layer_name: str) -> str:
    """Translate for torchvision's detectors: "backbone.body.layer1.0.conv1"; "backbone.body.0.0" for `features_0_0`."""
    return f"backbone.body.{classifier_module(layer_name).removeprefix('features.')}"


def is_bookkeeping(key: str) -> bool:
    """Return whether a key is a batch norm's count of training steps, which is not a weight."""
    return key.endswith(".num_batches_tracked")


def assign(
    variables: Iterable[keras.Variable], assignments: Iterable[Assignment], state: Mapping[str, np.ndarray]
) -> None:
    """Set each of `variables` once, and use each key of `state` once. If this is not possible, change nothing.

    Args:
        variables: All variables that must be set, for example `model.weights`.
        assignments: An assignment for each of them.
        state: The state dict.

    Raises:
        ValueError: The assignments leave out a variable, set it twice, or use a key twice. They are wrong.
        InputError: The state lacks a key, has a key that is not used, or an array of another shape. It belongs to
            another network.
    """
    assignments = list(assignments)
    times = Counter(id(each.variable) for each in assignments)
    wrong = [path_of(variable) for variable in variables if times[id(variable)] != 1]
    wrong += [key for key, count in Counter(each.key for each in assignments).items() if count > 1]
    if wrong:
        raise ValueError(f"expected each weight and each key to be assigned exactly once, not so: {wrong}")
    used = {each.key for each in assignments}
    missing = sorted(used - set(state))
    unused = sorted(key for key in state if key not in used and not is_bookkeeping(key))
    if missing or unused:
        raise InputError(f"weights of another network: {_list('missing', missing)}, {_list('not used', unused)}")
    values = [_converted(each, state[each.key]) for each in assignments]
    for each, value in zip(assignments, values):
        each.variable.assign(value)


def _converted(assignment: Assignment, array: np.ndarray) -> np.ndarray:
    expected = tuple(assignment.variable.shape)
    try:
        value = assignment.convert(array)
    except ValueError:  # the array has another rank
        value = None
    if value is None or value.shape != expected:
        raise InputError(
            f"{assignment.key} of shape {array.shape} does not fit {path_of(assignment.variable)} {expected}"
        )
    return value


def _list(what: str, keys: list[str]) -> str:
    return f"{len(keys)} {what}" + (f" ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})" if keys else "")
