"""RoIPool (Girshick, arXiv 1504.08083, section 2.1): RoI max pooling as the paper has it.

Legend: B batch, P boxes an image, R = B P, p pool_size, H x W cells of the map, C channels, L tables.

A box is rounded to whole cells, half-way away from zero as C's round() does, and its last cell is a part of it:

    first = round(y1 / stride),   last = round(y2 / stride),   h = max(last - first + 1, 1).

It is divided into p x p bins that share their border cells where h is no multiple of p,

    bin i = cells first + floor(i h / p) .. first + ceil((i + 1) h / p) - 1,   i = 0 .. p - 1,

cut off at the map's border. A bin is the maximum of its cells, 0 if it has none; its gradient goes to the first such
cell in row-major order. This is torchvision.ops.roi_pool and Caffe's ROIPooling, but for one thing: they multiply
float32's h / p, and where that is rounded up (for p = 7 first at h = 57) the last bin reads a cell beyond its box.
Here it is an integer division. Caffe's boxes end at their last pixel: a box to our y2 is rounded there from y2 - 1.

How: the maximum over any n cells in a row is that of two runs of 2^k cells, 2^k <= n < 2^(k + 1), the one that begins
where they begin and the one that ends where they end. With a table of the maxima over all runs of 2^i x 2^j cells, each
made of two of the runs half as long, a bin of any size is four look-ups.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfrcnn.config import HeadConfig
from tfrcnn.config_base import Config
from tfrcnn.layers.base import GeometryLayer, register
from tfrcnn.layers.native import native

LARGEST_POWER = 20  # a bin of 2^20 cells a side is larger than any map
Parts = tuple[tf.Tensor, ...]  # a map alone, or with the number of each cell beside it
Choose = Callable[[Parts, Parts], Parts]


@register
class RoIPool(GeometryLayer[HeadConfig]):
    """The maximum of each bin of every box, from one feature map."""

    config_class: type[Config] = HeadConfig

    def __init__(
        self, config: HeadConfig | dict[str, Any], strides: tuple[int, ...] | list[int], **kwargs: Any
    ) -> None:
        """
        Args:
            strides: pixels of the network input a cell of the map spans; one, in the form of `RoIAlign`.

        Raises:
            ValueError: several strides.
        """
        super().__init__(config, **kwargs)
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
        pool = native("roi_pool") or RoIPool._pool
        pooled = pool(self, feature, tf.reshape(boxes, [-1, 4]), images)
        size, channels = self.config.pool_size, feature.shape[-1]
        pooled = tf.reshape(pooled, [batch, count, size, size, channels])
        pooled.set_shape([*boxes.shape[:2], size, size, channels])
        return pooled

    def bins(self, boxes: tf.Tensor, map_size: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The cells of each bin, by row and by column.

        Args:
            boxes: [R, 4] yxyx pixels.
            map_size: [2] int32 (H, W).

        Returns:
            first [R, p, 2] int32, and end [R, p, 2], one past the last; a bin with end <= first is empty.
        """
        corners = _round(boxes / self.strides[0])
        start, last = corners[:, None, :2], corners[:, None, 2:]
        sides = tf.maximum(last - start + 1, 1)
        size = self.config.pool_size
        number = tf.range(size)[:, None]
        first = start + number * sides // size
        end = start - (-(number + 1) * sides) // size  # -(-a // b) is a / b rounded up
        return tf.clip_by_value(first, 0, map_size), tf.clip_by_value(end, 0, map_size)

    def _pool(self, feature: tf.Tensor, boxes: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        """[B, H, W, C], [R, 4], image [R] of each box -> [R, p, p, C]."""
        shape = tf.shape(feature)
        first, end = self.bins(boxes, shape[1:3])
        filled = end > first
        present = (filled[:, :, None, 0] & filled[:, None, :, 1])[..., None]

        @tf.custom_gradient
        def pool(feature: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
            def gradient(upstream: tf.Tensor) -> tf.Tensor:
                # the tables again, with the number of the largest cell: only training pays for it
                cells = tf.reshape(tf.range(tf.reduce_prod(shape[:3])), [*tf.unstack(shape[:3]), 1])
                cells = tf.broadcast_to(cells, shape)
                _, largest = _choose_in_bins((feature, cells), _first_larger, first, end, images)
                numbers = largest * shape[3] + tf.range(shape[3])
                flat = tf.reshape(tf.where(present, upstream, 0.0), [-1])
                total = tf.math.unsorted_segment_sum(flat, tf.reshape(numbers, [-1]), tf.reduce_prod(shape))
                return tf.reshape(total, shape)

            (maxima,) = _choose_in_bins((feature,), _larger, first, end, images)
            return tf.where(present, maxima, 0.0), gradient

        return pool(feature)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "strides": list(self.strides)}


def _round(x: tf.Tensor) -> tf.Tensor:
    """To the nearest integer, half-way away from zero (tf.round goes to even): 0.5 -> 1, -0.5 -> -1. int32."""
    whole = tf.cast(x, tf.int32)  # towards zero; adding 0.5 first would round 0.49999997 up
    part = x - tf.cast(whole, tf.float32)
    return whole + tf.cast(part >= 0.5, tf.int32) - tf.cast(part <= -0.5, tf.int32)


def _larger(a: Parts, b: Parts) -> Parts:
    return (tf.maximum(a[0], b[0]),)


def _first_larger(a: Parts, b: Parts) -> Parts:
    """Of pairs (value, number of the cell): the larger value, of equal ones the first cell."""
    is_b = (b[0] > a[0]) | ((b[0] == a[0]) & (b[1] < a[1]))
    return tf.where(is_b, b[0], a[0]), tf.where(is_b, b[1], a[1])


def _choose_in_bins(parts: Parts, choose: Choose, first: tf.Tensor, end: tf.Tensor, images: tf.Tensor) -> Parts:
    """Parts [B, H, W, C], bins [R, p, 2], images [R] -> the chosen of each bin's cells, parts [R, p, p, C]."""
    shape, static = tf.shape(parts[0]), parts[0].shape
    lengths = tf.maximum(end - first, 1)
    powers = tf.reduce_sum(tf.cast(lengths[..., None] >= 2 ** tf.range(1, LARGEST_POWER), tf.int32), axis=-1)
    counts: list[Any] = []
    for axis in (1, 2):
        if static[axis] is None:  # as many as the largest bin needs; two at least, for tf.scan
            counts.append(tf.maximum(tf.reduce_max(powers[..., axis - 1]) + 1, 2))
        else:
            counts.append(static[axis].bit_length())
        parts = _tables(parts, choose, axis - 4, counts[-1])
    # [L columns, L rows, B, H, W, C] -> a row of C for each table, image and cell
    flat = tuple(tf.reshape(part, [-1, static[-1]]) for part in parts)
    table = powers[:, None, :, 1] * counts[0] + powers[:, :, None, 0]
    start = (table * shape[0] + images[:, None, None]) * shape[1]

    # where runs begin: where the bin does, and so that they end where it does; an empty bin's anywhere on the map
    begins = [tf.minimum(x, shape[1:3] - 1) for x in (first, tf.maximum(end - 2**powers, 0))]
    chosen: Parts = ()
    for y in begins:
        for x in begins:
            index = (start + y[:, :, None, 0]) * shape[2] + x[:, None, :, 1]
            run = tuple(tf.gather(part, index) for part in flat)
            chosen = choose(chosen, run) if chosen else run
    return chosen


def _tables(parts: Parts, choose: Choose, axis: int, count: int | tf.Tensor) -> Parts:
    """The chosen of the 2^k cells from each cell on along an axis, k = 0 .. count - 1: [...] -> [count, ...].

    Runs that would end beyond the border end there.
    """
    cells = tf.shape(parts[0])[axis]

    def double(shorter: Parts, step: tf.Tensor) -> Parts:
        ahead = tf.minimum(tf.range(cells) + step, cells - 1)
        return choose(shorter, tuple(tf.gather(part, ahead, axis=axis) for part in shorter))

    if isinstance(count, int):  # TFLite has no arrays that a loop fills, of a size that it takes for static
        runs = [parts]
        for k in range(count - 1):
            runs.append(double(runs[-1], tf.constant(2**k)))
        return tuple(tf.stack(each) for each in zip(*runs))
    longer = tf.scan(double, 2 ** tf.range(count - 1), parts)
    return tuple(tf.concat([part[None], more], axis=0) for part, more in zip(parts, longer))
