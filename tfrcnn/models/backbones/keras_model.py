"""Any `keras.Model` as a backbone."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfrcnn.compat import calls_of
from tfrcnn.config import BackboneConfig
from tfrcnn.errors import InputError
from tfrcnn.models.backbones.loading import finalize_normalization
from tfrcnn.models.backbones.spec import BackboneSpec

STRIDES = (4, 8, 16, 32)


def model_spec(model: keras.Model) -> BackboneSpec:
    """Describe a functional or sequential model. Each detector gets a copy of it with its weights.

    The copy takes images of any size, also if the model takes one size only. It keeps the model's dtype policies.

    Raises:
        InputError: The model is of another kind, or does not take images [B, H, W, 3].
    """
    try:
        shapes = [tuple(tensor.shape) for tensor in model.inputs]
    except (AttributeError, TypeError, ValueError) as error:  # a subclassed model has no inputs
        raise InputError(f"backbone must be a functional keras.Model or a BackboneSpec, found {model!r}") from error
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][-1] != 3:
        raise InputError(f"backbone must take images [B, H, W, 3], found a model that takes {shapes}")
    taps = find_taps(model)

    def build(config: BackboneConfig) -> keras.Model:
        body = tapped(model, config.taps or taps, config.name)
        copy = keras.models.clone_model(body, input_tensors=keras.Input((None, None, 3), name="images"))
        copy.set_weights(body.get_weights())
        finalize_normalization(copy)
        return copy

    return BackboneSpec(build, taps, pretrained=True)


def tapped(model: keras.Model, taps: tuple[str, ...], name: str) -> keras.Model:
    """Cut a model down to what computes the outputs of some of its layers.

    Args:
        model: The model.
        taps: The names of the layers.
        name: The backbone's name, for errors.

    Raises:
        InputError: There are no taps, or the model has no layer of that name.
    """
    if not taps:
        raise InputError(
            f"backbone {name!r} has no feature maps at strides 4, 8, 16 or 32 (unpadded convolutions?): "
            "name the layers to take them from in BackboneConfig.taps, or choose another"
        )
    outputs = _layer_outputs(model)
    for tap in taps:
        if tap not in outputs:
            raise InputError(f"backbone {name!r} has no layer {tap!r} to take a feature map from")
    return keras.Model(model.inputs[0], [outputs[tap] for tap in taps])


def find_taps(model: keras.Model) -> tuple[str, ...]:
    """Find the last layer at each of the strides 4, 8, 16 and 32. A stride that no layer has is left out."""
    rows, columns = model.inputs[0].shape[1] or 256, model.inputs[0].shape[2] or 256
    outputs = _layer_outputs(model)
    names = [layer.name for layer in model.layers if layer.name in outputs]
    maps = keras.Model(model.inputs[0], [outputs[name] for name in names])(keras.Input((rows, columns, 3)))
    last: dict[int, str] = {}
    for name, feature in zip(names, tf.nest.flatten(maps)):  # one map may come without a list
        if len(feature.shape) == 4 and feature.shape[1] and rows % feature.shape[1] == 0:
            last[rows // feature.shape[1]] = name
    return tuple(last[stride] for stride in STRIDES if stride in last)


def _layer_outputs(model: keras.Model) -> dict[str, Any]:
    """Return the output of each layer by its name; of a layer that is called several times, the first output.

    `layer.output` would be the wrong tensor for a model within the model: the one that it was built with.
    """
    return {layer.name: outputs[0] for layer, _, outputs in calls_of(keras.Model(model.inputs, model.outputs))}
