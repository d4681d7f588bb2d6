"""Batched NMS against a plain reference, with ties and touching boxes."""

import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.layers.nms import batched_nms


def reference(boxes, scores, limit, iou_threshold, score_threshold):
    """Greedy NMS as torchvision defines it: stable order by score, suppressed if IoU > threshold."""
    kept = []
    for i in np.argsort(-scores, kind="stable"):
        if scores[i] <= score_threshold or len(kept) == limit:
            continue
        if all(overlap(boxes[i], boxes[j]) <= iou_threshold for j in kept):
            kept.append(i)
    return kept


def overlap(a, b):
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    shared = sides.prod()
    union = (a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared
    return shared / union if union > 0 else 0.0


@pytest.mark.parametrize("seed", range(4))
def test_random_boxes_with_tied_scores_are_kept_as_the_reference_keeps_them(seed):
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 40, (3, 60, 2))
    boxes = np.concatenate([corners, corners + rng.integers(1, 30, (3, 60, 2))], -1).astype(np.float32)
    scores = rng.integers(0, 8, (3, 60)).astype(np.float32) / 8  # many ties
    indices, counts = batched_nms(tf.constant(boxes), tf.constant(scores), 20, 0.5, 0.1)
    for s in range(3):
        assert indices[s, : counts[s]].numpy().tolist() == reference(boxes[s], scores[s], 20, 0.5, 0.1)


def test_an_iou_of_exactly_the_threshold_is_kept():
    boxes = tf.constant([[[0.0, 0, 4, 4], [0, 0, 4, 2]]])  # IoU 0.5
    assert batched_nms(boxes, tf.constant([[0.9, 0.8]]), 5, 0.5, 0.0)[1].numpy().tolist() == [2]
    assert batched_nms(boxes, tf.constant([[0.9, 0.8]]), 5, 0.49, 0.0)[1].numpy().tolist() == [1]


def test_sets_do_not_suppress_each_other_and_no_box_gives_none():
    boxes = tf.tile(tf.constant([[[0.0, 0, 5, 5]]]), [2, 3, 1])
    indices, counts = batched_nms(boxes, tf.constant([[0.9, 0.8, 0.7], [0.0, 0.0, 0.0]]), 4, 0.5, 0.0)
    assert counts.numpy().tolist() == [1, 0]
    assert indices.shape == (2, 4)


def test_it_is_the_same_inside_a_traced_function_of_unknown_batch_and_for_one_set():
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 40, (1, 30, 2))
    boxes = np.concatenate([corners, corners + 15], -1).astype(np.float32)
    scores = rng.random((1, 30), np.float32)
    traced = tf.function(
        lambda b, s: batched_nms(b, s, 10, 0.4, 0.0),
        input_signature=[tf.TensorSpec([None, None, 4]), tf.TensorSpec([None, None])],
    )
    for one, other in zip(traced(boxes, scores), batched_nms(tf.constant(boxes), tf.constant(scores), 10, 0.4, 0.0)):
        np.testing.assert_array_equal(one, other)
