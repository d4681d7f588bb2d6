"""MobileNetV3-Large (Howard et al., arXiv 1905.02244, table 1) as torchvision's detectors use it.

It ends with the last 1x1 convolution before the pooling. It is not dilated and has no reduced tail. Layers have the
names of torchvision's modules, with "_" for ".": `features_4_block_2_fc1` is `features.4.block.2.fc1`.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import keras

from tfrcnn.compat import HARD_SIGMOID, HARD_SILU
from tfrcnn.config import BackboneConfig
from tfrcnn.models.backbones.loading import load_torchvision_classifier
from tfrcnn.models.backbones.spec import BackboneSpec
from tfrcnn.models.backbones.symmetric import NORM_EPSILON, conv, depthwise_conv, norm


class Block(NamedTuple):
    """One row of the paper's table: an inverted residual.

    Attributes:
        kernel_size: Side of the depthwise convolution's kernel.
        expanded: Channels of the depthwise convolution.
        channels: Channels of the output.
        squeeze: Channels of the squeeze-and-excite: a quarter of `expanded`, rounded to a multiple of 8. 0: none.
        activation: "relu" or `HARD_SILU`.
        strides: Strides of the depthwise convolution.
    """

    kernel_size: int
    expanded: int
    channels: int
    squeeze: int
    activation: Any
    strides: int


BLOCKS = (
    Block(3, 16, 16, 0, "relu", 1),
    Block(3, 64, 24, 0, "relu", 2),
    Block(3, 72, 24, 0, "relu", 1),
    Block(5, 72, 40, 24, "relu", 2),
    Block(5, 120, 40, 32, "relu", 1),
    Block(5, 120, 40, 32, "relu", 1),
    Block(3, 240, 80, 0, HARD_SILU, 2),
    Block(3, 200, 80, 0, HARD_SILU, 1),
    Block(3, 184, 80, 0, HARD_SILU, 1),
    Block(3, 184, 80, 0, HARD_SILU, 1),
    Block(3, 480, 112, 120, HARD_SILU, 1),
    Block(3, 672, 112, 168, HARD_SILU, 1),
    Block(5, 672, 160, 168, HARD_SILU, 2),
    Block(5, 960, 160, 240, HARD_SILU, 1),
    Block(5, 960, 160, 240, HARD_SILU, 1),
)

# The maps of torchvision's detectors: 160 and 960 channels, both at stride 32. torchvision takes the last block that
# strides (13) and the last layer (16). A usual pyramid would take the layers before each stride.
TAPS = ("features_13_out", "features_16_out")

# The last layer of each stage from the input side. torchvision starts a stage at each block that strides (2, 4, 7, 13)
# and at the last layer (16). It counts from the other end: its `trainable_backbone_layers=3` of these 6 trains features
# 7 to 16, which is `frozen_stages=3` here.
STAGES = ("features_1_out", "features_3_out", "features_6_out", "features_12_out", "features_15_out", "features_16_out")


def mobilenet_v3_large(norm_epsilon: float = NORM_EPSILON) -> keras.Model:
    """Build the network: normalised images [B, H, W, 3] -> the last layer [B, ceil(H / 32), ceil(W / 32), 960].

    hard_silu(x) = x relu6(x + 3) / 6 and hard_sigmoid(x) = relu6(x + 3) / 6 are torch's hardswish and hardsigmoid.

    Args:
        norm_epsilon: Epsilon of the batch norms. torchvision uses 1e-5 in its detectors and 1e-3 in its classifier.
    """
    inputs = keras.Input((None, None, 3), name="images")
    x = norm(conv(inputs, 16, 3, 2, name="features_0_0"), norm_epsilon, name="features_0_1")
    x = keras.layers.Activation(HARD_SILU, name="features_0_out")(x)
    for i, block in enumerate(BLOCKS, start=1):
        x = _inverted_residual(x, block, norm_epsilon, f"features_{i}")
    x = norm(conv(x, 960, name="features_16_0"), norm_epsilon, name="features_16_1")
    x = keras.layers.Activation(HARD_SILU, name="features_16_out")(x)
    return keras.Model(inputs, x, name="mobilenet_v3_large")


def _inverted_residual(x: Any, block: Block, norm_epsilon: float, name: str) -> Any:
    """Expand (1x1), filter (depthwise), squeeze and excite, project (1x1), as in figure 4 of the paper."""
    shortcut = x
    # torch numbers only the parts that a block has.
    parts = (f"{name}_block_{i}" for i in itertools.count())
    if block.expanded != x.shape[-1]:
        part = next(parts)
        x = norm(conv(x, block.expanded, name=f"{part}_0"), norm_epsilon, name=f"{part}_1")
        x = keras.layers.Activation(block.activation, name=f"{part}_2")(x)
    part = next(parts)
    x = depthwise_conv(x, block.kernel_size, block.strides, name=f"{part}_0")
    x = norm(x, norm_epsilon, name=f"{part}_1")
    x = keras.layers.Activation(block.activation, name=f"{part}_2")(x)
    if block.squeeze:
        x = _squeeze_excite(x, block.squeeze, next(parts))
    part = next(parts)
    x = norm(conv(x, block.channels, name=f"{part}_0"), norm_epsilon, name=f"{part}_1")
    if block.strides == 1 and block.channels == shortcut.shape[-1]:
        return keras.layers.Add(name=f"{name}_out")([x, shortcut])
    return keras.layers.Identity(name=f"{name}_out")(x)  # so that the outputs of all blocks are named NAME_out


def _squeeze_excite(x: Any, channels: int, name: str) -> Any:
    """Scale each channel by a number in [0, 1], computed from all channels' means (arXiv 1709.01507, figure 3)."""
    scale = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_avgpool")(x)
    scale = keras.layers.Conv2D(channels, 1, activation="relu", name=f"{name}_fc1")(scale)
    scale = keras.layers.Conv2D(x.shape[-1], 1, activation=HARD_SIGMOID, name=f"{name}_fc2")(scale)
    return keras.layers.Multiply(name=f"{name}_scale")([x, scale])


def _build(config: BackboneConfig) -> keras.Model:
    return mobilenet_v3_large(NORM_EPSILON if config.norm_epsilon is None else config.norm_epsilon)


SPEC = BackboneSpec(
    _build,
    TAPS,
    STAGES,
    options=("norm_epsilon",),
    load=load_torchvision_classifier,
    default_weights=lambda config: None,
)
