"""Backbones: networks that compute the feature maps of an image.

To add one, write a file with a `BackboneSpec`, as tiny.py has, and add its line to `BACKBONES`. A network outside the
library is registered with `register_backbone`, or passed to `tfrcnn.build_detector(config, backbone=...)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrcnn.config import BackboneConfig, ImageConfig
from tfrcnn.errors import InputError
from tfrcnn.files import check_path
from tfrcnn.models.backbones import applications, mobilenet_v3, resnet, tiny, vgg16, zf
from tfrcnn.models.backbones.folding import FoldedModel
from tfrcnn.models.backbones.keras_model import find_taps, model_spec, tapped
from tfrcnn.models.backbones.spec import BackboneSpec as BackboneSpec

BACKBONES: dict[str, BackboneSpec] = {
    "tiny": tiny.SPEC,
    "resnet50": resnet.RESNET50,
    "resnet101": resnet.RESNET101,
    "mobilenet_v3_large": mobilenet_v3.SPEC,
    "zf": zf.SPEC,
    "VGG16": vgg16.SPEC,
    "MobileNetV2": applications.MOBILENET_V2,
    "EfficientNetB0": applications.EFFICIENTNET_B0,
    "ResNet50": applications.RESNET50,
    "ResNet101": applications.RESNET101,
}
_LIBRARY = frozenset(BACKBONES)


@dataclass(frozen=True)
class Backbone:
    """A backbone that is built and ready for a detector.

    Attributes:
        model: Takes normalised images [B, H, W, 3] and returns a list of feature maps, finest first.
        strides: Pixels of the input per cell of each map.
        stages: The last layer of each stage from the input side.
        spec: The spec that it was built from.
    """

    model: keras.Model
    strides: tuple[int, ...]
    stages: tuple[str, ...]
    spec: BackboneSpec


def register_backbone(name: str, backbone: BackboneSpec | keras.Model) -> None:
    """Add a backbone under a name, for `BackboneConfig.name`, until the process ends.

    A detector with this backbone needs the registration again in the process that loads it.

    Args:
        name: A name that is not one of the library's. A name that you registered before is replaced.
        backbone: A spec; or a functional or sequential model, of which each detector gets a copy with its weights.

    Raises:
        InputError: The name is one of the library's, or the model cannot be a backbone.

    Example:
        tfrcnn.register_backbone("mine", keras.applications.DenseNet121(include_top=False))
        config = tfrcnn.preset("mobilenet_v2_fpn", categories).detector
        config = config.replace(backbone=tfrcnn.BackboneConfig("mine"))
        detector = tfrcnn.build_detector(config)
    """
    _check_is_free(name)
    BACKBONES[name] = _as_spec(backbone)


def build_backbone(
    config: BackboneConfig,
    weights: str | Path = "none",
    image: ImageConfig | None = None,
    name: str = "backbone",
    backbone: BackboneSpec | keras.Model | None = None,
) -> Backbone:
    """Build a backbone.

    Args:
        config: The backbone's name and options.
        weights: The weights to load into the network: "none" loads nothing, "imagenet" downloads Keras' weights, else a
            file. A library network takes the file that `keras.applications.NAME(include_top=False).save_weights` wrote.
            resnet50, resnet101 and mobilenet_v3_large take torchvision's classifier (.pth, .safetensors, .npz).
        image: The preprocessing in front of the backbone. It is checked against what the ImageNet weights need. None
            skips the check.
        name: Name of the Keras model.
        backbone: A backbone that is not registered. `config.name` must be a name that the library does not use.

    Raises:
        InputError: The name or a tap is unknown; the network does not have an option; the strides of the taps neither
            double nor stay; the weights do not exist, do not fit or cannot be downloaded; the preprocessing is not the
            one that the ImageNet weights need.

    Example:
        backbone = build_backbone(BackboneConfig("MobileNetV2"), "imagenet")
        maps = backbone.model(np.zeros((1, 320, 320, 3), np.float32))  # backbone.strides: (4, 8, 16, 32)
    """
    spec = find_spec(config.name, backbone)
    _check_options(config, spec.options)
    if image is not None and str(weights) == "imagenet" == spec.default_weights(config):
        _check_preprocessing(config.name, spec.image, image)
    model = spec.build(config)
    check_path(weights, "backbone_weights")
    if str(weights) != "none":
        spec.load(model, config, weights)
    taps = config.taps or spec.taps or find_taps(model)
    body = tapped(model, taps, config.name)
    # Folding saves up to a quarter of the time of such a network, and a twentieth of a ResNet's. There it is not worth
    # the rounding of the folded kernels, which adds half as much again to the error of float32's sums.
    is_light = any(isinstance(layer, keras.layers.DepthwiseConv2D) for layer in model.layers)
    kind = FoldedModel if is_light else keras.Model
    extractor = kind(body.inputs[0], body.outputs, name=name)
    strides = output_strides(extractor)
    if any(coarse not in (fine, 2 * fine) for fine, coarse in pairwise(strides)):
        raise InputError(
            f"the feature maps of backbone {config.name!r} must have strides that double from map to map, found "
            f"{strides} at the layers {taps}: name others in BackboneConfig.taps"
        )
    return Backbone(extractor, strides, spec.stages or taps, spec)


def find_spec(name: str, backbone: BackboneSpec | keras.Model | None = None) -> BackboneSpec:
    """Return the spec of a backbone.

    Raises:
        InputError: The name is unknown, or is the library's although a backbone is given.
    """
    if backbone is not None:
        _check_is_free(name)
        return _as_spec(backbone)
    if name in BACKBONES:
        return BACKBONES[name]
    if applications.is_application(name):
        return applications.application(name)
    raise InputError(
        f"unknown backbone {name!r}: expected {', '.join(BACKBONES)}, or another constructor of keras.applications. If "
        f"it is a model of your own, pass it again (build_detector or load_detector with backbone=MODEL), or call "
        f"tfrcnn.register_backbone({name!r}, MODEL) first"
    )


def output_strides(extractor: keras.Model) -> tuple[int, ...]:
    """Return the pixels of the input per cell of each output, from the shapes for a 256 x 256 image."""
    side = 256
    maps = tf.nest.flatten(extractor(keras.Input((side, side, 3))))  # Keras unpacks a list of one map
    return tuple(round(side / feature.shape[1]) for feature in maps)


def _as_spec(backbone: BackboneSpec | keras.Model) -> BackboneSpec:
    return backbone if isinstance(backbone, BackboneSpec) else model_spec(backbone)


def _check_is_free(name: str) -> None:
    if name in _LIBRARY or applications.is_application(name):
        raise InputError(
            f"{name!r} is the name of a backbone of the library: give your own another name, for example "
            'config.replace(backbone=BackboneConfig("mine"))'
        )


def _check_options(config: BackboneConfig, options: tuple[str, ...]) -> None:
    for option, unset in (("stride_in_1x1", False), ("norm_epsilon", None)):
        if getattr(config, option) != unset and option not in options:
            raise InputError(f"BackboneConfig.{option} is not an option of backbone {config.name!r}: leave it {unset}")


def _check_preprocessing(name: str, needed: Mapping[str, Any], image: ImageConfig) -> None:
    """Refuse ImageNet weights behind other preprocessing than they were trained with, if that is known."""
    for field, expected in needed.items():
        actual = getattr(image, field)
        if not (actual == expected if isinstance(expected, str) else np.allclose(actual, expected)):
            raise InputError(
                f"ImageConfig.{field} must be {expected} for the ImageNet weights of {name}, found {actual}"
            )
