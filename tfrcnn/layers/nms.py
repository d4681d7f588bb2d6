"""Non-maximum suppression of many independent sets of boxes, padded, with counts.

Legend: S sets (images, or images x classes), P boxes a set, K kept at most.
"""

from __future__ import annotations

import tensorflow as tf

from tfrcnn.layers.native import native

IMPLEMENTATIONS = ("combined", "padded")
MOST_UNROLLED = 128  # the sets of a batch whose number is known: an image of COCO's 80 or 90 classes
ABSENT = -1.0  # below any rank


def batched_nms(
    boxes: tf.Tensor,
    present: tf.Tensor,
    max_output_size: int,
    iou_threshold: float,
    implementation: str = "combined",
) -> tuple[tf.Tensor, tf.Tensor]:
    """Greedy NMS within each set: a box is dropped if its IoU with a better kept one is above the threshold.

    Boxes come in the order of their scores, and the kernels see ranks: scores of sigmoids and softmaxes saturate, and
    runtimes differ in which of two equals they take first. Each set is by itself: shifting the boxes of every set by
    its own offset, so that one set serves all, rounds the coordinates and with them the IoU.

    Args:
        boxes: [S, P, 4] yxyx, the best first.
        present: [S, P] bool; the others take no part.
        max_output_size: K.
        implementation: "combined", one call of TensorFlow's kernel for many sets, which runs on the CPU, on all of its
            cores; or "padded", one call of another kernel (V4) for each set, which compiles under XLA and is in TFLite.

    Returns:
        indices [S, K] int32 into P, best first, padded with 0, and counts [S] int32.

    Raises:
        ValueError: an unknown implementation.
    """
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(f"implementation must be one of {', '.join(IMPLEMENTATIONS)}, found {implementation!r}")
    ranks = tf.where(present, tf.cast(tf.range(tf.shape(boxes)[1], 0, -1), tf.float32), ABSENT)  # P .. 1
    if replaced := native("nms"):
        return replaced(boxes, ranks, max_output_size, iou_threshold, 0.0)
    nms = _combined if implementation == "combined" else _padded
    return nms(boxes, ranks, max_output_size, iou_threshold)


def _combined(
    boxes: tf.Tensor, ranks: tf.Tensor, max_output_size: int, iou_threshold: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """A set is an image of one class. The kernel returns scores for indices; a rank says whose it is."""
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


def _padded(
    boxes: tf.Tensor, ranks: tf.Tensor, max_output_size: int, iou_threshold: float
) -> tuple[tf.Tensor, tf.Tensor]:
    # XLA's kernel refuses to return more than it was given
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
    if sets is not None and sets <= MOST_UNROLLED:  # no loop in the graph of an export for single images
        each = [one_set(one) for one in zip(tf.unstack(boxes), tf.unstack(ranks))]
        return tf.stack([indices for indices, _ in each]), tf.stack([count for _, count in each])
    signature = (tf.TensorSpec([max_output_size], tf.int32), tf.TensorSpec([], tf.int32))
    return tf.map_fn(one_set, (boxes, ranks), fn_output_signature=signature)
