"""A small residual network that trains from scratch on a CPU within minutes: for demonstrations and tests."""

from __future__ import annotations

from typing import Any

import keras

from tfrcnn.models.backbones.spec import BackboneSpec

CHANNELS = (32, 64, 128)  # at strides 4, 8, 16
STAGES = tuple(f"stage{i}_out" for i in range(1, len(CHANNELS) + 1))


def tiny() -> keras.Model:
    """Build the network, with 0.6 M weights: normalised images [B, H, W, 3] -> [B, H / 16, W / 16, 128]."""
    inputs = keras.Input((None, None, 3), name="images")
    x = _conv_norm(inputs, 16, strides=2, name="stem")
    x = keras.layers.ReLU(name="stem_out")(x)
    for i, channels in enumerate(CHANNELS, start=1):
        shortcut = _conv_norm(x, channels, kernel_size=1, strides=2, name=f"stage{i}_shortcut")
        x = keras.layers.ReLU(name=f"stage{i}_relu1")(_conv_norm(x, channels, strides=2, name=f"stage{i}_conv1"))
        x = _conv_norm(x, channels, name=f"stage{i}_conv2")
        x = keras.layers.Add(name=f"stage{i}_add1")([x, shortcut])
        x = keras.layers.ReLU(name=f"stage{i}_relu2")(x)
        shortcut = x
        x = keras.layers.ReLU(name=f"stage{i}_relu3")(_conv_norm(x, channels, name=f"stage{i}_conv3"))
        x = _conv_norm(x, channels, name=f"stage{i}_conv4")
        x = keras.layers.Add(name=f"stage{i}_add2")([x, shortcut])
        x = keras.layers.ReLU(name=STAGES[i - 1])(x)
    return keras.Model(inputs, x, name="tiny")


def _conv_norm(x: Any, channels: int, kernel_size: int = 3, strides: int = 1, *, name: str) -> Any:
    conv = keras.layers.Conv2D(
        channels,
        kernel_size,
        strides,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )
    # A small run has too few steps for a momentum of 0.99, Keras' default, to forget the initial statistics.
    return keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(conv(x))


SPEC = BackboneSpec(build=lambda config: tiny(), taps=STAGES, stages=STAGES)
