"""Anchors: the reference boxes of the RPN (paper section 3.1.1)."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrcnn import boxes as box_ops
from tfrcnn.config import AnchorConfig
from tfrcnn.layers.base import GeometryLayer, register, spec


@register
class AnchorGenerator(GeometryLayer[AnchorConfig]):
    """Place anchors at every cell of every feature map, from the maps' shapes alone.

    Level l has the sizes `config.sizes[l]`; all levels have the same ratios. The result is constant-folded if the image
    size is static.

    Example:
        anchors = AnchorGenerator(AnchorConfig())(features, images)
        tf.concat(anchors, axis=0)  # [A, 4]
    """

    config_class = AnchorConfig

    def __init__(
        self, config: AnchorConfig | dict[str, Any], strides: tuple[int, ...] | list[int] = (), **kwargs: Any
    ) -> None:
        """
        Args:
            config: sizes, ratios and rounding.
            strides: pixels per cell of each level; only `config.nominal_strides` needs them.

        Raises:
            ValueError: `config.nominal_strides` without one stride per level.
        """
        super().__init__(config, **kwargs)
        self.strides = tuple(strides)
        if self.config.nominal_strides and len(self.strides) != len(self.config.sizes):
            raise ValueError(f"nominal_strides needs one stride per level, found {self.strides}")

    def call(self, features: list[tf.Tensor], images: tf.Tensor) -> list[tf.Tensor]:
        """
        Args:
            features: per level [B, rows, columns, channels]; only the shapes matter.
            images: [B, N_h, N_w, 3], the network input; only the shape matters.

        Returns:
            per level [rows * columns * k, 4] float32 yxyx pixels, order (row, column, ratio, size), not clipped.
        """
        image_size = _rows_and_columns(images)
        anchors = []
        for level, feature in enumerate(features):
            grid = _rows_and_columns(feature)
            nominal = self.config.nominal_strides
            stride = tf.constant([self.strides[level]] * 2) if nominal else image_size // grid
            base = tf.constant(box_ops.base_anchors(self.config, level))
            anchors.append(box_ops.grid_anchors(base, grid, stride, self.config.offset))
        return anchors

    def compute_output_spec(self, features: list[Any], images: Any) -> list[Any]:
        counts = []
        for level, feature in enumerate(features):
            rows, columns = feature.shape[1:3]
            base = len(box_ops.base_anchors(self.config, level))
            counts.append(None if rows is None or columns is None else rows * columns * base)
        return [spec(count, 4) for count in counts]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "strides": list(self.strides)}


def _rows_and_columns(x: tf.Tensor) -> tf.Tensor:
    """[B, rows, columns, C] -> [2] int32, a constant where the shape is static."""
    rows, columns = x.shape[1:3]
    return tf.shape(x)[1:3] if rows is None or columns is None else tf.constant([rows, columns], tf.int32)
