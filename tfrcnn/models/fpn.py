"""Feature pyramid network (Lin et al., arXiv 1612.03144, figure 3): each level sees the whole depth of the backbone."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfrcnn.config import FPNConfig
from tfrcnn.config_base import Config
from tfrcnn.layers.base import ConfiguredLayer, register


@register
class FeaturePyramid(ConfiguredLayer[FPNConfig]):
    """P_l = conv3x3(conv1x1(C_l) + upsample(P_{l+1} before its 3x3)); and one more level, P_last subsampled by 2.

    The extra level is for the RPN's largest anchors only; boxes are pooled from the others.
    """

    config_class: type[Config] = FPNConfig

    def build(self, features_shape: list[tuple[int | None, ...]]) -> None:
        channels = self.config.channels
        options: dict[str, Any] = {
            # kaiming_uniform(a=1), as the reference implementations: bound sqrt(3 / fan_in)
            "kernel_initializer": keras.initializers.VarianceScaling(1.0, "fan_in", "uniform"),
            "dtype": self.dtype_policy,
        }
        self.lateral, self.smooth = [], []
        for i, shape in enumerate(features_shape):
            lateral = keras.layers.Conv2D(channels, 1, name=f"lateral{i}", **options)
            smooth = keras.layers.Conv2D(channels, 3, padding="same", name=f"smooth{i}", **options)
            lateral.build(shape)
            smooth.build((*shape[:-1], channels))
            self.lateral.append(lateral)
            self.smooth.append(smooth)

    def call(self, features: list[tf.Tensor]) -> list[tf.Tensor]:
        """
        Args:
            features: per level [B, rows, columns, channels of the backbone], finest first.

        Returns:
            per level [B, rows, columns, config.channels], and one level more of half the last one's size, rounded up.
        """
        merged: list[tf.Tensor] = []
        for feature, lateral in zip(reversed(features), reversed(self.lateral)):
            x = lateral(feature)
            if merged:
                x += _upsample(merged[0], tf.shape(x))
            merged.insert(0, x)
        pyramid = [smooth(x) for smooth, x in zip(self.smooth, merged)]
        return [*pyramid, pyramid[-1][:, ::2, ::2]]


def _upsample(x: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """Nearest neighbour by 2, to rows and columns of `shape`, of which `x` has half, rounded up (any backbone's
    strides).

    By repetition: the gradient of TensorFlow's own nearest resize does not compile under XLA.
    """
    return tf.repeat(tf.repeat(x, 2, axis=1), 2, axis=2)[:, : shape[1], : shape[2]]
