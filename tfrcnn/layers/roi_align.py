"""RoIAlign (He et al., arXiv 1703.06870): a fixed-size crop of the feature maps for every box.

Legend: B batch, P boxes an image, R = B P, L levels, p pool_size, s sampling_ratio, n = p s samples a side, C channels.

What is wanted (torchvision.ops.roi_align, aligned=False): the box in feature coordinates, [y1, x1, y2, x2] / stride,
at least 1 x 1, is divided into p x p bins; a bin is the mean of s x s bilinear samples, at

    y(i) = y1 + (i + 1/2) h / n,   i = 0 .. n - 1,   h = max(y2 - y1, 1),

where the value of cell j lies at coordinate j. A sample with y < -1 or y > H counts 0; else it is clamped to [0, H -
1]. (With aligned=True, Detectron2's, the value of cell j lies at j + 1/2: y1 is less by 1/2, and there is no least h.)

What tf.image.crop_and_resize computes: y(i) = y1' (H' - 1) + i (y2' - y1') (H' - 1) / (p - 1) on a map of H' rows,
and 0 outside [0, H' - 1]. Repeating the border once on each side makes H' = H + 2 and moves coordinates by one:
samples in [-1, 0] and [H - 1, H] then interpolate between equal values, which is the clamping, and what lies beyond
is 0. So

    y1' = (1 + y(j)) / (H + 1),   y2' = (1 + y(j + s (p - 1))) / (H + 1)

gives the j-th samples of all bins, j = 0 .. s - 1, exactly, and the mean over the s x s crops is RoIAlign. On a 5 x 5
ramp (0 .. 24) the box [1, 1, 3, 3] to 4 x 4 with s = 1 begins 7.5, 8, 8.5, 9; passing the box / size as it is would
give 4.8, 5.33, 5.87, 6.4, wrong in phase and step. (With aligned=True the same row is 4.5, 5, 5.5, 6.)
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import tensorflow as tf

from tfrcnn import boxes as box_ops
from tfrcnn.config import HeadConfig
from tfrcnn.config_base import Config
from tfrcnn.layers.base import GeometryLayer, register
from tfrcnn.layers.native import native

CANONICAL_SIZE = 224  # a box of this side, ImageNet's crop, goes to ...
CANONICAL_LEVEL = 4  # ... the level of stride 2**4 (FPN paper, equation 1)
IMPLEMENTATIONS = ("crop_and_resize", "gather", "matmul")


@register
class RoIAlign(GeometryLayer[HeadConfig]):
    """Pool every box from the level that suits its size: floor(4 + log2(sqrt(area) / 224)), clamped to the levels.

    Three implementations give the same numbers: "crop_and_resize" (fast on CPU and GPU), "gather" (static shapes; the
    one that XLA, TFLite and ONNX take), and "matmul" (the same, and several times as fast where maps are small).

    On a CPU, TensorFlow's gradient of crop_and_resize is computed by several threads that add to one map without a
    lock, and now and then an addition is lost. `tf.config.experimental.enable_op_determinism()` makes it one thread,
    no slower in a training step on two cores; `tfrcnn.train` does so where there is no GPU. "gather" is always exact.
    """

    config_class: type[Config] = HeadConfig

    def __init__(
        self,
        config: HeadConfig | dict[str, Any],
        strides: tuple[int, ...] | list[int],
        implementation: str = "crop_and_resize",
        **kwargs: Any,
    ) -> None:
        """
        Args:
            strides: pixels of the network input a cell of each level spans, powers of two, finest first.
            implementation: "crop_and_resize", "gather" or "matmul".

        Raises:
            ValueError: an unknown implementation.
        """
        super().__init__(config, **kwargs)
        if implementation not in IMPLEMENTATIONS:
            raise ValueError(f"implementation must be one of {', '.join(IMPLEMENTATIONS)}, found {implementation!r}")
        self.strides = tuple(strides)
        self.implementation = implementation
        self.supports_jit = implementation != "crop_and_resize"  # XLA has no kernel for crop_and_resize

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
        pools = (self._crop_and_resize, self._gather, self._matmul)
        pool: Any = pools[IMPLEMENTATIONS.index(self.implementation)]
        if replaced := native("roi_align"):
            pool = partial(replaced, self)
        pooled = pool(features, tf.reshape(boxes, [-1, 4]), levels, images)
        size = self.config.pool_size
        pooled = tf.reshape(pooled, [batch, count, size, size, features[0].shape[-1]])
        pooled.set_shape([*boxes.shape[:2], size, size, features[0].shape[-1]])
        return pooled

    def assign_levels(self, boxes: tf.Tensor) -> tf.Tensor:
        """Level of each box (FPN paper, equation 1): [..., 4] -> [...] int32 index into the strides."""
        finest = round(math.log2(self.strides[0]))
        sizes = tf.sqrt(box_ops.area(boxes))
        # 1e-6 as torchvision: a side of exactly 112 or 448 stays on its level whatever log2 rounds to
        exact = CANONICAL_LEVEL + tf.math.log(sizes / CANONICAL_SIZE) / math.log(2.0) + 1e-6
        return tf.cast(tf.clip_by_value(tf.floor(exact) - finest, 0, len(self.strides) - 1), tf.int32)

    def sample_positions(self, boxes: tf.Tensor, levels: tf.Tensor) -> tf.Tensor:
        """Where the map of its level is sampled for each box: y(i) above, and x(i) likewise.

        Args:
            boxes: [R, 4] yxyx pixels of the network input.
            levels: [R] int32 index into the strides, as of `assign_levels`.

        Returns:
            [R, n, 2] float32 (row, column) in cells of that map, where j is the value of cell j; s of a bin after s of
            the bin before it. Not clamped to the map.
        """
        strides = tf.gather(tf.constant(self.strides, tf.float32), levels)
        first, step = self._samples(boxes / strides[:, None])
        samples = self.config.pool_size * self.config.sampling_ratio
        return first[:, None] + step[:, None] * tf.range(samples, dtype=tf.float32)[None, :, None]

    def _samples(self, boxes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """First sample and step between samples in feature coordinates: [R, 4] boxes / stride -> two of [R, 2]."""
        first, sides = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
        if self.config.aligned:
            first = first - 0.5
        else:
            sides = tf.maximum(sides, 1.0)
        step = sides / (self.config.pool_size * self.config.sampling_ratio)
        return first + 0.5 * step, step

    def _average(self, samples: tf.Tensor) -> tf.Tensor:
        """[R, n, n, C] -> [R, p, p, C]: the mean of each bin's samples."""
        ratio = self.config.sampling_ratio
        return tf.nn.avg_pool2d(samples, ratio, ratio, "VALID") if ratio > 1 else samples

    def _crop_and_resize(
        self, features: list[tf.Tensor], boxes: tf.Tensor, levels: tf.Tensor, images: tf.Tensor
    ) -> tf.Tensor:
        indices, pooled = [], []
        for level, feature in enumerate(features):
            index = tf.where(levels == level)[:, 0]
            indices.append(tf.cast(index, tf.int32))
            own = tf.gather(boxes, index) / self.strides[level]
            pooled.append(self._mean_of_crops(feature, own, tf.gather(images, index)))
        return tf.dynamic_stitch(indices, pooled) if len(features) > 1 else pooled[0]

    def _mean_of_crops(self, feature: tf.Tensor, boxes: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        """[B, H, W, C] and [R, 4] boxes / stride -> [R, p, p, C].

        One crop of p x p for each sample of a bin, added up: a single one of n x n, pooled, is s x s times the memory,
        and pooling a number of boxes that is new in every step makes oneDNN compile and keep a kernel for each.
        """
        ratio, size = self.config.sampling_ratio, self.config.pool_size
        first, step = self._samples(boxes)
        bordered = tf.pad(feature, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="SYMMETRIC")
        extent = tf.cast(tf.shape(bordered)[1:3] - 1, tf.float32)
        across = step * (ratio * (size - 1))  # from a sample of the first bin to that of the last
        bordered = bordered / ratio**2  # the mean's division, exact for 2 x 2: one map is smaller than its crops
        total: Any = 0.0
        for row in range(ratio):
            for column in range(ratio):
                start = first + step * tf.constant([row, column], tf.float32) + 1.0
                normalized = tf.concat([start / extent, (start + across) / extent], axis=-1)
                total += tf.image.crop_and_resize(bordered, normalized, images, [size, size])
        return total

    def _gather(self, features: list[tf.Tensor], boxes: tf.Tensor, levels: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        channels = features[0].shape[-1]
        sizes = tf.stack([tf.shape(feature)[1:3] for feature in features])
        cells = tf.reduce_prod(sizes, axis=1)
        per_image = tf.reduce_sum(cells)
        # operators on cells are named so, which is how int8 exports tell them from those on coordinates
        flat = tf.concat([_flatten_cells(feature) for feature in features], axis=1, name="cells")
        flat = tf.reshape(flat, [-1, channels], name="cells")

        positions = self.sample_positions(boxes, levels)  # [R, n, 2]
        size = tf.gather(sizes, levels)[:, None]  # [R, 1, 2]
        limit = tf.cast(size, tf.float32)
        inside = tf.cast((positions >= -1.0) & (positions <= limit), tf.float32)
        positions = tf.clip_by_value(positions, 0.0, limit - 1.0)
        low = tf.floor(positions)
        high_weight = (positions - low) * inside
        low_weight = inside - high_weight
        low = tf.cast(low, tf.int32)
        high = tf.minimum(low + 1, size - 1)

        start = images * per_image + tf.gather(tf.cumsum(cells, exclusive=True), levels)
        total = tf.zeros([], tf.float32)
        for y, y_weight in ((low, low_weight), (high, high_weight)):
            rows = start[:, None] + y[..., 0] * size[..., 1]  # [R, n]
            for x, x_weight in ((low, low_weight), (high, high_weight)):
                cell = rows[:, :, None] + x[:, None, :, 1]  # [R, n, n]
                weight = y_weight[:, :, None, 0] * x_weight[:, None, :, 1]
                total += tf.gather(flat, cell, name="cells") * weight[..., None]
        return self._average(total)

    def _matmul(self, features: list[tf.Tensor], boxes: tf.Tensor, levels: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        """Interpolation and mean are linear, and separate for rows and columns: a bin is A_y F A_x^T, where a row of
        A_y [p, H] is the mean of its samples' hat functions max(1 - |y - j|, 0). Costs p H W C a box and level."""
        size, channels = self.config.pool_size, features[0].shape[-1]
        total = tf.zeros([], tf.float32)
        for level, feature in enumerate(features):
            batch, height, width = tf.unstack(tf.shape(feature)[:3])
            first, step = self._samples(boxes / self.strides[level])
            on_level = tf.cast(levels == level, tf.float32)[:, None, None]
            rows = self._hats(first[:, 0], step[:, 0], height) * on_level
            columns = self._hats(first[:, 1], step[:, 1], width)
            rows = tf.reshape(rows, [batch, -1, height])  # [B, P p, H]
            mixed = tf.matmul(rows, tf.reshape(feature, [batch, height, width * channels]))
            total += tf.matmul(columns[:, None], tf.reshape(mixed, [-1, size, width, channels]))
        return total

    def _hats(self, first: tf.Tensor, step: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        """Weights of a map's rows (or columns) in each bin: first sample and step [R] -> [R, p, length]."""
        size, ratio = self.config.pool_size, self.config.sampling_ratio
        positions = first[:, None] + step[:, None] * tf.range(size * ratio, dtype=tf.float32)  # [R, n]
        limit = tf.cast(length, tf.float32)
        inside = tf.cast((positions >= -1.0) & (positions <= limit), tf.float32)
        distance = tf.abs(tf.clip_by_value(positions, 0.0, limit - 1.0)[..., None] - tf.range(limit))
        hats = tf.nn.relu(1.0 - distance) * inside[..., None]
        return tf.reduce_mean(tf.reshape(hats, [-1, size, ratio, length]), axis=2)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "strides": list(self.strides), "implementation": self.implementation}


def _flatten_cells(feature: tf.Tensor) -> tf.Tensor:
    """[B, H, W, C] -> [B, H W, C]."""
    shape = tf.shape(feature)
    return tf.reshape(feature, [shape[0], shape[1] * shape[2], feature.shape[-1]], name="cells")
