"""RoIPool (Girshick, arXiv 1504.08083, section 2.1): RoI max pooling as in the paper.

Legend: B batch, P boxes per image, R = B P, p pool_size, H x W cells of the map, C channels.

A box is rounded to whole cells, half-way away from zero as C's round() does, and includes its last cell:

    first = round(y1 / stride),   last = round(y2 / stride),   h = max(last - first + 1, 1).

It is divided into p x p bins, which share their border cells if h is no multiple of p,

    bin i = cells first + floor(i h / p) .. first + ceil((i + 1) h / p) - 1,   i = 0 .. p - 1,

cut off at the map's border. A bin is the maximum of its cells, 0 if it has none; its gradient goes to the first such
cell in row-major order. This is torchvision.ops.roi_pool and Caffe's ROIPooling with one difference. They multiply by
float32's h / p, and if that is rounded up (for p = 7 first at h = 57) the last bin reads a cell beyond its box. Here it
is an integer division. Caffe's boxes end at their last pixel: it rounds y2 - 1 of a box that ends at y2 here.

`tfrcnn.kernels.roi_pool` says how it is computed.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrcnn.config import HeadConfig
from tfrcnn.kernels import Bins, Kernels
from tfrcnn.layers.base import GeometryLayer, KernelLayer, register, spec


@register
class RoIPool(KernelLayer[HeadConfig], GeometryLayer[HeadConfig]):
    """Take the maximum of each bin of every box, from one feature map.

    Example:
        pooled = RoIPool(HeadConfig(pooling="roi_pool"), strides=(16,))([feature], boxes)  # [B, P, 7, 7, C]
    """

    config_class = HeadConfig

    def __init__(
        self,
        config: HeadConfig | dict[str, Any],
        strides: tuple[int, ...] | list[int],
        kernels: Kernels | str = "tensorflow",
        **kwargs: Any,
    ) -> None:
        """
        Args:
            config: pool_size.
            strides: pixels of the network input per cell of the map; one, in a sequence as for `RoIAlign`.
            kernels: a set of kernels or its name, see `tfrcnn.kernels`.

        Raises:
            ValueError: several strides.
            InputError: no set of kernels has this name.
        """
        super().__init__(config, kernels, **kwargs)
        if len(strides) != 1:
            raise ValueError(f"RoIPool pools from one feature map, found strides {tuple(strides)}")
        self.strides = tuple(strides)

    def call(self, features: list[tf.Tensor], boxes: tf.Tensor) -> tf.Tensor:
        """
        Args:
            features: one [B, H, W, C].
            boxes: [B, P, 4] yxyx pixels of the network input.

        Returns:
            [B, P, p, p, C] float32.
        """
        feature = tf.cast(features[0], tf.float32)
        batch, count = tf.shape(boxes)[0], tf.shape(boxes)[1]
        images = tf.repeat(tf.range(batch), count)
        flat = tf.reshape(boxes, [-1, 4])
        bins = Bins(flat, images, *self.bins(flat, tf.shape(feature)[1:3]))
        pooled = self.kernels.roi_pool(feature, bins, self.strides[0], self.config)
        size, channels = self.config.pool_size, feature.shape[-1]
        pooled = tf.reshape(pooled, [batch, count, size, size, channels])
        pooled.set_shape([*boxes.shape[:2], size, size, channels])
        return pooled

    def bins(self, boxes: tf.Tensor, map_size: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Find the cells of each bin, by row and by column.

        Args:
            boxes: [R, 4] yxyx pixels.
            map_size: [2] int32 (H, W).

        Returns:
            first: [R, p, 2] int32.
            end: [R, p, 2] int32, one past the last; a bin with end <= first is empty.
        """
        corners = _round(boxes / self.strides[0])
        start, last = corners[:, None, :2], corners[:, None, 2:]
        sides = tf.maximum(last - start + 1, 1)
        size = self.config.pool_size
        number = tf.range(size)[:, None]
        first = start + number * sides // size
        end = start - (-(number + 1) * sides) // size  # -(-a // b) is a / b rounded up
        return tf.clip_by_value(first, 0, map_size), tf.clip_by_value(end, 0, map_size)

    def compute_output_spec(self, features: list[Any], boxes: Any) -> Any:
        size = self.config.pool_size
        return spec(*boxes.shape[:2], size, size, features[0].shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "strides": list(self.strides)}


def _round(x: tf.Tensor) -> tf.Tensor:
    """Round to the nearest integer, half-way away from zero (tf.round goes to even): 0.5 -> 1, -0.5 -> -1. int32."""
    whole = tf.cast(x, tf.int32)  # towards zero; adding 0.5 first would round 0.49999997 up
    part = x - tf.cast(whole, tf.float32)
    return whole + tf.cast(part >= 0.5, tf.int32) - tf.cast(part <= -0.5, tf.int32)
