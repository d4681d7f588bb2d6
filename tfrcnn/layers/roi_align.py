"""RoIAlign (He et al., arXiv 1703.06870): a fixed-size crop of the feature maps for every box.

Legend: B batch, P boxes per image, R = B P, L levels, p pool_size, s sampling_ratio, n = p s samples per side,
C channels.

torchvision.ops.roi_align with aligned=False defines it. The box in feature coordinates, [y1, x1, y2, x2] / stride and
at least 1 x 1, is divided into p x p bins. A bin is the mean of s x s bilinear samples at

    y(i) = y1 + (i + 1/2) h / n,   i = 0 .. n - 1,   h = max(y2 - y1, 1),

where the value of cell j lies at coordinate j. A sample with y < -1 or y > H counts 0; others are clamped to
[0, H - 1]. If aligned (Detectron2), the value of cell j lies at j + 1/2: y1 is less by 1/2, and h has no minimum.

`tfrcnn.kernels.roi_align` says how each runtime computes it.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from tfrcnn import boxes as box_ops
from tfrcnn.config import HeadConfig
from tfrcnn.kernels import Crops, Kernels
from tfrcnn.layers.base import GeometryLayer, KernelLayer, register, spec

CANONICAL_SIZE = 224  # a box of this side, ImageNet's crop, goes to ...
CANONICAL_LEVEL = 4  # ... the level of stride 2**4 (FPN paper, equation 1)


@register
class RoIAlign(KernelLayer[HeadConfig], GeometryLayer[HeadConfig]):
    """Pool every box from the level that suits its size: floor(4 + log2(sqrt(area) / 224)), clamped to the levels.

    Example:
        pooled = RoIAlign(HeadConfig(), strides=(4, 8, 16, 32))(features, boxes)  # [B, P, 7, 7, C]
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
            config: pool_size, sampling_ratio and aligned.
            strides: pixels of the network input per cell of each level, powers of two, finest first.
            kernels: a set of kernels or its name, see `tfrcnn.kernels`.

        Raises:
            InputError: no set of kernels has this name.
        """
        super().__init__(config, kernels, **kwargs)
        self.strides = tuple(strides)

    def call(self, features: list[tf.Tensor], boxes: tf.Tensor) -> tf.Tensor:
        """
        Args:
            features: per level [B, H_l, W_l, C].
            boxes: [B, P, 4] yxyx pixels of the network input.

        Returns:
            [B, P, p, p, C] float32.
        """
        features = [tf.cast(feature, tf.float32) for feature in features]
        batch, count = tf.shape(boxes)[0], tf.shape(boxes)[1]
        levels = tf.reshape(self.assign_levels(boxes), [-1])
        images = tf.repeat(tf.range(batch), count)
        flat = tf.reshape(boxes, [-1, 4])
        pooled = self.kernels.roi_align(features, Crops(flat, images, levels), self.strides, self.config)
        size = self.config.pool_size
        pooled = tf.reshape(pooled, [batch, count, size, size, features[0].shape[-1]])
        pooled.set_shape([*boxes.shape[:2], size, size, features[0].shape[-1]])
        return pooled

    def assign_levels(self, boxes: tf.Tensor) -> tf.Tensor:
        """Choose the level of each box (FPN paper, equation 1): [..., 4] -> [...] int32 index into the strides."""
        finest = round(math.log2(self.strides[0]))
        sizes = tf.sqrt(box_ops.area(boxes))
        # 1e-6 as torchvision: a side of exactly 112 or 448 stays on its level however log2 rounds
        exact = CANONICAL_LEVEL + tf.math.log(sizes / CANONICAL_SIZE) / math.log(2.0) + 1e-6
        return tf.cast(tf.clip_by_value(tf.floor(exact) - finest, 0, len(self.strides) - 1), tf.int32)

    def sample_positions(self, boxes: tf.Tensor, levels: tf.Tensor) -> tf.Tensor:
        """Compute where each box samples the map of its level: y(i) above, and x(i) in the same way.

        Args:
            boxes: [R, 4] yxyx pixels of the network input.
            levels: [R] int32 index into the strides, from `assign_levels`.

        Returns:
            [R, n, 2] float32 (row, column) in cells of that map, not clamped to it. The value of cell j lies at j. The
            s samples of a bin follow the s samples of the bin before.
        """
        strides = tf.gather(tf.constant(self.strides, tf.float32), levels)
        return box_ops.roi_positions(boxes / strides[:, None], self.config)

    def compute_output_spec(self, features: list[Any], boxes: Any) -> Any:
        size = self.config.pool_size
        return spec(*boxes.shape[:2], size, size, features[0].shape[-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "strides": list(self.strides)}
