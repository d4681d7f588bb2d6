"""The bottleneck block of a ResNet (He et al., arXiv 1512.03385, figure 5), for box heads on pooled features.

Legend: N regions of a batch, p side of the pooled features, C channels.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfrcnn.layers.conv_norm import ConvNorm


class ResidualBlock(keras.layers.Layer):
    """Three convolutions of 1x1, 3x3 and 1x1 with batch norm, added to the input: relu(F(x) + shortcut(x)).

    The stride is in the first 1x1 convolution and in the shortcut, as in the paper and in Detectron2. A 1x1 convolution
    of stride 2 sees every second row and column, so the block selects these first. The shortcut is the input itself if
    the shape stays, else a 1x1 convolution with batch norm.

    Other layers build and configure it.

    Attributes:
        convs: the three `ConvNorm`.
        shortcut: a `ConvNorm`, or None.
    """

    def __init__(self, channels: int, stride: int, projects: bool, dtype: Any, name: str) -> None:
        """
        Args:
            channels: of the result, four times the channels within.
            stride: rows and columns from one to the next.
            projects: whether the shortcut is a convolution.
            dtype: policy.
            name: of the layer.
        """
        super().__init__(dtype=dtype, name=name)
        self.channels, self.stride = channels, stride
        within = max(channels // 4, 1)
        self.convs = [
            ConvNorm(width, size, "he_normal", dtype, f"conv{number}")
            for number, (width, size) in enumerate(((within, 1), (within, 3), (channels, 1)), start=1)
        ]
        self.shortcut = ConvNorm(channels, 1, "he_normal", dtype, "shortcut") if projects else None

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = input_shape[-1]
        if self.shortcut is not None:
            self.shortcut.build((*input_shape[:-1], channels))
        for conv in self.convs:
            conv.build((*input_shape[:-1], channels))
            channels = conv.channels
        super().build(input_shape)

    def call(self, x: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """[N, p, p, .] -> [N, ceil(p / stride), ceil(p / stride), C]."""
        if self.stride > 1:
            x = x[:, :: self.stride, :: self.stride]
        shortcut = x if self.shortcut is None else self.shortcut(x, training=training)
        first, second, third = self.convs
        x = tf.nn.relu(first(x, training=training))
        x = tf.nn.relu(second(x, training=training))
        return tf.nn.relu(third(x, training=training) + shortcut)


def residual_stage(blocks: int, channels: int, dtype: Any) -> list[ResidualBlock]:
    """Make the blocks of a ResNet's stage: the first doubles the channels and has stride 2.

    Args:
        blocks: how many, 3 in the last stage of ResNet-50 and ResNet-101; may be 0.
        channels: of the stage's input.
        dtype: policy.
    """
    return [
        ResidualBlock(2 * channels, stride=1 if number else 2, projects=not number, dtype=dtype, name=f"block{number}")
        for number in range(blocks)
    ]
