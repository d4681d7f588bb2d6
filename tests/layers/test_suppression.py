"""Soft NMS and weighted box fusion: by hand, and against the package ensemble-boxes."""

import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.config import DetectionConfig
from tfrcnn.kernels import ABSENT
from tfrcnn.layers.suppression import soft_nms, weighted_fusion

# IoU of the first two boxes 3/5, of the second and third 5/11, of the first and third 3/13.
BOXES = np.array([[[0, 0, 10, 8], [0, 2, 10, 10], [0, 5, 10, 13], [50, 50, 60, 60]]], np.float32)
SCORES = np.array([[0.9, 0.8, 0.5, 0.3]], np.float32)
ONE_CLASS = np.zeros((1, 4), np.int32)


def soft(scores=SCORES, groups=ONE_CLASS, boxes=BOXES, **config):
    return soft_nms(tf.constant(boxes), tf.constant(scores), tf.constant(groups), DetectionConfig(**config)).numpy()


def test_linear_soft_nms_multiplies_a_score_by_what_does_not_overlap():
    # The first box leaves 0.32 to the second. It leaves 0.5 to the third, which lowers the second again.
    kept = soft(nms="soft_linear", nms_iou=0.3)
    np.testing.assert_allclose(kept, [[0.9, 0.8 * (1 - 0.6) * (1 - 5 / 11), 0.5, 0.3]], rtol=1e-6)


def test_gaussian_soft_nms_lowers_a_score_by_the_squared_iou():
    kept = soft(nms="soft_gaussian", nms_sigma=0.5)
    third = 0.5 * np.exp(-((3 / 13) ** 2) / 0.5)
    second = 0.8 * np.exp(-(0.6**2) / 0.5) * np.exp(-((5 / 11) ** 2) / 0.5)
    np.testing.assert_allclose(kept, [[0.9, second, third, 0.3]], rtol=1e-6)


def test_a_score_that_falls_to_the_threshold_is_dropped():
    kept = soft(nms="soft_linear", nms_iou=0.3, score_threshold=0.25)
    np.testing.assert_allclose(kept, [[0.9, ABSENT, 0.5, 0.3]], rtol=1e-6)


def test_a_score_that_falls_to_the_threshold_of_its_class_lowers_no_other_and_takes_no_place():
    # The first box lowers the second to 0.32, below its 0.4; the third keeps its 0.5, above its 0.1.
    limits = tf.constant([[0.1, 0.4, 0.1, 0.1]])
    config = DetectionConfig(nms="soft_linear", nms_iou=0.3, max_detections=3)
    kept = soft_nms(tf.constant(BOXES), tf.constant([[0.9, 0.8, 0.3, 0.2]]), tf.constant(ONE_CLASS), config, limits)
    np.testing.assert_allclose(kept, [[0.9, ABSENT, 0.3, 0.2]], rtol=1e-6)


def test_soft_nms_keeps_no_more_than_the_most_detections():
    np.testing.assert_allclose(soft(nms="soft_gaussian", max_detections=1), [[0.9, ABSENT, ABSENT, ABSENT]])


def test_boxes_of_another_class_keep_their_scores():
    np.testing.assert_allclose(soft(groups=np.array([[0, 1, 2, 3]], np.int32), nms="soft_linear"), SCORES)


def test_an_image_without_boxes_keeps_none_next_to_one_with_boxes():
    scores = np.concatenate([SCORES, np.full_like(SCORES, ABSENT)])
    kept = soft(scores, np.zeros((2, 4), np.int32), np.tile(BOXES, [2, 1, 1]), nms="soft_gaussian")
    assert (kept[0] > ABSENT).all()
    assert (kept[1] == ABSENT).all()


def test_fusion_averages_boxes_by_their_scores_and_keeps_the_best_score():
    boxes, scores = weighted_fusion(tf.constant(BOXES), tf.constant(SCORES), tf.constant(ONE_CLASS), 0.5)
    left, right = (0.9 * 0 + 0.8 * 2) / 1.7, (0.9 * 8 + 0.8 * 10) / 1.7
    np.testing.assert_allclose(scores, [[0.9, ABSENT, 0.5, 0.3]])
    np.testing.assert_allclose(boxes[0, 0], [0, left, 10, right], rtol=1e-6)
    np.testing.assert_allclose(boxes[0, 2:], BOXES[0, 2:])


@pytest.fixture(scope="module")
def crowd():
    """Two classes of 60 boxes around a few places, best first."""
    rng = np.random.default_rng(0)
    centers = rng.uniform(0.2, 0.8, (8, 2))[rng.integers(0, 8, 60)] + rng.normal(0, 0.02, (60, 2))
    sides = rng.uniform(0.1, 0.2, (60, 2))
    boxes = np.concatenate([centers - sides / 2, centers + sides / 2], axis=1).astype(np.float32)
    scores = np.sort(rng.uniform(0.06, 0.99, 60).astype(np.float32))[::-1].copy()
    return boxes, scores, rng.integers(0, 2, 60).astype(np.int32)


def ordered(boxes, scores, labels):
    order = np.argsort(-scores, kind="stable")
    return np.column_stack([boxes[order], scores[order], labels[order]])


@pytest.mark.parametrize(("nms", "method"), [("soft_linear", 1), ("soft_gaussian", 2)])
def test_soft_nms_is_that_of_ensemble_boxes(nms, method, crowd):
    pytest.importorskip("ensemble_boxes")
    from ensemble_boxes.ensemble_boxes_nms import cpu_soft_nms_float

    boxes, scores, labels = crowd
    expected = np.full(len(scores), ABSENT)
    for label in (0, 1):
        members = np.flatnonzero(labels == label)
        lowered = scores[members]  # the function sorts and lowers them in place, and returns where they were
        kept = cpu_soft_nms_float(boxes[members], lowered, Nt=0.3, sigma=0.5, thresh=0.05, method=method)
        expected[members[kept]] = lowered[lowered > 0.05]
    config = DetectionConfig(nms=nms, nms_iou=0.3, score_threshold=0.05)
    actual = soft_nms(tf.constant(boxes[None]), tf.constant(scores[None]), tf.constant(labels[None]), config)[0]
    assert 20 < (expected > ABSENT).sum() < 60
    np.testing.assert_allclose(actual, expected, atol=1e-6)


@pytest.mark.parametrize("threshold", [0.3, 0.55])
def test_fusion_is_that_of_ensemble_boxes(threshold, crowd):
    pytest.importorskip("ensemble_boxes")
    from ensemble_boxes import weighted_boxes_fusion

    boxes, scores, labels = crowd
    expected = ordered(*weighted_boxes_fusion([boxes], [scores], [labels], iou_thr=threshold, conf_type="max"))
    fused = weighted_fusion(tf.constant(boxes[None]), tf.constant(scores[None]), tf.constant(labels[None]), threshold)
    present = fused[1][0].numpy() > ABSENT
    assert 8 < present.sum() < 50
    values = (fused[0][0].numpy()[present], fused[1][0].numpy()[present], labels[present])
    np.testing.assert_allclose(ordered(*values), expected, atol=1e-6)
