"""Anchors: the reference boxes of the RPN (paper section 3.1.1)."""

from __future__ import annotations

import tensorflow as tf

from tfrcnn import boxes as box_ops
from tfrcnn.config import AnchorConfig
from tfrcnn.layers.base import GeometryLayer, register


@register
class AnchorGenerator(GeometryLayer[AnchorConfig]):
    """Anchors at every cell of every feature map, from the maps' shapes alone.

    A level has its own sizes (`config.sizes[l]`), every level the same ratios. With a static image size the result
    is constant-folded.
    """

    config_class = AnchorConfig

    def call(self, features: list[tf.Tensor], images: tf.Tensor) -> list[tf.Tensor]:
        """
        Args:
            features: per level [B, rows, columns, channels]; only the shapes matter.
            images: [B, N_h, N_w, 3], the network input; only the shape matters.

        Returns:
            per level [rows * columns * k, 4] float32 yxyx pixels, order (row, column, ratio, size), not clipped.
        """
        image_size = _rows_and_columns(images)
        return [
            box_ops.grid_anchors(
                tf.constant(box_ops.base_anchors(self.config, level)),
                _rows_and_columns(feature),
                image_size,
                self.config.offset,
            )
            for level, feature in enumerate(features)
        ]


def _rows_and_columns(x: tf.Tensor) -> tf.Tensor:
    """[B, rows, columns, C] -> [2] int32, a constant where the shape is static."""
    rows, columns = x.shape[1:3]
    return tf.shape(x)[1:3] if rows is None or columns is None else tf.constant([rows, columns], tf.int32)
