"""Backbones: feature extractors that give one feature map a level.

To add one of keras.applications, add a row to `applications.APPLICATIONS`; to add an own network, write a file with a
builder as `tiny.py` and add it to `OWN` below.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import keras

from tfrcnn.config import BackboneConfig, ImageConfig
from tfrcnn.errors import InputError
from tfrcnn.models.backbones import applications, mobilenet_v3, resnet, tiny, zf
from tfrcnn.models.backbones.folding import FoldedModel
from tfrcnn.models.backbones.pretrained import load_own

NORM_EPSILON = 1e-5


@dataclass(frozen=True)
class Backbone:
    """A feature extractor ready for assembly.

    Attributes:
        model: normalised images [B, N_h, N_w, 3] -> list of feature maps, finest first; a `FoldedModel` where there are
            `DepthwiseConv2D`s.
        strides: pixels of the input that a cell of each map spans.
        stages: names of the last layer of each stage, input side first: what `frozen_stages` counts.
    """

    model: keras.Model
    strides: tuple[int, ...]
    stages: tuple[str, ...]


@dataclass(frozen=True)
class Own:
    """A network of this package: its builder, the layers to take feature maps from, the last layers of its stages, and
    the fields of `BackboneConfig` it understands."""

    build: Callable[[BackboneConfig], keras.Model]
    taps: tuple[str, ...]
    stages: tuple[str, ...]
    options: tuple[str, ...] = ()


def _own_resnet(depth: int) -> Own:
    def build(config: BackboneConfig) -> keras.Model:
        return resnet.resnet(depth, config.stride_in_1x1, _epsilon(config))

    return Own(build, resnet.taps(depth), resnet.stages(depth), ("stride_in_1x1", "norm_epsilon"))


def _epsilon(config: BackboneConfig) -> float:
    return NORM_EPSILON if config.norm_epsilon is None else config.norm_epsilon


OWN: dict[str, Own] = {
    "tiny": Own(lambda _: tiny.tiny(), tiny.STAGES, tiny.STAGES),
    "resnet50": _own_resnet(50),
    "resnet101": _own_resnet(101),
    "mobilenet_v3_large": Own(
        lambda config: mobilenet_v3.mobilenet_v3_large(_epsilon(config)),
        mobilenet_v3.TAPS,
        mobilenet_v3.STAGES,
        ("norm_epsilon",),
    ),
    "zf": Own(lambda _: zf.zf(), zf.TAPS, zf.STAGES),
}


def build_backbone(
    config: BackboneConfig, weights: str | Path = "none", image: ImageConfig | None = None, name: str = "backbone"
) -> Backbone:
    """Build a feature extractor.

    Args:
        config: its name, and optionally the layers to take feature maps from.
        weights: "none" (random), "imagenet" (keras.applications' own, downloaded once by Keras), or a file: in the
            layout of `keras.applications.NAME(include_top=False).save_weights`; for resnet50, resnet101 and
            mobilenet_v3_large also torchvision's classifier (.pth, .safetensors, .npz).
        image: the preprocessing in front of it, where it is to be compared with that of the ImageNet weights.
        name: of the Keras model.

    Raises:
        InputError: unknown name or tap; an option that the network does not have; taps whose strides neither double
            nor stay; weights that do not exist, do not fit or cannot be downloaded; other preprocessing than theirs.
    """
    own = OWN.get(config.name)
    _check_options(config, own.options if own else ())
    if image is not None and str(weights) == "imagenet":
        applications.check_preprocessing(config.name.replace("resnet", "ResNet"), image)
    if own:
        model, default_taps, stages = own.build(config), own.taps, own.stages
        load_own(model, config, weights)
    else:
        model, default_taps, stages = applications.build_application(config.name, weights)
    taps = config.taps or default_taps
    if not taps:
        raise InputError(
            f"backbone {config.name!r} has no feature maps at strides 4, 8, 16 or 32 (unpadded convolutions?): "
            "name the layers to take them from in BackboneConfig.taps, or choose another"
        )
    names = {layer.name for layer in model.layers}
    for tap in taps:
        if tap not in names:
            raise InputError(f"backbone {config.name!r} has no layer {tap!r} to take a feature map from")
    # The passes that folding saves are up to a quarter of such a network's time, and a twentieth of a ResNet's. There
    # it is not worth the rounding of the folded kernels, half as much again as the error of float32's sums.
    is_light = any(isinstance(layer, keras.layers.DepthwiseConv2D) for layer in model.layers)
    kind = FoldedModel if is_light else keras.Model
    extractor = kind(model.inputs[0], [model.get_layer(tap).output for tap in taps], name=name)
    strides = output_strides(extractor)
    if any(coarse not in (fine, 2 * fine) for fine, coarse in pairwise(strides)):
        raise InputError(
            f"the feature maps of backbone {config.name!r} must have strides that double from map to map, found "
            f"{strides} at the layers {taps}: name others in BackboneConfig.taps"
        )
    return Backbone(extractor, strides, stages)


def _check_options(config: BackboneConfig, understood: tuple[str, ...]) -> None:
    for option, unset in (("stride_in_1x1", False), ("norm_epsilon", None)):
        if getattr(config, option) != unset and option not in understood:
            raise InputError(f"BackboneConfig.{option} is not an option of backbone {config.name!r}: leave it {unset}")


def output_strides(extractor: keras.Model) -> tuple[int, ...]:
    """Pixels of the input that a cell of each output spans, from the shapes for a 256 x 256 image."""
    side = 256
    maps = extractor(keras.Input((side, side, 3)))
    return tuple(round(side / feature.shape[1]) for feature in maps)
