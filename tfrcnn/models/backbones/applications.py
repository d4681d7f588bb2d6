"""Any backbone of keras.applications, by a table of where its feature maps are.

A network that is not in the table works too: its taps are then found from the shapes (the last layer at each stride
from 4 to 32), and its preprocessing must be set in `ImageConfig` by whoever chooses it. Not every one is fit to be a
backbone: the unpadded convolutions of InceptionV3 and InceptionResNetV2 give maps that do not halve, which is an error.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from tfrcnn.config import ImageConfig
from tfrcnn.errors import InputError


@dataclass(frozen=True)
class Application:
    """Where the feature maps are.

    Attributes:
        taps: layers whose outputs are the feature maps, finest first.
        stages: last layer of each stage from the input side, for `frozen_stages`.
        image: `ImageConfig` fields of the network's own preprocessing, which its ImageNet weights need.
    """

    taps: tuple[str, ...]
    stages: tuple[str, ...]
    image: dict[str, Any]


LEGACY_ROOT = "model_weights"  # of a file that Keras 2 made by model.save

# Caffe's: BGR, ImageNet's mean subtracted, not scaled
CAFFE: dict[str, Any] = {"channel_order": "BGR", "mean": (103.939, 116.779, 123.68), "std": (1.0, 1.0, 1.0)}
# To [-1, 1]
SYMMETRIC: dict[str, Any] = {"channel_order": "RGB", "mean": (127.5, 127.5, 127.5), "std": (127.5, 127.5, 127.5)}
# EfficientNet normalises by itself, with m = (0.485, 0.456, 0.406); only with weights="imagenet" Keras adds a layer
# that divides by sqrt(s), s = (0.229, 0.224, 0.225). A detector that is loaded has no such layer, so none is kept, and
# this does the same before the network: ((x - 255 m (1 - sqrt(s))) / sqrt(s)) / 255 - m == (x / 255 - m) / sqrt(s)
EFFICIENTNET: dict[str, Any] = {
    "channel_order": "RGB",
    "mean": tuple(255 * m * (1 - s**0.5) for m, s in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))),
    "std": (0.229**0.5, 0.224**0.5, 0.225**0.5),
}

APPLICATIONS = {
    "VGG16": Application(
        taps=("block3_conv3", "block4_conv3", "block5_conv3"),
        stages=("block1_pool", "block2_pool", "block3_pool", "block4_pool", "block5_conv3"),
        image=CAFFE,
    ),
    "MobileNetV2": Application(
        taps=("block_3_expand_relu", "block_6_expand_relu", "block_13_expand_relu", "out_relu"),
        stages=("expanded_conv_project_BN", "block_2_add", "block_5_add", "block_12_add", "out_relu"),
        image=SYMMETRIC,
    ),
    "EfficientNetB0": Application(
        taps=("block3a_expand_activation", "block4a_expand_activation", "block6a_expand_activation", "top_activation"),
        stages=("block1a_project_bn", "block2b_add", "block3b_add", "block5c_add", "top_activation"),
        image=EFFICIENTNET,
    ),
}
# `ImageConfig` fields that the ImageNet weights of a network need.
PREPROCESSING = {name: application.image for name, application in APPLICATIONS.items()}
PREPROCESSING.update(ResNet50=CAFFE, ResNet101=CAFFE)


def build_application(name: str, weights: str | Path) -> tuple[keras.Model, tuple[str, ...], tuple[str, ...]]:
    """Build `keras.applications.NAME` without its classifier.

    Args:
        weights: "none", "imagenet" or a weights file.

    Returns:
        the model for images of any size, its taps, its stages.

    Raises:
        InputError: as of `build_backbone`.
    """
    constructor = getattr(keras.applications, name, None)
    if constructor is None or not callable(constructor) or not name[:1].isupper():
        known = ", ".join(["tiny", "resnet50", "resnet101", "mobilenet_v3_large", "zf", *APPLICATIONS])
        raise InputError(f"unknown backbone {name!r}: expected {known}, or another constructor of keras.applications")
    options = {"include_top": False, "input_shape": (None, None, 3), "weights": None}
    if str(weights) == "imagenet":
        pretrained = build_pretrained(constructor, name, include_top=False, input_shape=(None, None, 3))
        # into the network as it is built without them, which is the one that a saved detector is loaded into
        model = constructor(**options)
        model.set_weights(pretrained.get_weights())
        finalize_normalization(model)
    else:
        model = constructor(**options)
        if str(weights) != "none":
            load_file(model, Path(weights), name)
    if name in APPLICATIONS:
        known_application = APPLICATIONS[name]
        return model, known_application.taps, known_application.stages
    taps = find_taps(model)
    return model, taps, taps


def build_pretrained(constructor: Callable[..., keras.Model], name: str, **options: Any) -> keras.Model:
    """A network of keras.applications with its ImageNet weights, which Keras downloads once.

    Raises:
        InputError: they cannot be downloaded.
    """
    try:
        with warnings.catch_warnings():
            # Keras says that it takes the weights for 224 x 224, which is what is wanted
            warnings.filterwarnings("ignore", "`input_shape` is undefined or non-square")
            return constructor(weights="imagenet", **options)
    except Exception as error:  # Keras raises whatever its downloader met
        include_top = options.get("include_top", True)
        raise InputError(
            f"the ImageNet weights of {name} could not be downloaded ({error}). Where there is no network, pass a "
            f"file (--backbone-weights FILE, made elsewhere by keras.applications.{name}(include_top={include_top})"
            ".save_weights(FILE)) or --backbone-weights none to start from random weights"
        ) from error


def check_preprocessing(name: str, image: ImageConfig) -> None:
    """Refuse to put ImageNet weights behind other pixels than they were trained on, where those are known.

    Raises:
        InputError: names the field.
    """
    for field, expected in PREPROCESSING.get(name, {}).items():
        found = getattr(image, field)
        if not (found == expected if isinstance(expected, str) else np.allclose(found, expected)):
            raise InputError(
                f"ImageConfig.{field} must be {expected} for the ImageNet weights of {name}, found {found}"
            )


def find_taps(model: keras.Model) -> tuple[str, ...]:
    """The last layer at each of the strides 4, 8, 16 and 32, as many of them as there are."""
    side = 256
    outputs = [layer.output for layer in model.layers]
    last: dict[int, str] = {}
    for layer, feature in zip(model.layers, keras.Model(model.inputs[0], outputs)(keras.Input((side, side, 3)))):
        if len(feature.shape) == 4 and side % feature.shape[1] == 0:
            last[side // feature.shape[1]] = layer.name
    return tuple(last[stride] for stride in (4, 8, 16, 32) if stride in last)


def finalize_normalization(model: keras.Model) -> None:
    """Let Keras' Normalization layers see the weights they were given, not those they were made with."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def _is_longer(path: Path, model: keras.Model) -> bool:
    """Whether a file in the layout of Keras 1 and 2 has all layers of a model, and those of a classifier too."""
    if not h5py.is_hdf5(path):
        return False
    with h5py.File(path) as file:
        root = file.get(LEGACY_ROOT, file)
        return "predictions" in root and all(layer.name in root for layer in model.layers if layer.weights)


def load_file(model: keras.Model, path: Path, name: str) -> None:
    """Load a weights file into a backbone.

    Raises:
        InputError: no such file, or not this network's weights.
    """
    if not path.is_file():
        raise InputError(f"backbone weights: expected a file, 'imagenet' or 'none', found nothing at {path}")
    try:
        # a file of earlier versions of Keras is read by the order of its layers, unless it has more than the model
        model.load_weights(path, **({"by_name": True} if _is_longer(path, model) else {}))
    except Exception as error:  # h5py and Keras raise several kinds
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} does not hold the weights of {name} (include_top=False): {first_line}") from error
