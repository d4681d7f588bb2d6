"""ONNX's own NonMaxSuppression, RoiAlign and MaxRoiPool, written into a TensorFlow graph for tf2onnx to find.

TensorFlow has no operator of all sets' NMS, nor of RoI pooling. Each is put into the graph as a `PyFunc` that never
runs and whose token says which ONNX operator it stands for; tf2onnx's handler of `PyFunc` turns it into that.

Legend: S sets (images, or images x classes), P boxes a set, K kept at most, N kept in all; R boxes, L levels,
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


def operator(op_type: str, inputs: list[tf.Tensor], dtype: tf.DType, **attributes: Any) -> tf.Tensor:
    """The output of an ONNX operator, of unknown shape; only inside a graph that tf2onnx converts with `HANDLERS`."""
    token = json.dumps({"op_type": op_type, "attributes": attributes})
    return tf.raw_ops.PyFunc(input=inputs, token=token, Tout=[dtype])[0]


def _to_operator(graph: Any, node: Any, name: str, args: Any) -> None:
    """tf2onnx's handler of what `operator` made."""
    stands_for = json.loads(node.get_attr_value("token"))
    dtypes, shapes = node.output_dtypes, node.output_shapes
    graph.remove_node(node.name)
    graph.make_node(
        stands_for["op_type"],
        node.input,
        attr=stands_for["attributes"],
        outputs=node.output,
        name=node.name,
        shapes=shapes,
        dtypes=dtypes,
    )


def _to_where(graph: Any, node: Any, name: str, args: Any) -> None:
    """tf.where(c, x, y) as it is. tf2onnx makes it x c + y (1 - c), which takes six operators and lets an infinity of
    the branch not taken through as NaN."""
    node.type = "Where"


# for tf2onnx
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
    # slots beyond the count point at a zero put behind the last row
    row = tf.where(slot < counts[:, None], first[:, None] + slot, tf.shape(selected)[0])
    return tf.gather(tf.pad(selected[:, 2], [[0, 1]]), row), counts


def roi_align(features: list[tf.Tensor], crops: Crops, strides: tuple[int, ...], config: HeadConfig) -> tf.Tensor:
    """RoIAlign as one ONNX RoiAlign a level, each on the boxes of that level, like torchvision's export.

    Returns:
        [R, p, p, C]. Where a fully connected layer comes next (`feeds_dense`), only the shape is that, and the order in
        memory is [R, C, p, p], as ONNX's operator leaves it: `prepare_weights` has permuted that layer's weights
        instead of 15 MB (300 boxes of 128 channels) in every run.
    """
    channels = features[0].shape[-1]
    boxes = tf.gather(crops.boxes, [1, 0, 3, 2], axis=-1)  # ONNX: x1, y1, x2, y2
    pooled, members = [], []
    for level, (feature, stride) in enumerate(zip(features, strides)):
        index = tf.where(crops.levels == level)[:, 0]
        one = operator(
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
        pooled.append(tf.ensure_shape(one, [None, channels, config.pool_size, config.pool_size]))
        members.append(index)
    order = tf.concat(members, axis=0)
    return _channels_last(tf.gather(tf.concat(pooled, axis=0), tf.math.invert_permutation(order)), config)


def roi_pool(feature: tf.Tensor, bins: Bins, stride: int, config: HeadConfig) -> tf.Tensor:
    """RoIPool as ONNX's MaxRoiPool, which is Caffe's; returned as by `roi_align`."""
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
    """`images.normalize`, channels first as convolutions have them in ONNX: with the three channels innermost, each of
    its operators runs over three numbers at a time."""
    if config.channel_order == "BGR":
        images = tf.reverse(images, axis=[-1])
    mean, std = (tf.constant(values, tf.float32)[:, None, None] for values in (config.mean, config.std))
    normalized = (tf.transpose(images, [0, 3, 1, 2]) - mean) / std
    sizes = tf.cast(image_sizes, tf.int32)
    rows = tf.range(tf.shape(images)[1])[:, None] < sizes[:, :1, None, None]
    columns = tf.range(tf.shape(images)[2]) < sizes[:, 1:, None, None]
    return tf.transpose(tf.where(rows & columns, normalized, 0.0), [0, 2, 3, 1])


def upsample(x: tf.Tensor, factor: int, like: tf.Tensor, cut: bool = True) -> tf.Tensor:
    """The feature pyramid's repetition, cut to the rows and columns of `like`, as one Resize.

    Without `cut` it is as large as `like` by itself. A cut is a pass over the largest maps, and keeps ONNX Runtime
    from leaving them in the layout of its convolutions.
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
    """Whether what `roi_align` returns is flattened for a hidden layer."""
    return bool(config.units) and not config.convs


def in_order(pooled: tf.Tensor, config: HeadConfig) -> tf.Tensor:
    """[B, P, p, p, C] as `roi_align` leaves it in memory -> with its numbers where the shape says."""
    if not feeds_dense(config):
        return pooled
    shape = tf.shape(pooled)
    pooled = tf.reshape(pooled, tf.concat([shape[:2], shape[4:], shape[2:4]], axis=0))
    return tf.transpose(pooled, [0, 1, 3, 4, 2])


def prepare_weights(detector: FasterRCNN) -> None:
    """Permute, in place, the first fully connected layer's inputs from (p, p, C) to the (C, p, p) of `roi_align`."""
    config = detector.config.head
    if feeds_dense(config):
        kernel = detector.box_head.hidden[0].kernel
        inputs, units = kernel.shape
        size = config.pool_size
        values = kernel.numpy().reshape(size, size, inputs // size**2, units)
        kernel.assign(values.transpose(2, 0, 1, 3).reshape(inputs, units))


def onnx_kernels(detector: FasterRCNN) -> Kernels:
    """The kernels for a copy of this detector that tf2onnx converts; the copy computes nothing by itself."""
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
    """Whether no map of the backbone is rounded, whatever the image: of padded convolutions, if the network's input is
    a multiple of the coarsest stride."""
    if detector.fpn is None:
        return False
    side, strides = detector.config.image.divisor, detector.fpn.strides
    if side % max(strides):
        return False
    side *= 8  # unpadded convolutions take something off, of small maps perhaps all
    maps = detector.backbone(keras.Input((side, side, 3)))
    return all(feature.shape[1] * stride == side for feature, stride in zip(maps, strides))
