"""Kernels for tf2onnx: ONNX's NonMaxSuppression, RoiAlign and MaxRoiPool inside a TensorFlow graph.

TensorFlow has no NMS over several sets and no RoI pooling. The graph holds a `PyFunc` for each, which never runs; its
token names the ONNX operator, and a handler converts it.

Legend: S sets (images, or images x classes), P boxes per set, K kept at most, N kept in all; R boxes, L levels,
p pool_size, C channels.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from ...config import HeadConfig, ImageConfig
from ...kernels import Bins, Crops, Kernels
from ...kernels.nms import by_rank
from ...models import FasterRCNN
from ...models.faster_rcnn import POOLINGS


def operator(op_type: str, inputs: list[tf.Tensor], dtype: tf.DType, **attributes: Any) -> tf.Tensor:
    """Add an ONNX operator to a graph that tf2onnx converts with `HANDLERS`; the output's shape is unknown."""
    token = json.dumps({"op_type": op_type, "attributes": attributes})
    return tf.raw_ops.PyFunc(input=inputs, token=token, Tout=[dtype])[0]


def _to_operator(graph: Any, node: Any, name: str, args: Any) -> None:
    """Handle the `PyFunc` of `operator`."""
    token = json.loads(node.get_attr_value("token"))
    dtypes, shapes = node.output_dtypes, node.output_shapes
    graph.remove_node(node.name)
    graph.make_node(
        token["op_type"],
        node.input,
        attr=token["attributes"],
        outputs=node.output,
        name=node.name,
        shapes=shapes,
        dtypes=dtypes,
    )


def _to_where(graph: Any, node: Any, name: str, args: Any) -> None:
    """Keep tf.where(c, x, y). tf2onnx writes x c + y (1 - c): six operators, and NaN from an infinite other branch."""
    node.type = "Where"


# tf2onnx's `custom_op_handlers`
HANDLERS: dict[str, Any] = {"PyFunc": (_to_operator, []), "SelectV2": (_to_where, [])}


@by_rank
def nms(boxes: tf.Tensor, ranks: tf.Tensor, max_output_size: int, iou_threshold: float) -> tuple[tf.Tensor, tf.Tensor]:
    """Suppress all sets by one ONNX NonMaxSuppression of S batches of one class; no Loop."""
    selected = operator(
        "NonMaxSuppression",
        [
            boxes,
            ranks[:, None],
            tf.constant([max_output_size], tf.int64),
            tf.constant([iou_threshold], tf.float32),
            tf.constant([0.0], tf.float32),
        ],
        tf.int64,
    )
    # [N, 3] rows (set, class, box), set after set, the best first
    selected = tf.cast(tf.ensure_shape(selected, [None, 3]), tf.int32)
    sets = tf.range(tf.shape(ranks)[0])
    counts = tf.reduce_sum(tf.cast(selected[None, :, 0] == sets[:, None], tf.int32), axis=1)
    first = tf.cumsum(counts, exclusive=True)
    slot = tf.range(max_output_size)[None]
    # slots beyond the count point at a zero after the last row
    row = tf.where(slot < counts[:, None], first[:, None] + slot, tf.shape(selected)[0])
    return tf.gather(tf.pad(selected[:, 2], [[0, 1]]), row), counts


def roi_align(features: list[tf.Tensor], crops: Crops, strides: tuple[int, ...], config: HeadConfig) -> tf.Tensor:
    """Pool by one ONNX RoiAlign per level, on the boxes of that level, like torchvision's export.

    Returns:
        [R, p, p, C]. If a fully connected layer follows (`feeds_dense`), the values stay in the order [R, C, p, p] of
        ONNX's operator: `prepare_weights` permutes that layer's weights once, in place of 15 MB (300 boxes of 128
        channels) in every run.
    """
    channels = features[0].shape[-1]
    boxes = tf.gather(crops.boxes, [1, 0, 3, 2], axis=-1)  # ONNX: x1, y1, x2, y2
    pooled, members = [], []
    for level, (feature, stride) in enumerate(zip(features, strides)):
        index = tf.where(crops.levels == level)[:, 0]
        crops_of_level = operator(
            "RoiAlign",
            [
                tf.transpose(feature, [0, 3, 1, 2]),
                tf.gather(boxes, index),
                tf.cast(tf.gather(crops.images, index), tf.int64),
            ],
            tf.float32,
            output_height=config.pool_size,
            output_width=config.pool_size,
            sampling_ratio=config.sampling_ratio,
            spatial_scale=1.0 / stride,
            coordinate_transformation_mode="half_pixel" if config.aligned else "output_half_pixel",
        )
        pooled.append(tf.ensure_shape(crops_of_level, [None, channels, config.pool_size, config.pool_size]))
        members.append(index)
    order = tf.concat(members, axis=0)
    return _channels_last(tf.gather(tf.concat(pooled, axis=0), tf.math.invert_permutation(order)), config)


def roi_pool(feature: tf.Tensor, bins: Bins, stride: int, config: HeadConfig) -> tf.Tensor:
    """Pool by ONNX's MaxRoiPool, which is Caffe's; returns what `roi_align` returns."""
    channels = feature.shape[-1]
    boxes = tf.gather(bins.boxes, [1, 0, 3, 2], axis=-1)  # ONNX: image, x1, y1, x2, y2
    crops = operator(
        "MaxRoiPool",
        [tf.transpose(feature, [0, 3, 1, 2]), tf.concat([tf.cast(bins.images, tf.float32)[:, None], boxes], axis=1)],
        tf.float32,
        pooled_shape=[config.pool_size, config.pool_size],
        spatial_scale=1.0 / stride,
    )
    return _channels_last(tf.ensure_shape(crops, [None, channels, config.pool_size, config.pool_size]), config)


def _channels_last(crops: tf.Tensor, config: HeadConfig) -> tf.Tensor:
    """[R, C, p, p] -> [R, p, p, C], see `roi_align`."""
    if feeds_dense(config):
        return tf.reshape(crops, [-1, config.pool_size, config.pool_size, crops.shape[1]])
    return tf.transpose(crops, [0, 2, 3, 1])


def normalize(images: tf.Tensor, image_sizes: tf.Tensor, config: ImageConfig) -> tf.Tensor:
    """Compute `images.normalize` with channels first; with channels last, operators would loop over three values."""
    if config.channel_order == "BGR":
        images = tf.reverse(images, axis=[-1])
    mean, std = (tf.constant(values, tf.float32)[:, None, None] for values in (config.mean, config.std))
    normalized = (tf.transpose(images, [0, 3, 1, 2]) - mean) / std
    sizes = tf.cast(image_sizes, tf.int32)
    rows = tf.range(tf.shape(images)[1])[:, None] < sizes[:, :1, None, None]
    columns = tf.range(tf.shape(images)[2]) < sizes[:, 1:, None, None]
    return tf.transpose(tf.where(rows & columns, normalized, 0.0), [0, 2, 3, 1])


def upsample(x: tf.Tensor, factor: int, like: tf.Tensor, cut: bool = True) -> tf.Tensor:
    """Repeat rows and columns by one Resize, and cut the result to the size of `like`.

    Set `cut` to False if the sizes match anyway: a cut is a pass over the largest maps, and keeps ONNX Runtime from
    leaving them in the layout of its convolutions.
    """
    if factor == 1:
        return x
    scales = tf.constant([1, 1, factor, factor], tf.float32)
    resized = operator(
        "Resize",
        [tf.transpose(x, [0, 3, 1, 2]), tf.zeros([0]), scales],
        tf.float32,
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    resized = tf.ensure_shape(resized, [None, x.shape[-1], None, None])
    if cut:
        shape = tf.shape(like)
        resized = resized[:, :, : shape[1], : shape[2]]
    return tf.transpose(resized, [0, 2, 3, 1])


def feeds_dense(config: HeadConfig) -> bool:
    """Return whether a hidden layer flattens the result of `roi_align` or `roi_pool`."""
    return bool(config.units) and not config.convs and not config.residual_blocks and config.pooling in POOLINGS


def in_order(pooled: tf.Tensor, config: HeadConfig) -> tf.Tensor:
    """Reorder the values of `roi_align`'s result [B, P, p, p, C] as its shape says."""
    if not feeds_dense(config):
        return pooled
    shape = tf.shape(pooled)
    pooled = tf.reshape(pooled, tf.concat([shape[:2], shape[4:], shape[2:4]], axis=0))
    return tf.transpose(pooled, [0, 1, 3, 4, 2])


def prepare_weights(detector: FasterRCNN) -> None:
    """Permute, in place, the first fully connected layers' inputs from (p, p, C) to the (C, p, p) of `roi_align`."""
    config = detector.config.head
    for head in detector.stages.heads if feeds_dense(config) else ():
        kernel = head.hidden[0].kernel
        inputs, units = kernel.shape
        size = config.pool_size
        values = kernel.numpy().reshape(size, size, inputs // size**2, units)
        kernel.assign(values.transpose(2, 0, 1, 3).reshape(inputs, units))


def onnx_kernels(detector: FasterRCNN) -> Kernels:
    """Return the kernels for a copy of this detector that tf2onnx converts; the copy itself cannot run."""
    return Kernels(
        name="onnx",
        nms=nms,
        roi_align=roi_align,
        roi_pool=roi_pool,
        normalize=normalize,
        upsample=partial(upsample, cut=not _halves_exactly(detector)),
        compiles=True,
    )


def _halves_exactly(detector: FasterRCNN) -> bool:
    """Return whether every map has exactly twice the size of the next, for all images.

    It has if convolutions are padded and the network's input is a multiple of the coarsest stride.
    """
    if detector.fpn is None:
        return False
    side, strides = detector.config.image.divisor, detector.fpn.strides
    if side % max(strides):
        return False
    side *= 8  # unpadded convolutions shrink maps, and small ones to nothing
    maps = detector.backbone(keras.Input((side, side, 3)))
    return all(feature.shape[1] * stride == side for feature, stride in zip(maps, strides))
