"""Feature pyramid network (Lin et al., arXiv 1612.03144, figure 3): each level sees the whole depth of the backbone."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfrcnn.config import FPNConfig
from tfrcnn.config_base import Config
from tfrcnn.layers.base import ConfiguredLayer, register
from tfrcnn.layers.conv_norm import ConvNorm
from tfrcnn.layers.native import native


@register
class FeaturePyramid(ConfiguredLayer[FPNConfig]):
    """P_l = conv3x3(conv1x1(C_l) + upsample(P_{l+1} before its 3x3)); and one more level, P_last subsampled by 2.

    The extra level is for the RPN's largest anchors only; boxes are pooled from the others.
    """

    config_class: type[Config] = FPNConfig

    def __init__(self, config: FPNConfig | dict[str, Any], strides: tuple[int, ...] | list[int], **kwargs: Any) -> None:
        """strides: pixels of the input that a cell of each map of the backbone spans, each a multiple of the last."""
        super().__init__(config, **kwargs)
        self.strides = tuple(strides)

    def build(self, features_shape: list[tuple[int | None, ...]]) -> None:
        self.lateral, self.smooth = [], []
        for i, shape in enumerate(features_shape):
            lateral = self._conv(1, f"lateral{i}")
            smooth = self._conv(3, f"smooth{i}")
            lateral.build(shape)
            smooth.build((*shape[:-1], self.config.channels))
            self.lateral.append(lateral)
            self.smooth.append(smooth)

    def _conv(self, kernel_size: int, name: str) -> keras.layers.Layer:
        # kaiming_uniform(a=1), as the reference implementations: bound sqrt(3 / fan_in)
        initializer = keras.initializers.VarianceScaling(1.0, "fan_in", "uniform")
        channels, dtype = self.config.channels, self.dtype_policy
        if self.config.norm:
            return ConvNorm(channels, kernel_size, initializer, dtype, name)
        return keras.layers.Conv2D(
            channels, kernel_size, padding="same", kernel_initializer=initializer, dtype=dtype, name=name
        )

    def call(self, features: list[tf.Tensor], training: bool | None = None) -> list[tf.Tensor]:
        """
        Args:
            features: per level [B, rows, columns, channels of the backbone], finest first.

        Returns:
            per level [B, rows, columns, config.channels], and one level more of half the last one's size, rounded up.
        """
        merged: list[tf.Tensor] = []
        for level in reversed(range(len(features))):
            x = self.lateral[level](features[level])
            if merged:
                upsample = native("upsample") or _upsample
                x += upsample(merged[0], self.strides[level + 1] // self.strides[level], x)
            merged.insert(0, x)
        pyramid = [smooth(x) for smooth, x in zip(self.smooth, merged)]
        return [*pyramid, pyramid[-1][:, ::2, ::2]]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "strides": list(self.strides)}


def _upsample(x: tf.Tensor, factor: int, like: tf.Tensor) -> tf.Tensor:
    """Nearest neighbour by a whole factor, to the rows and columns of `like`, which may be fewer by rounding.

    By repetition, since the gradient of TensorFlow's own nearest resize does not compile under XLA; and by
    concatenating cells and rows with themselves, which unlike tf.repeat's tiles exists in 8 bits and in XNNPACK.
    """
    if factor == 1:
        return x
    batch, rows, columns = tf.unstack(tf.shape(x)[:3])
    x = tf.reshape(tf.concat([x] * factor, axis=-1), [batch, rows, factor * columns * x.shape[-1]])
    x = tf.reshape(tf.concat([x] * factor, axis=-1), [batch, factor * rows, factor * columns, like.shape[-1]])
    if like.shape[1] is None or like.shape[1:3] != x.shape[1:3]:
        shape = tf.shape(like)
        x = x[:, : shape[1], : shape[2]]
    x.set_shape(like.shape)  # the number of images too, or NMS does not know its sets
    return x
