"""Backbones of keras.applications: those with known feature maps, and any other by its name.

A network without an entry here works too. Its taps are found from the shapes of its layers, and the user sets its
preprocessing in `ImageConfig`. InceptionV3 and InceptionResNetV2 do not work: their unpadded convolutions give maps
whose sides do not halve.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from tfrcnn.config import BackboneConfig
from tfrcnn.errors import InputError
from tfrcnn.models.backbones.loading import finalize_normalization, load_keras_file
from tfrcnn.models.backbones.spec import BackboneSpec

BODY: dict[str, Any] = {"include_top": False, "input_shape": (None, None, 3)}

# Caffe's preprocessing: BGR, ImageNet's mean subtracted, not scaled.
CAFFE: dict[str, Any] = {"channel_order": "BGR", "mean": (103.939, 116.779, 123.68), "std": (1.0, 1.0, 1.0)}
# To [-1, 1].
SYMMETRIC: dict[str, Any] = {"channel_order": "RGB", "mean": (127.5, 127.5, 127.5), "std": (127.5, 127.5, 127.5)}
# EfficientNet normalises inside the network, with m = (0.485, 0.456, 0.406). Keras adds a layer that divides by
# sqrt(s), s = (0.229, 0.224, 0.225), but only with weights="imagenet". A detector loaded from a folder has no such
# layer. This preprocessing does the same: ((x - 255 m (1 - sqrt(s))) / sqrt(s)) / 255 - m == (x / 255 - m) / sqrt(s)
EFFICIENTNET: dict[str, Any] = {
    "channel_order": "RGB",
    "mean": tuple(255 * m * (1 - s**0.5) for m, s in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))),
    "std": (0.229**0.5, 0.224**0.5, 0.225**0.5),
}


def is_application(name: str) -> bool:
    """Return whether keras.applications has a constructor of this name."""
    return name[:1].isupper() and callable(getattr(keras.applications, name, None))


def application(name: str, **fields: Any) -> BackboneSpec:
    """Describe `keras.applications.NAME` without its classifier.

    Args:
        name: A constructor of keras.applications.
        fields: Further fields of `BackboneSpec`.
    """

    def build(config: BackboneConfig) -> keras.Model:
        return _constructor(name)(weights=None, **BODY)

    def load(model: keras.Model, config: BackboneConfig, weights: str | Path) -> None:
        if str(weights) != "imagenet":
            load_keras_file(model, BackboneConfig(name), weights)
            return
        # Keras' network with ImageNet weights may have layers that a detector loaded from a folder does not have.
        model.set_weights(build_pretrained(name, **BODY).get_weights())
        finalize_normalization(model)

    return BackboneSpec(build, load=load, default_weights=lambda config: "imagenet", **fields)


def build_pretrained(name: str, **options: Any) -> keras.Model:
    """Build a network of keras.applications with its ImageNet weights. Keras downloads them once.

    Raises:
        InputError: The weights cannot be downloaded.
    """
    try:
        with warnings.catch_warnings():
            # Keras warns that it loads the weights for 224 x 224, which is intended.
            warnings.filterwarnings("ignore", "`input_shape` is undefined or non-square")
            return _constructor(name)(weights="imagenet", **options)
    except Exception as error:  # Keras passes on any error of its downloader
        include_top = options.get("include_top", True)
        raise InputError(
            f"the ImageNet weights of {name} could not be downloaded ({error}). Without a network connection, pass "
            f"--backbone-weights FILE, made on another machine by keras.applications.{name}(include_top={include_top})"
            ".save_weights(FILE), or --backbone-weights none to start from random weights"
        ) from error


def _constructor(name: str) -> Callable[..., keras.Model]:
    constructor: Callable[..., keras.Model] = getattr(keras.applications, name)
    return constructor


MOBILENET_V2 = application(
    "MobileNetV2",
    taps=("block_3_expand_relu", "block_6_expand_relu", "block_13_expand_relu", "out_relu"),
    stages=("expanded_conv_project_BN", "block_2_add", "block_5_add", "block_12_add", "out_relu"),
    image=SYMMETRIC,
)
EFFICIENTNET_B0 = application(
    "EfficientNetB0",
    taps=("block3a_expand_activation", "block4a_expand_activation", "block6a_expand_activation", "top_activation"),
    stages=("block1a_project_bn", "block2b_add", "block3b_add", "block5c_add", "top_activation"),
    image=EFFICIENTNET,
)
RESNET50 = application("ResNet50", image=CAFFE)
RESNET101 = application("ResNet101", image=CAFFE)
