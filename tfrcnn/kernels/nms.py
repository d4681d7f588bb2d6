"""Greedy non-maximum suppression of many independent sets of boxes.

Legend: S sets (images, or images x classes), P boxes per set, K kept per set.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfrcnn.kernels.interface import ABSENT, NMS, Kept

MAX_UNROLLED = 128  # sets of a static batch without a loop: one image of COCO's 80 or 90 classes
# (boxes [S, P, 4], ranks [S, P], K, IoU threshold) -> indices [S, K] int32, 0 in empty slots, and counts [S] int32.
# Only boxes with a rank above 0 take part.
Select = Callable[[tf.Tensor, tf.Tensor, int, float], tuple[tf.Tensor, tf.Tensor]]


def by_rank(select: Select) -> NMS:
    """Make an NMS kernel from a runtime's operator, which sees ranks for scores.

    Scores of sigmoids and softmaxes saturate, and runtimes differ in which of two equals they take first. Ranks differ.
    Each set stays separate: shifting the boxes of every set by an offset, so that one call serves all sets, would round
    the coordinates and with them the IoU.
    """

    def nms(boxes: tf.Tensor, scores: tf.Tensor, valid: tf.Tensor, max_output_size: int, iou_threshold: float) -> Kept:
        ranks = tf.where(valid, tf.cast(tf.range(tf.shape(boxes)[1], 0, -1), tf.float32), ABSENT)  # P .. 1
        indices, counts = select(boxes, ranks, max_output_size, iou_threshold)
        filled = tf.range(max_output_size)[None] < counts[:, None]
        if boxes.shape[1] == 0:  # nothing to gather from
            return Kept(indices, tf.fill(tf.shape(indices), ABSENT), counts)
        return Kept(indices, tf.where(filled, tf.gather(scores, indices, batch_dims=1), ABSENT), counts)

    return nms


@by_rank
def combined(
    boxes: tf.Tensor, ranks: tf.Tensor, max_output_size: int, iou_threshold: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Suppress all sets in one call of TensorFlow's CPU kernel, which uses all cores.

    A set is an image with one class. The kernel returns scores instead of indices, and a rank names its box.
    """
    kept = tf.image.combined_non_max_suppression(
        boxes[:, :, None],
        ranks[:, :, None],
        max_output_size_per_class=max_output_size,
        max_total_size=max_output_size,
        iou_threshold=iou_threshold,
        score_threshold=0.0,
        clip_boxes=False,
    )
    indices = tf.shape(boxes)[1] - tf.cast(kept.nmsed_scores, tf.int32)
    slots = tf.range(max_output_size)[None] < kept.valid_detections[:, None]
    return tf.where(slots, indices, 0), kept.valid_detections


@by_rank
def padded(
    boxes: tf.Tensor, ranks: tf.Tensor, max_output_size: int, iou_threshold: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Suppress each set by one call of NonMaxSuppressionV4, which XLA compiles and TFLite has.

    The graph of a static batch has one call per set and no loop, as in an export for single images.
    """
    # XLA's kernel cannot return more boxes than it gets
    kept = max_output_size if boxes.shape[1] is None else min(max_output_size, boxes.shape[1])

    def one_set(args: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        indices, count = tf.raw_ops.NonMaxSuppressionV4(
            boxes=args[0],
            scores=args[1],
            max_output_size=kept,
            iou_threshold=iou_threshold,
            score_threshold=0.0,
            pad_to_max_output_size=True,
        )
        if kept < max_output_size:
            indices = tf.pad(indices, [[0, max_output_size - kept]])
        return tf.ensure_shape(indices, [max_output_size]), count

    sets = boxes.shape[0]
    if sets is not None and sets <= MAX_UNROLLED:
        results = [one_set(one) for one in zip(tf.unstack(boxes), tf.unstack(ranks))]
        return tf.stack([indices for indices, _ in results]), tf.stack([count for _, count in results])
    signature = (tf.TensorSpec([max_output_size], tf.int32), tf.TensorSpec([], tf.int32))
    indices, counts = tf.map_fn(one_set, (boxes, ranks), fn_output_signature=signature)
    return indices, counts
