"""Convolution and batch norm as torch's networks are made of them, for the backbones that take their weights."""

from __future__ import annotations

from typing import Any

import keras


def conv(x: Any, channels: int, kernel_size: int = 1, strides: int = 1, *, name: str) -> Any:
    """torch's `Conv2d(padding=kernel_size // 2, bias=False)`, for odd kernels.

    [B, H, W, .] -> [B, ceil(H / strides), ceil(W / strides), channels].
    """
    x, padding = _pad(x, kernel_size, strides, name)
    layer = keras.layers.Conv2D(
        channels, kernel_size, strides, padding, use_bias=False, kernel_initializer=_kaiming_normal(), name=name
    )
    return layer(x)


def depthwise_conv(x: Any, kernel_size: int, strides: int = 1, *, name: str) -> Any:
    """`conv` with as many groups as channels."""
    x, padding = _pad(x, kernel_size, strides, name)
    layer = keras.layers.DepthwiseConv2D(
        kernel_size, strides, padding, use_bias=False, depthwise_initializer=_kaiming_normal(), name=name
    )
    return layer(x)


def norm(x: Any, epsilon: float, *, name: str) -> Any:
    """torch's `BatchNorm2d`, whose momentum of 0.1 is the weight of the new value: 0.9 in Keras' sense."""
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=epsilon, name=name)(x)


def _pad(x: Any, kernel_size: int, strides: int, name: str) -> tuple[Any, str]:
    """The input and the padding mode that give kernel_size // 2 zeros on each side.

    Keras' "same" does so only at stride 1: at stride 2 it pads an even size (k // 2 - 1, k // 2), which shifts the
    whole network by a pixel.
    """
    if strides == 1 or kernel_size == 1:
        return x, "same"
    return keras.layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x), "valid"


def _kaiming_normal() -> Any:
    """He et al. (arXiv 1502.01852, equation 14), as torchvision starts its networks: N(0, 2 / fan_out)."""
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
