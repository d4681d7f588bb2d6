"""Every NMS kernel against a plain reference, with ties and touching boxes."""

import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.kernels import ABSENT
from tfrcnn.kernels.nms import combined, padded

each = pytest.mark.parametrize("nms", [combined, padded], ids=["combined", "padded"])


def run(nms, boxes, valid, limit, iou_threshold):
    """Indices and counts, and a check of the scores."""
    count = tf.shape(boxes)[1]
    scores = tf.where(valid, 1.0 / tf.cast(tf.range(1, count + 1), tf.float32), ABSENT)
    kept = nms(boxes, scores, valid, limit, iou_threshold)
    if tf.executing_eagerly():
        filled = np.arange(limit) < kept.counts.numpy()[:, None]
        expected = np.where(filled, 1 / (kept.indices.numpy() + 1.0), ABSENT)
        np.testing.assert_allclose(kept.scores, expected, rtol=1e-6)
    return kept.indices, kept.counts


def reference(boxes, present, limit, iou_threshold):
    """Greedy NMS as torchvision defines it, for boxes in the order of their scores: suppressed if IoU > threshold."""
    kept = []
    for i in range(len(boxes)):
        if not present[i] or len(kept) == limit:
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
@each
def test_random_boxes_are_kept_as_the_reference_keeps_them(seed, nms):
    """Coordinates are whole numbers, so that some IoUs equal the threshold; some boxes are empty, some equal."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 40, (3, 60, 2))
    boxes = np.concatenate([corners, corners + rng.integers(0, 30, (3, 60, 2))], -1).astype(np.float32)
    boxes[:, 30:40] = boxes[:, 10:20]
    present = rng.random((3, 60)) < 0.8
    for limit in (5, 20, 100):
        indices, counts = run(nms, tf.constant(boxes), tf.constant(present), limit, 0.5)
        assert indices.shape == (3, limit)
        assert indices.dtype == counts.dtype == tf.int32
        for s in range(3):
            expected = reference(boxes[s], present[s], limit, 0.5)
            assert indices[s].numpy().tolist() == expected + [0] * (limit - len(expected))
            assert counts[s] == len(expected)


@each
def test_an_iou_of_exactly_the_threshold_is_kept(nms):
    boxes, present = tf.constant([[[0.0, 0, 4, 4], [0, 0, 4, 2]]]), tf.constant([[True, True]])  # IoU 0.5
    assert run(nms, boxes, present, 5, 0.5)[1].numpy().tolist() == [2]
    assert run(nms, boxes, present, 5, 0.49)[1].numpy().tolist() == [1]


@each
def test_sets_do_not_suppress_each_other_and_no_box_gives_none(nms):
    boxes = tf.tile(tf.constant([[[0.0, 0, 5, 5]]]), [2, 3, 1])
    indices, counts = run(nms, boxes, tf.constant([[True] * 3, [False] * 3]), 4, 0.5)
    assert counts.numpy().tolist() == [1, 0]
    assert indices.numpy().tolist() == [[0] * 4] * 2


@each
def test_boxes_outside_the_unit_square_and_sets_of_none_at_all(nms):
    """TensorFlow's kernel for many sets clips its boxes to 0..1 by default."""
    boxes = tf.constant([[[-30.0, -30, -10, -10], [500, 500, 900, 900], [500, 500, 900, 890]]])
    indices, counts = run(nms, boxes, tf.constant([[True] * 3]), 3, 0.5)
    assert (indices.numpy().tolist(), counts.numpy().tolist()) == ([[0, 1, 0]], [2])
    empty = run(nms, tf.zeros([2, 0, 4]), tf.zeros([2, 0], tf.bool), 3, 0.5)
    assert [value.numpy().tolist() for value in empty] == [[[0] * 3] * 2, [0, 0]]


@each
def test_it_is_the_same_inside_a_traced_function_of_unknown_batch_and_for_one_set(nms):
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 40, (1, 30, 2))
    boxes = np.concatenate([corners, corners + 15], -1).astype(np.float32)
    present = rng.random((1, 30)) < 0.9
    traced = tf.function(
        lambda b, s: run(nms, b, s, 10, 0.4),
        input_signature=[tf.TensorSpec([None, None, 4]), tf.TensorSpec([None, None], tf.bool)],
    )
    direct = run(nms, tf.constant(boxes), tf.constant(present), 10, 0.4)
    for one, other in zip(traced(boxes, present), direct):
        np.testing.assert_array_equal(one, other)


def test_the_one_for_many_sets_has_no_loop_and_the_other_compiles():
    specs = [tf.TensorSpec([None, 30, 4]), tf.TensorSpec([None, 30], tf.bool)]
    traced = tf.function(lambda b, s: run(combined, b, s, 10, 0.4)).get_concrete_function(*specs)
    assert not [op for op in traced.graph.get_operations() if "While" in op.type]
    boxes = tf.tile(tf.constant([[[0.0, 0, 5, 5]]]), [2, 3, 1])
    compiled = tf.function(lambda b, s: run(padded, b, s, 4, 0.5), jit_compile=True)
    assert compiled(boxes, tf.ones([2, 3], tf.bool))[1].numpy().tolist() == [1, 1]
