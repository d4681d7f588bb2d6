"""A convolution with batch norm, for the pyramid and head of torchvision's second detector."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class ConvNorm(keras.layers.Layer):
    """Convolution without a bias, then batch norm (epsilon 1e-5, momentum 0.9), no activation.

    Other layers build and configure it.
    """

    def __init__(self, channels: int, kernel_size: int, initializer: Any, dtype: Any, name: str) -> None:
        super().__init__(dtype=dtype, name=name)
        self.channels = channels
        self.conv = keras.layers.Conv2D(
            channels,
            kernel_size,
            padding="same",
            use_bias=False,
            kernel_initializer=initializer,
            dtype=dtype,
            name="conv",
        )
        self.norm = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, dtype=dtype, name="norm")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.conv.build(input_shape)
        self.norm.build((*input_shape[:-1], self.channels))
        super().build(input_shape)

    def call(self, x: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """[B, rows, columns, .] -> [B, rows, columns, channels]."""
        return self.norm(self.conv(x), training=training)
