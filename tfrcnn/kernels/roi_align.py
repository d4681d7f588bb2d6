"""RoIAlign in three ways, each from the samples of `tfrcnn.boxes.roi_samples`.

Legend: B batch, R boxes of a batch, L levels, p pool_size, s sampling_ratio, n = p s samples per side, C channels.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrcnn import boxes as box_ops
from tfrcnn.config import HeadConfig
from tfrcnn.kernels.interface import Crops

Corners = tuple[tuple[tf.Tensor, tf.Tensor], ...]  # (index, weight) of the lower and of the higher side


def crop_and_resize(features: list[tf.Tensor], crops: Crops, strides: tuple[int, ...], config: HeadConfig) -> tf.Tensor:
    """Pool by `tf.image.crop_and_resize`: fast on CPU and GPU; XLA has no kernel for it.

    It samples at y(i) = y1' (H' - 1) + i (y2' - y1') (H' - 1) / (p - 1) on a map of H' rows, and gives 0 outside
    [0, H' - 1]. Repeating the border once on each side makes H' = H + 2 and moves coordinates by one: samples in
    [-1, 0] and [H - 1, H] then interpolate between equal values, which is RoIAlign's clamping. Samples beyond are 0.
    Take RoIAlign's samples y(j). Then

        y1' = (1 + y(j)) / (H + 1),   y2' = (1 + y(j + s (p - 1))) / (H + 1)

    gives the j-th samples of all bins, j = 0 .. s - 1, exactly. The mean over the s x s crops is RoIAlign. On a 5 x 5
    ramp (0 .. 24) the box [1, 1, 3, 3] to 4 x 4 with s = 1 starts with 7.5, 8, 8.5, 9. Passing the box / size unchanged
    would give 4.8, 5.33, 5.87, 6.4: the wrong phase and the wrong step.

    On a CPU, several threads of TensorFlow's gradient add to one map without a lock, and sometimes an addition is lost.
    `tf.config.experimental.enable_op_determinism()` makes it one thread, no slower in a training step on two cores;
    `tfrcnn.train` does so where there is no GPU.

    Args:
        features: per level [B, H, W, C] float32.
        crops: the boxes with their images and levels.
        strides: pixels per cell of each level.
        config: pool_size, sampling_ratio and aligned.

    Returns:
        [R, p, p, C].
    """
    indices, pooled = [], []
    for level, feature in enumerate(features):
        index = tf.where(crops.levels == level)[:, 0]
        indices.append(tf.cast(index, tf.int32))
        boxes = tf.gather(crops.boxes, index) / strides[level]
        pooled.append(_mean_of_crops(feature, boxes, tf.gather(crops.images, index), config))
    return tf.dynamic_stitch(indices, pooled) if len(features) > 1 else pooled[0]


def _mean_of_crops(feature: tf.Tensor, boxes: tf.Tensor, images: tf.Tensor, config: HeadConfig) -> tf.Tensor:
    """Pool [B, H, W, C] by boxes [R, 4], in cells, to [R, p, p, C].

    One crop of p x p for each sample of a bin, added up. A single crop of n x n, pooled, is s x s times the memory, and
    oneDNN compiles and keeps a kernel for each new number of boxes that it pools.
    """
    ratio, size = config.sampling_ratio, config.pool_size
    first, step = box_ops.roi_samples(boxes, config)
    bordered = tf.pad(feature, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="SYMMETRIC")
    extent = tf.cast(tf.shape(bordered)[1:3] - 1, tf.float32)
    across = step * (ratio * (size - 1))  # from a sample of the first bin to the same sample of the last
    bordered = bordered / ratio**2  # the mean's division, exact for 2 x 2: one map is smaller than its crops
    total: Any = 0.0
    for row in range(ratio):
        for column in range(ratio):
            start = first + step * tf.constant([row, column], tf.float32) + 1.0
            normalized = tf.concat([start / extent, (start + across) / extent], axis=-1)
            total += tf.image.crop_and_resize(bordered, normalized, images, [size, size])
    return total


def gather(features: list[tf.Tensor], crops: Crops, strides: tuple[int, ...], config: HeadConfig) -> tf.Tensor:
    """Pool by four gathers of cells: static shapes, which XLA, TFLite and ONNX take. The gradient is always exact.

    Operators on cells are named "cells". Exports in 8 bits recognise them by that name; operators
    on coordinates stay float32.

    Arguments and result as `crop_and_resize`.
    """
    flat, rows, columns = corners(features, crops, strides, config)
    total = tf.zeros([], tf.float32)
    for row, y_weight in rows:
        for column, x_weight in columns:
            cell = row[:, :, None] + column[:, None]  # [R, n, n]
            weight = y_weight[:, :, None] * x_weight[:, None]
            total += tf.gather(flat, cell, name="cells") * weight[..., None]
    ratio = config.sampling_ratio
    return tf.nn.avg_pool2d(total, ratio, ratio, "VALID") if ratio > 1 else total


def corners(
    features: list[tf.Tensor], crops: Crops, strides: tuple[int, ...], config: HeadConfig
) -> tuple[tf.Tensor, Corners, Corners]:
    """Find the four cells around each sample, and their weights: a sample is the weighted sum of its cells.

    A cell's index into `cells` is the sum of its row's and its column's. Its weight is the product of theirs.

    Arguments as `crop_and_resize`.

    Returns:
        cells: [N, C], the cells of all levels and images.
        rows: (index [R, n] int32, weight [R, n] float32) of the row above each sample, and of the row below it.
        columns: The same for the column on the left, and for the column on the right.
    """
    channels = features[0].shape[-1]
    sizes = tf.stack([tf.shape(feature)[1:3] for feature in features])
    cells = tf.reduce_prod(sizes, axis=1)
    per_image = tf.reduce_sum(cells)
    flat = tf.concat([_flatten_cells(feature) for feature in features], axis=1, name="cells")
    flat = tf.reshape(flat, [-1, channels], name="cells")

    stride = tf.gather(tf.constant(strides, tf.float32), crops.levels)
    positions = box_ops.roi_positions(crops.boxes / stride[:, None], config)  # [R, n, 2]
    size = tf.gather(sizes, crops.levels)[:, None]  # [R, 1, 2]
    limit = tf.cast(size, tf.float32)
    inside = tf.cast((positions >= -1.0) & (positions <= limit), tf.float32)
    positions = tf.clip_by_value(positions, 0.0, limit - 1.0)
    low = tf.floor(positions)
    high_weight = (positions - low) * inside
    low_weight = inside - high_weight
    low = tf.cast(low, tf.int32)
    high = tf.minimum(low + 1, size - 1)

    start = crops.images * per_image + tf.gather(tf.cumsum(cells, exclusive=True), crops.levels)
    pairs = ((low, low_weight), (high, high_weight))
    rows = tuple((start[:, None] + y[..., 0] * size[..., 1], weight[..., 0]) for y, weight in pairs)
    columns = tuple((x[..., 1], weight[..., 1]) for x, weight in pairs)
    return flat, rows, columns


def _flatten_cells(feature: tf.Tensor) -> tf.Tensor:
    """[B, H, W, C] -> [B, H W, C]."""
    shape = tf.shape(feature)
    return tf.reshape(feature, [shape[0], shape[1] * shape[2], feature.shape[-1]], name="cells")


def matmul(features: list[tf.Tensor], crops: Crops, strides: tuple[int, ...], config: HeadConfig) -> tf.Tensor:
    """Pool by two products of matrices: static shapes as `gather`, and several times as fast on small maps.

    Interpolation and mean are linear, and separate for rows and columns: a bin is A_y F A_x^T, where a row of A_y
    [p, H] is the mean of its samples' hat functions max(1 - |y - j|, 0). The cost is p H W C per box and level.

    Arguments and result as `crop_and_resize`.
    """
    size, channels = config.pool_size, features[0].shape[-1]
    total = tf.zeros([], tf.float32)
    for level, feature in enumerate(features):
        batch, height, width = tf.unstack(tf.shape(feature)[:3])
        first, step = box_ops.roi_samples(crops.boxes / strides[level], config)
        on_level = tf.cast(crops.levels == level, tf.float32)[:, None, None]
        rows = _hats(first[:, 0], step[:, 0], height, config) * on_level
        columns = _hats(first[:, 1], step[:, 1], width, config)
        rows = tf.reshape(rows, [batch, -1, height])  # [B, P p, H]
        mixed = tf.matmul(rows, tf.reshape(feature, [batch, height, width * channels]))
        total += tf.matmul(columns[:, None], tf.reshape(mixed, [-1, size, width, channels]))
    return total


def _hats(first: tf.Tensor, step: tf.Tensor, length: tf.Tensor, config: HeadConfig) -> tf.Tensor:
    """Weights of a map's rows (or columns) in each bin: first sample and step [R] -> [R, p, length]."""
    size, ratio = config.pool_size, config.sampling_ratio
    positions = first[:, None] + step[:, None] * tf.range(size * ratio, dtype=tf.float32)  # [R, n]
    limit = tf.cast(length, tf.float32)
    inside = tf.cast((positions >= -1.0) & (positions <= limit), tf.float32)
    distance = tf.abs(tf.clip_by_value(positions, 0.0, limit - 1.0)[..., None] - tf.range(limit))
    hats = tf.nn.relu(1.0 - distance) * inside[..., None]
    return tf.reduce_mean(tf.reshape(hats, [-1, size, ratio, length]), axis=2)
