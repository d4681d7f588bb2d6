"""RoI max pooling of bins of any size, by tables of maxima.

Legend: B batch, R boxes of a batch, p pool_size, H x W cells of the map, C channels, L tables.

The maximum over any n cells in a row is the larger of two runs of 2^k cells, 2^k <= n < 2^(k + 1): one that begins
where the cells begin, and one that ends where they end. A table holds the maxima over all
runs of 2^i x 2^j cells, each made of two runs half as long; a bin of any size is then four look-ups.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tfrcnn.config import HeadConfig
from tfrcnn.kernels.interface import Bins

MAX_POWER = 20  # a bin of 2^20 cells per side is larger than any map
Parts = tuple[tf.Tensor, ...]  # a map alone, or with the number of each cell
Choose = Callable[[Parts, Parts], Parts]


def tables(feature: tf.Tensor, bins: Bins, stride: int, config: HeadConfig) -> tf.Tensor:
    """Take the maximum of each bin, 0 if it has no cell; TensorFlow, XLA and TFLite run it.

    The gradient goes to the first largest cell in row-major order.

    Args:
        feature: [B, H, W, C] float32.
        bins: the boxes and the cells of their bins.
        stride: pixels per cell; not needed here.
        config: the head's; not needed here.

    Returns:
        [R, p, p, C].
    """
    shape = tf.shape(feature)
    filled = bins.end > bins.first
    present = (filled[:, :, None, 0] & filled[:, None, :, 1])[..., None]

    def pool(feature: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            # the tables again, with the number of the largest cell: only training pays for it
            cells = tf.reshape(tf.range(tf.reduce_prod(shape[:3])), [*tf.unstack(shape[:3]), 1])
            cells = tf.broadcast_to(cells, shape)
            _, largest = _choose_in_bins((feature, cells), _first_larger, bins)
            numbers = largest * shape[3] + tf.range(shape[3])
            flat = tf.reshape(tf.where(present, upstream, 0.0), [-1])
            total = tf.math.unsorted_segment_sum(flat, tf.reshape(numbers, [-1]), tf.reduce_prod(shape))
            return tf.reshape(total, shape)

        (maxima,) = _choose_in_bins((feature,), _larger, bins)
        return tf.where(present, maxima, 0.0), gradient

    return tf.custom_gradient(pool)(feature)


def _larger(a: Parts, b: Parts) -> Parts:
    """The larger value."""
    return (tf.maximum(a[0], b[0]),)


def _first_larger(a: Parts, b: Parts) -> Parts:
    """The larger of two pairs (value, number of the cell); the first cell of two equal values."""
    is_b = (b[0] > a[0]) | ((b[0] == a[0]) & (b[1] < a[1]))
    return tf.where(is_b, b[0], a[0]), tf.where(is_b, b[1], a[1])


def _choose_in_bins(parts: Parts, choose: Choose, bins: Bins) -> Parts:
    """Choose one cell in each bin: parts [B, H, W, C] -> parts [R, p, p, C]."""
    shape, static = tf.shape(parts[0]), parts[0].shape
    lengths = tf.maximum(bins.end - bins.first, 1)
    powers = tf.reduce_sum(tf.cast(lengths[..., None] >= 2 ** tf.range(1, MAX_POWER), tf.int32), axis=-1)
    counts: list[Any] = []
    for axis in (1, 2):
        if static[axis] is None:  # as many as the largest bin needs; at least two, for tf.scan
            counts.append(tf.maximum(tf.reduce_max(powers[..., axis - 1]) + 1, 2))
        else:
            counts.append(static[axis].bit_length())
        parts = _tables(parts, choose, axis - 4, counts[-1])
    # [L columns, L rows, B, H, W, C] -> a row of C for each table, image and cell
    flat = tuple(tf.reshape(part, [-1, static[-1]]) for part in parts)
    table = powers[:, None, :, 1] * counts[0] + powers[:, :, None, 0]
    start = (table * shape[0] + bins.images[:, None, None]) * shape[1]

    # one run begins with the bin, the other ends with it; runs of an empty bin lie anywhere on the map
    begins = [tf.minimum(x, shape[1:3] - 1) for x in (bins.first, tf.maximum(bins.end - 2**powers, 0))]
    chosen: Parts = ()
    for y in begins:
        for x in begins:
            index = (start + y[:, :, None, 0]) * shape[2] + x[:, None, :, 1]
            run = tuple(tf.gather(part, index) for part in flat)
            chosen = choose(chosen, run) if chosen else run
    return chosen


def _tables(parts: Parts, choose: Choose, axis: int, count: int | tf.Tensor) -> Parts:
    """Choose among the 2^k cells that start at each cell along an axis, k = 0 .. count - 1: [...] -> [count, ...].

    Runs are cut off at the border.
    """
    cells = tf.shape(parts[0])[axis]

    def double(shorter: Parts, step: tf.Tensor) -> Parts:
        ahead = tf.minimum(tf.range(cells) + step, cells - 1)
        return choose(shorter, tuple(tf.gather(part, ahead, axis=axis) for part in shorter))

    if isinstance(count, int):  # TFLite cannot fill an array of static size in a loop
        runs = [parts]
        for k in range(count - 1):
            runs.append(double(runs[-1], tf.constant(2**k)))
        return tuple(tf.stack(each) for each in zip(*runs))
    longer = tf.scan(double, 2 ** tf.range(count - 1), parts)
    return tuple(tf.concat([part[None], more], axis=0) for part, more in zip(parts, longer))
