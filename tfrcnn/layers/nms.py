"""Non-maximum suppression of many independent sets of boxes, padded, with counts.

Legend: S sets (images, or images x classes), P boxes a set, K kept at most.
"""

from __future__ import annotations

import tensorflow as tf

from tfrcnn.layers.native import native

MOST_UNROLLED = 128  # the sets of a batch whose number is known: an image of COCO's 80 or 90 classes


def batched_nms(
    boxes: tf.Tensor, scores: tf.Tensor, max_output_size: int, iou_threshold: float, score_threshold: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Greedy NMS within each set: a box is dropped if its IoU with a better kept one is above the threshold.

    Equal scores keep their order. Each set is a separate call of TensorFlow's kernel: shifting the boxes of every
    set by its own offset, so that one call serves all, rounds the coordinates and with them the IoU. The kernel is
    the padded one (V4), which keeps the count in TFLite and compiles under XLA.

    Args:
        boxes: [S, P, 4] yxyx.
        scores: [S, P]; only scores above `score_threshold` (strictly) take part.
        max_output_size: K.

    Returns:
        indices [S, K] int32 into P, best first, padded with 0, and counts [S] int32.
    """
    if replaced := native("nms"):
        return replaced(boxes, scores, max_output_size, iou_threshold, score_threshold)

    # XLA's kernel refuses to return more than it was given
    kept = max_output_size if boxes.shape[1] is None else min(max_output_size, boxes.shape[1])

    def one_set(args: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        indices, count = tf.raw_ops.NonMaxSuppressionV4(
            boxes=args[0],
            scores=args[1],
            max_output_size=kept,
            iou_threshold=iou_threshold,
            score_threshold=score_threshold,
            pad_to_max_output_size=True,
        )
        if kept < max_output_size:
            indices = tf.pad(indices, [[0, max_output_size - kept]])
        return tf.ensure_shape(indices, [max_output_size]), count

    sets = boxes.shape[0]
    if sets is not None and sets <= MOST_UNROLLED:  # no loop in the graph of an export for single images
        each = [one_set(one) for one in zip(tf.unstack(boxes), tf.unstack(scores))]
        return tf.stack([indices for indices, _ in each]), tf.stack([count for _, count in each])
    signature = (tf.TensorSpec([max_output_size], tf.int32), tf.TensorSpec([], tf.int32))
    return tf.map_fn(one_set, (boxes, scores), fn_output_signature=signature)
