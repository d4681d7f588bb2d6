"""RPN head: a small fully convolutional network slid over every feature map (paper section 3.1, figure 3)."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfrcnn.config import RPNConfig
from tfrcnn.layers.base import ConfiguredLayer, register, spec


@register
class RPNHead(ConfiguredLayer[RPNConfig]):
    """Score every anchor and predict its deltas: 3x3 convolutions with ReLU, then two sibling 1x1 convolutions.

    All levels share the weights. Each anchor has one logit (logistic regression); the paper's two-way softmax reduces
    to it.

    Example:
        logits, deltas = RPNHead(RPNConfig(), anchors_per_cell=3)(features)
    """

    config_class = RPNConfig

    def __init__(self, config: RPNConfig | dict[str, Any], anchors_per_cell: int, **kwargs: Any) -> None:
        """
        Args:
            config: channels and number of the 3x3 convolutions.
            anchors_per_cell: the paper's k.
        """
        super().__init__(config, **kwargs)
        self.anchors_per_cell = anchors_per_cell

    def build(self, features_shape: list[tuple[int | None, ...]]) -> None:
        channels = self.config.channels or features_shape[0][-1]
        self.convs = [
            keras.layers.Conv2D(
                channels,
                3,
                padding="same",
                activation="relu",
                kernel_initializer=_initializer(),
                dtype=self.dtype_policy,
                name=f"conv{i}",
            )
            for i in range(self.config.convs)
        ]
        # these logits rank thousands of anchors, and 16 bits make too many of them equal
        self.objectness, self.deltas = (
            keras.layers.Conv2D(count, 1, kernel_initializer=_initializer(), dtype="float32", name=name)
            for name, count in (("objectness", self.anchors_per_cell), ("deltas", 4 * self.anchors_per_cell))
        )
        hidden = (*features_shape[0][:-1], channels)
        for i, conv in enumerate(self.convs):
            conv.build(hidden if i else features_shape[0])
        self.objectness.build(hidden)
        self.deltas.build(hidden)
        super().build(features_shape)

    def call(self, features: list[tf.Tensor]) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """
        Args:
            features: per level [B, rows, columns, channels].

        Returns:
            logits: per level [B, A_l] float32, in the anchors' order.
            deltas: per level [B, A_l, 4] float32 (dy, dx, dh, dw).
        """
        logits, deltas = [], []
        for feature in features:
            hidden = feature
            for conv in self.convs:
                hidden = conv(hidden)
            hidden = tf.cast(hidden, tf.float32)
            rows, columns = hidden.shape[1:3]
            # a static image size gives a static number of anchors, even if the batch is dynamic
            anchors = -1 if rows is None or columns is None else rows * columns * self.anchors_per_cell
            batch = tf.shape(hidden)[0]
            logits.append(tf.reshape(self.objectness(hidden), [batch, anchors]))
            deltas.append(tf.reshape(self.deltas(hidden), [batch, anchors, 4]))
        return logits, deltas

    def compute_output_spec(self, features: list[Any]) -> tuple[list[Any], list[Any]]:
        shapes = []
        for feature in features:
            batch, rows, columns = feature.shape[:3]
            shapes.append((batch, None if None in (rows, columns) else rows * columns * self.anchors_per_cell))
        return [spec(*shape) for shape in shapes], [spec(*shape, 4) for shape in shapes]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "anchors_per_cell": self.anchors_per_cell}


def _initializer() -> keras.initializers.Initializer:
    """Return the paper's initializer for one layer: with one for all, layers would start with the same numbers."""
    return keras.initializers.RandomNormal(stddev=0.01)
