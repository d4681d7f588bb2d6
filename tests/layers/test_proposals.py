"""Proposals, by hand."""

import numpy as np
import tensorflow as tf

from tfrcnn.config import ProposalConfig
from tfrcnn.layers import ProposalLayer

ANCHORS = tf.constant([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 40, 40], [90, 90, 130, 130]])
SIZE = tf.constant([[100.0, 100.0]])


def propose(config, logits, deltas=None, anchors=ANCHORS):
    deltas = np.zeros((len(logits), len(logits[0]), 4), np.float32) if deltas is None else deltas
    return ProposalLayer(config)([tf.constant(logits)], [deltas], [anchors], tf.tile(SIZE, [len(logits), 1]))


def test_the_best_come_first_overlapping_ones_go_and_boxes_are_clipped():
    found = propose(ProposalConfig(10, 5), [[2.0, 1.0, 0.0, 3.0]])
    assert found["valid"].numpy().tolist() == [[True] * 3 + [False] * 2]
    np.testing.assert_array_equal(found["boxes"][0, :3], [[90, 90, 100, 100], [0, 0, 10, 10], [20, 20, 40, 40]])
    np.testing.assert_allclose(found["scores"][0, :3], 1 / (1 + np.exp([-3.0, -2.0, 0.0])), rtol=1e-6)


def test_padding_is_zero():
    found = propose(ProposalConfig(10, 5), [[2.0, 1.0, 0.0, 3.0]])
    assert np.all(found["boxes"][0, 3:] == 0)
    assert np.all(found["scores"][0, 3:] == 0)


def test_a_box_smaller_than_the_minimum_side_is_dropped():
    found = propose(ProposalConfig(10, 5, min_size=10.5), [[2.0, 1.0, 0.0, 3.0]])
    np.testing.assert_array_equal(found["boxes"][0][found["valid"][0]], [[20, 20, 40, 40]])


def test_only_the_best_before_nms_take_part():
    found = propose(ProposalConfig(2, 5), [[2.0, 1.0, 0.0, -1.0]])
    assert found["valid"].numpy().sum() == 1  # the second of the two is suppressed by the first


def test_images_of_a_batch_do_not_mix():
    found = propose(ProposalConfig(10, 5), [[9.0, -9, -9, -9], [-9.0, -9, 9, -9]])
    np.testing.assert_array_equal(found["boxes"][:, 0], [[0, 0, 10, 10], [20, 20, 40, 40]])


def test_no_gradient_flows_through_proposals():
    logits, deltas = tf.Variable([[1.0, 0.0, 0.0, 0.0]]), tf.Variable(tf.zeros([1, 4, 4]))
    with tf.GradientTape() as tape:
        found = ProposalLayer(ProposalConfig(4, 4))([logits], [deltas], [ANCHORS], SIZE)
        total = tf.reduce_sum(found["boxes"]) + tf.reduce_sum(found["scores"])
    assert tape.gradient(total, [logits, deltas]) == [None, None]


def test_levels_are_suppressed_apart_and_ranked_together():
    layer = ProposalLayer(ProposalConfig(10, 3))
    level = ([tf.constant([[0.0]]), tf.constant([[2.0]])], [tf.zeros([1, 1, 4])] * 2, [ANCHORS[:1], ANCHORS[:1]])
    found = layer(*level, SIZE)
    assert found["valid"].numpy().tolist() == [[True, True, False]]
    np.testing.assert_allclose(found["scores"][0, :2], [1 / (1 + np.exp(-2.0)), 0.5], rtol=1e-6)
