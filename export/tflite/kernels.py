"""RoIAlign for LiteRT: by gathers, for a few boxes at a time, so that their cells stay in the cache.

Legend: R boxes, p pool_size, s sampling_ratio, n = p s samples per side, C channels.
"""

from __future__ import annotations

import math
from dataclasses import replace

import tensorflow as tf

from ...config import HeadConfig
from ...kernels import PORTABLE, Crops
from ...kernels.roi_align import Corners, corners

CHUNK_BYTES = 2**20  # of float32 cells; two such tensors are in use at a time
MAX_CHUNKS = 500  # TensorFlow's converter takes 26 s for 1000 chunks, and 7 s for 250


def gather_in_chunks(
    features: list[tf.Tensor], crops: Crops, strides: tuple[int, ...], config: HeadConfig
) -> tf.Tensor:
    """Pool by one gather of all cells of a few boxes, then of the next few.

    The sum over a sample's cells and the mean over a bin's samples are one pooling of 2 s x 2 s cells.

    LiteRT first runs all operators that XNNPACK lacks, here all gathers, as far as their inputs are there. So each
    chunk waits for the one before: it adds 0 to its indices, computed from the pooled cells.

    Arguments and result as `crop_and_resize`.
    """
    flat, rows, columns = corners(features, crops, strides, config)
    window = 2 * config.sampling_ratio
    side = config.pool_size * window
    (row, y_weight), (column, x_weight) = _interleave(rows, side), _interleave(columns, side)
    cells = row[:, :, None] + column[:, None]  # [R, 2 n, 2 n]
    weights = (2.0 * y_weight[:, :, None] * (2.0 * x_weight[:, None]))[..., None]  # the pooling divides by 4 too many
    pooled: list[tf.Tensor] = []
    for index, weight in zip(*_split(max(CHUNK_BYTES // (4 * side**2 * flat.shape[-1]), 1), cells, weights)):
        if pooled:
            index += tf.argmax(pooled[-1][0, 0, 0, :1], output_type=tf.int32)  # of one number: 0
        weighted = tf.gather(flat, index, name="cells") * weight
        pooled.append(tf.nn.avg_pool2d(weighted, window, window, "VALID"))
    return tf.concat(pooled, axis=0)


def _split(chunk: int, *tensors: tf.Tensor) -> list[list[tf.Tensor]]:
    """Cut tensors [R, ...] to `chunk` boxes each, or more if R is large, and the last one to the rest."""
    count = tensors[0].shape[0]
    if count is None:  # Keras traces the layer for any number of images before the exporter does for one
        return [[tensor] for tensor in tensors]
    chunk = max(chunk, math.ceil(count / MAX_CHUNKS))
    sizes = [min(chunk, count - first) for first in range(0, count, chunk)]
    return [tf.split(tensor, sizes) for tensor in tensors]


def _interleave(pair: Corners, side: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Alternate the lower and the higher side: indices and weights [R, n] -> [R, 2 n]."""
    indices, weights = zip(*pair)
    return tf.reshape(tf.stack(indices, axis=-1), [-1, side]), tf.reshape(tf.stack(weights, axis=-1), [-1, side])


LITERT = replace(PORTABLE, name="litert", roi_align=gather_in_chunks)
