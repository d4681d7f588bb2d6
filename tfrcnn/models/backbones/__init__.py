"""Backbones: feature extractors that give one feature map per stride.

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
from tfrcnn.models.backbones import applications, tiny

OWN: dict[str, Callable[[], keras.Model]] = {"tiny": tiny.tiny}


@dataclass(frozen=True)
class Backbone:
    """A feature extractor ready for assembly.

    Attributes:
        model: normalised images [B, N_h, N_w, 3] -> list of feature maps, finest first.
        strides: pixels of the input that a cell of each map spans.
        stages: names of the last layer of each stage, input side first: what `frozen_stages` counts.
    """

    model: keras.Model
    strides: tuple[int, ...]
    stages: tuple[str, ...]


def build_backbone(config: BackboneConfig, weights: str | Path = "none", image: ImageConfig | None = None) -> Backbone:
    """Build a feature extractor.

    Args:
        config: its name, and optionally the layers to take feature maps from.
        weights: "none" (random), "imagenet" (keras.applications' own, downloaded once by Keras), or a file in the
            layout of `keras.applications.NAME(include_top=False).save_weights`.
        image: the preprocessing in front of it, where it is to be compared with that of the ImageNet weights.

    Raises:
        InputError: unknown name or tap; taps whose strides do not double; weights that do not exist, do not fit or
            cannot be downloaded; other preprocessing than theirs.
    """
    if config.name in OWN:
        model, stages = OWN[config.name](), tiny.STAGES
        if str(weights) != "none":
            if str(weights) == "imagenet":
                raise InputError(f"backbone {config.name!r} has no ImageNet weights; use --backbone-weights none")
            applications.load_file(model, Path(weights), config.name)
        default_taps: tuple[str, ...] = tiny.STAGES
    else:
        if image is not None and str(weights) == "imagenet":
            applications.check_preprocessing(config.name, image)
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
    extractor = keras.Model(model.inputs[0], [model.get_layer(tap).output for tap in taps], name="backbone")
    strides = output_strides(extractor)
    if any(coarse != 2 * fine for fine, coarse in pairwise(strides)):
        raise InputError(
            f"the feature maps of backbone {config.name!r} must have strides that double from map to map, found "
            f"{strides} at the layers {taps}: name others in BackboneConfig.taps"
        )
    return Backbone(extractor, strides, stages)


def output_strides(extractor: keras.Model) -> tuple[int, ...]:
    """Pixels of the input that a cell of each output spans, from the shapes for a 256 x 256 image."""
    side = 256
    maps = extractor(keras.Input((side, side, 3)))
    return tuple(round(side / feature.shape[1]) for feature in maps)
