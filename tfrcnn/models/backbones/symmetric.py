"""Convolution and batch norm with torch's padding and momentum, for the backbones that load torch's weights."""

from __future__ import annotations

from typing import Any

import keras

NORM_EPSILON = 1e-5  # torch's default


def conv(x: Any, channels: int, kernel_size: int = 1, strides: int = 1, *, name: str) -> Any:
    """Apply torch's `Conv2d(padding=kernel_size // 2, bias=False)` with an odd kernel.

    Args:
        x: [B, H, W, C].
        channels: Channels of the output.
        kernel_size: Side of the kernel, odd.
        strides: Pixels from a window to the next, down and across.
        name: Name of the layer.

    Returns:
        [B, ceil(H / strides), ceil(W / strides), channels].
    """
    x, padding = _pad(x, kernel_size, strides, name)
    layer = keras.layers.Conv2D(
        channels, kernel_size, strides, padding, use_bias=False, kernel_initializer=_kaiming_normal(), name=name
    )
    return layer(x)


def depthwise_conv(x: Any, kernel_size: int, strides: int = 1, *, name: str) -> Any:
    """Apply `conv` to each channel separately."""
    x, padding = _pad(x, kernel_size, strides, name)
    layer = keras.layers.DepthwiseConv2D(
        kernel_size, strides, padding, use_bias=False, depthwise_initializer=_kaiming_normal(), name=name
    )
    return layer(x)


def norm(x: Any, epsilon: float, *, name: str) -> Any:
    """Apply torch's `BatchNorm2d`. Its momentum of 0.1 weighs the new value: Keras' momentum of 0.9."""
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=epsilon, name=name)(x)


def _pad(x: Any, kernel_size: int, strides: int, name: str) -> tuple[Any, str]:
    """Return the input and the padding mode that put kernel_size // 2 zeros on each side.

    Keras' "same" does this only at stride 1. At stride 2 it pads an even size by (k // 2 - 1, k // 2), which shifts the
    whole network by a pixel.
    """
    if strides == 1 or kernel_size == 1:
        return x, "same"
    return keras.layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x), "valid"


def _kaiming_normal() -> Any:
    """Return torchvision's initializer, N(0, 2 / fan_out): He et al., arXiv 1502.01852, equation 14."""
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
