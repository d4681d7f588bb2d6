"""RPN head: a small fully convolutional network slid over every feature map (paper section 3.1, figure 3)."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfrcnn.config import RPNConfig
from tfrcnn.config_base import Config
from tfrcnn.layers.base import ConfiguredLayer, register


@register
class RPNHead(ConfiguredLayer[RPNConfig]):
    """3x3 convolutions with ReLU, then sibling 1x1 convolutions for objectness and box deltas, shared by all levels.

    One logit an anchor (logistic regression), as the paper's two-way softmax reduces to.
    """

    config_class: type[Config] = RPNConfig

    def __init__(self, config: RPNConfig | dict[str, Any], anchors_per_cell: int, **kwargs: Any) -> None:
        """anchors_per_cell: k of the paper."""
        super().__init__(config, **kwargs)
        self.anchors_per_cell = anchors_per_cell

    def build(self, features_shape: list[tuple[int | None, ...]]) -> None:
        channels = self.config.channels or features_shape[0][-1]
        initializer = keras.initializers.RandomNormal(stddev=0.01)
        self.convs = [
            keras.layers.Conv2D(
                channels,
                3,
                padding="same",
                activation="relu",
                kernel_initializer=initializer,
                dtype=self.dtype_policy,
                name=f"conv{i}",
            )
            for i in range(self.config.convs)
        ]
        # thousands of anchors are ranked by these logits, and 16 bits tell too few of them apart
        options = {"kernel_initializer": initializer, "dtype": "float32"}
        self.objectness = keras.layers.Conv2D(self.anchors_per_cell, 1, name="objectness", **options)
        self.deltas = keras.layers.Conv2D(4 * self.anchors_per_cell, 1, name="deltas", **options)
        hidden = (*features_shape[0][:-1], channels)
        for i, conv in enumerate(self.convs):
            conv.build(hidden if i else features_shape[0])
        self.objectness.build(hidden)
        self.deltas.build(hidden)

    def call(self, features: list[tf.Tensor]) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """
        Args:
            features: per level [B, rows, columns, channels].

        Returns:
            logits, per level [B, A_l] float32, and deltas (dy, dx, dh, dw), per level [B, A_l, 4] float32, in the
            anchors' order.
        """
        logits, deltas = [], []
        for feature in features:
            hidden = feature
            for conv in self.convs:
                hidden = conv(hidden)
            hidden = tf.cast(hidden, tf.float32)
            rows, columns = hidden.shape[1:3]
            # where the image size is static so is the number of anchors, also for a batch that is not
            anchors = -1 if rows is None or columns is None else rows * columns * self.anchors_per_cell
            batch = tf.shape(hidden)[0]
            logits.append(tf.reshape(self.objectness(hidden), [batch, anchors]))
            deltas.append(tf.reshape(self.deltas(hidden), [batch, anchors, 4]))
        return logits, deltas

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "anchors_per_cell": self.anchors_per_cell}
