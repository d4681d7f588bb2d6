"""How much of the image a cell of a feature map sees (paper section 3.3: 171 pixels for ZF and 228 for VGG)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import keras


class ReceptiveField(NamedTuple):
    """How much of the image a cell sees, and how far apart cells are.

    Attributes:
        size: Side of the square that a cell sees, in pixels.
        stride: Pixels from a cell to the next.
    """

    size: int
    stride: int


def receptive_field(layers: Iterable[keras.layers.Layer]) -> ReceptiveField:
    """Compute the receptive field of a chain of layers, each of which takes the output of the one before.

    A layer with k x k windows, dilation d and stride s turns a field of size r and stride j into

        r' = r + (k - 1) d j,     j' = s j.

    Convolutions and pooling count: the layers with a `kernel_size` or a `pool_size`. Other layers may be among them.

    Args:
        layers: The layers in their order. Windows, dilations and strides must be square.

    Returns:
        The size and the stride of the last layer's cells, in pixels.

    Example:
        receptive_field([keras.layers.Conv2D(1, 7, strides=2), keras.layers.MaxPooling2D(3, 2)])  # (11, 4)
    """
    size, stride = 1, 1
    for layer in layers:
        window = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None)
        if window is None:
            continue
        dilation = getattr(layer, "dilation_rate", (1,))[0]
        size += (window[0] - 1) * dilation * stride
        stride *= layer.strides[0]
    return ReceptiveField(size, stride)
