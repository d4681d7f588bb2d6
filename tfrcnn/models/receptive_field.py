"""How much of the image a cell of a feature map sees (paper section 3.3: 171 pixels for ZF and 228 for VGG)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import keras


class ReceptiveField(NamedTuple):
    """size: pixels from side to side that a cell sees; stride: pixels from a cell to the next."""

    size: int
    stride: int


def receptive_field(layers: Iterable[keras.layers.Layer]) -> ReceptiveField:
    """The receptive field behind a chain of layers, each the only input of the next.

    A window of k cells, d of them apart and s from one window to the next, makes of a field of size r and stride j

        r' = r + (k - 1) d j,     j' = s j.

    The layers that count are those with a `kernel_size` or a `pool_size`: convolutions and pooling.

    Args:
        layers: in their order, square in all they do; padding and what acts on single cells may be among them.
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
