"""Box head: the Fast R-CNN detector on pooled features (paper section 3.2; Girshick, arXiv 1504.08083)."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from tfrcnn.config import HeadConfig
from tfrcnn.layers.base import ConfiguredLayer, register, spec
from tfrcnn.layers.conv_norm import ConvNorm
from tfrcnn.layers.residual import residual_stage

PRIOR = 0.01  # of a sigmoid: few RoIs are of a class, and more would dominate the first steps (arXiv 1708.02002, 4.1)


@register
class BoxHead(ConfiguredLayer[HeadConfig]):
    """Classify pooled features and refine their boxes.

    Convolutions or a ResNet's stage (if any) and fully connected layers with ReLU (and dropout), then two sibling
    outputs: C + 1 class logits and 4 C box deltas. The background is the last logit: a label 0..C-1 is the index of its
    logit and of its deltas, with no shift. If `HeadConfig.class_agnostic`, there are 4 box deltas, which hold for every
    class.

    Example:
        class_logits, deltas = BoxHead(HeadConfig(), num_classes=20)(roi_features)
    """

    config_class = HeadConfig

    def __init__(self, config: HeadConfig | dict[str, Any], num_classes: int, **kwargs: Any) -> None:
        """
        Args:
            config: convolutions, residual blocks, units and dropout.
            num_classes: C, without the background.
        """
        super().__init__(config, **kwargs)
        self.num_classes = num_classes
        self.box_classes = 1 if self.config.class_agnostic else num_classes

    def build(self, roi_features_shape: tuple[int, ...]) -> None:
        size, channels = self.config.pool_size, roi_features_shape[-1]
        self.convs = [
            ConvNorm(channels, 3, "he_normal", self.dtype_policy, f"conv{i}")
            for i, channels in enumerate(self.config.convs)
        ]
        for conv in self.convs:
            conv.build((None, size, size, channels))
            channels = conv.channels
        self.blocks = residual_stage(self.config.residual_blocks, channels, self.dtype_policy)
        for block in self.blocks:
            block.build((None, size, size, channels))
            channels = block.channels
        inputs: tuple[int | None, ...] = (None, None, channels if self.blocks else size * size * channels)
        self.hidden = []
        for i, units in enumerate(self.config.units):
            dense = keras.layers.Dense(
                units, activation="relu", kernel_initializer="he_uniform", dtype=self.dtype_policy, name=f"fc{6 + i}"
            )
            dense.build(inputs)
            inputs = (None, None, units)
            self.hidden.append(dense)
        self.dropout = keras.layers.Dropout(self.config.dropout, dtype=self.dtype_policy, name="dropout")
        # the predictors see small differences between large logits: float32 under every policy
        self.classifier = keras.layers.Dense(
            self.num_classes + 1,
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
            bias_initializer=keras.initializers.Constant(self._first_logit()),
            dtype="float32",
            name="class_logits",
        )
        self.regressor = keras.layers.Dense(
            4 * self.box_classes,
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.001),
            dtype="float32",
            name="box_deltas",
        )
        self.classifier.build(inputs)
        self.regressor.build(inputs)
        super().build(roi_features_shape)

    def _first_logit(self) -> float:
        """Return the logit of all classes before training; a sigmoid starts at `PRIOR`."""
        return math.log(PRIOR / (1 - PRIOR)) if self.config.class_loss.scores == "sigmoid" else 0.0

    def call(self, roi_features: tf.Tensor, training: bool | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """
        Args:
            roi_features: [B, P, p, p, channels].
            training: whether batch norm and dropout run as in training.

        Returns:
            class_logits: [B, P, C + 1] float32.
            deltas: [B, P, C, 4] float32 (dy, dx, dh, dw), times the box weights; [B, P, 1, 4] if class-agnostic.
        """
        shape = tf.shape(roi_features)
        x = self.vectors(roi_features, training)
        for dense in self.hidden:
            x = self.dropout(dense(x), training=training)
        x = tf.cast(x, tf.float32)
        deltas = tf.reshape(self.regressor(x), [shape[0], shape[1], self.box_classes, 4])
        return self.classifier(x), deltas

    def vectors(self, roi_features: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Return what the fully connected layers see: [B, P, p p channels], or [B, P, channels] of residual blocks."""
        shape, size = tf.shape(roi_features), self.config.pool_size
        x = roi_features
        if self.convs or self.blocks:
            x = tf.reshape(x, [shape[0] * shape[1], size, size, x.shape[-1]])
            for conv in self.convs:
                x = tf.nn.relu(conv(x, training=training))
            for block in self.blocks:
                x = block(x, training=training)
        if self.blocks:
            x, size = tf.reduce_mean(x, axis=(1, 2)), 1
        return tf.reshape(x, [shape[0], shape[1], size * size * x.shape[-1]])

    def compute_output_spec(self, roi_features: Any, training: Any = None) -> tuple[Any, Any]:
        shape = roi_features.shape[:2]
        return spec(*shape, self.num_classes + 1), spec(*shape, self.box_classes, 4)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_classes": self.num_classes}
