"""`BackboneSpec`: the definition of a backbone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras

from tfrcnn.config import BackboneConfig
from tfrcnn.layers import BoxHead
from tfrcnn.models.backbones.loading import load_keras_file


@dataclass(frozen=True)
class BackboneSpec:
    """How to build a backbone, where its feature maps are, and which weights it can start from.

    Attributes:
        build: Builds the network. It returns a functional `keras.Model` that takes normalised images [B, H, W, 3] of
            any size. Name its layers: weights are saved in their order.
        taps: Layers whose outputs are the feature maps, finest first. The stride of each map must equal the stride of
            the map before it or be twice as large. Empty: the last layer at each of the strides 4, 8, 16 and 32.
        stages: The last layer of each stage from the input side. `TrainingConfig.frozen_stages` counts these. Empty:
            the taps.
        options: Fields of `BackboneConfig` that `build` reads, other than `name` and `taps`.
        image: `ImageConfig` fields that the ImageNet weights need. Empty: any preprocessing is accepted.
        load: Loads "imagenet" or a file into the network. By default a file that `save_weights` wrote.
        default_weights: The weights to start from when the user names none: "imagenet", "none", or None if the user
            has to choose.
        pretrained: True if `build` returns trained weights, as a `keras.Model` of yours has. `tfrcnn.Recipe` freezes no
            random weights.
        load_head: Loads the network's last layers into a box head: the classifier's dense layers, or the last stage as
            residual blocks. It takes the head and the weights ("none",
            "imagenet" or a file), and returns a note for the user, which may be empty.

    Example:
        register_backbone("thin", BackboneSpec(build=lambda config: thin_network(), taps=("stage2", "stage3")))
    """

    build: Callable[[BackboneConfig], keras.Model]
    taps: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    image: Mapping[str, Any] = field(default_factory=dict)
    load: Callable[[keras.Model, BackboneConfig, str | Path], None] = load_keras_file
    default_weights: Callable[[BackboneConfig], str | None] = lambda config: "none"
    pretrained: bool = False
    load_head: Callable[[BoxHead, str | Path], str] = lambda head, weights: ""
