"""Feature pyramid network (Lin et al., arXiv 1612.03144, figure 3): each level sees the whole depth of the backbone."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfrcnn.config import FPNConfig
from tfrcnn.kernels import Kernels
from tfrcnn.layers.base import KernelLayer, register
from tfrcnn.layers.conv_norm import ConvNorm


@register
class FeaturePyramid(KernelLayer[FPNConfig]):
    """P_l = conv3x3(conv1x1(C_l) + upsample(P_{l+1} before its 3x3)), and one more level: P_last subsampled by 2.

    The extra level serves the RPN's largest anchors only; boxes are pooled from the others.

    Example:
        pyramid = FeaturePyramid(FPNConfig(), strides=(4, 8, 16, 32))(backbone(pixels))  # five levels
    """

    config_class = FPNConfig

    def __init__(
        self,
        config: FPNConfig | dict[str, Any],
        strides: tuple[int, ...] | list[int],
        kernels: Kernels | str = "tensorflow",
        **kwargs: Any,
    ) -> None:
        """
        Args:
            config: channels, and whether convolutions have batch norm.
            strides: pixels of the input per cell of each map of the backbone, each a multiple of the one before.
            kernels: a set of kernels or its name, see `tfrcnn.kernels`.

        Raises:
            InputError: no set of kernels has this name.
        """
        super().__init__(config, kernels, **kwargs)
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
        super().build(features_shape)

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
            per level [B, rows, columns, config.channels], and one more level of half the last one's size, rounded up.
        """
        merged: list[tf.Tensor] = []
        for level in reversed(range(len(features))):
            x = self.lateral[level](features[level])
            if merged:
                x += self.kernels.upsample(merged[0], self.strides[level + 1] // self.strides[level], x)
            merged.insert(0, x)
        pyramid = [smooth(x) for smooth, x in zip(self.smooth, merged)]
        return [*pyramid, pyramid[-1][:, ::2, ::2]]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "strides": list(self.strides)}
