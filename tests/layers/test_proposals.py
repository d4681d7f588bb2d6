"""Proposals, by hand."""

import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.config import ProposalConfig
from tfrcnn.layers import ProposalLayer

ANCHORS = tf.constant([[0.0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 40, 40], [90, 90, 130, 130]])
SIZE = tf.constant([[100.0, 100.0]])


def propose(config, logits, deltas=None, anchors=ANCHORS):
    deltas = np.zeros((len(logits), len(logits[0]), 4), np.float32) if deltas is None else deltas
    return ProposalLayer(config)([tf.constant(logits)], [deltas], [anchors], tf.tile(SIZE, [len(logits), 1]))


def test_the_best_come_first_overlapping_ones_go_and_boxes_are_clipped():
    proposals = propose(ProposalConfig(10, 5), [[2.0, 1.0, 0.0, 3.0]])
    assert proposals["valid"].numpy().tolist() == [[True] * 3 + [False] * 2]
    np.testing.assert_array_equal(proposals["boxes"][0, :3], [[90, 90, 100, 100], [0, 0, 10, 10], [20, 20, 40, 40]])
    np.testing.assert_allclose(proposals["scores"][0, :3], 1 / (1 + np.exp([-3.0, -2.0, 0.0])), rtol=1e-6)


def test_padding_is_zero():
    proposals = propose(ProposalConfig(10, 5), [[2.0, 1.0, 0.0, 3.0]])
    assert np.all(proposals["boxes"][0, 3:] == 0)
    assert np.all(proposals["scores"][0, 3:] == 0)


def test_a_box_smaller_than_the_minimum_side_is_dropped():
    proposals = propose(ProposalConfig(10, 5, min_size=10.5), [[2.0, 1.0, 0.0, 3.0]])
    np.testing.assert_array_equal(proposals["boxes"][0][proposals["valid"][0]], [[20, 20, 40, 40]])


@pytest.mark.parametrize(
    ("min_size", "kept"),
    [(8.0, [0, 1, 2]), (8.01, [1, 2]), (9.0, [1, 2]), (9.01, [2]), (11.01, [])],
)
def test_a_box_with_one_side_under_the_minimum_is_dropped_however_long_the_other(min_size, kept):
    # 8 high and 40 wide; 40 high and 9 wide; 40 high and, clipped to the image, 11 wide
    boxes = np.array([[0, 0, 8, 40], [20, 0, 60, 9], [0, 89, 40, 119]], np.float32)
    proposals = propose(ProposalConfig(10, 5, min_size=min_size), [[2.0, 1.0, 0.0]], anchors=tf.constant(boxes))
    np.testing.assert_array_equal(proposals["boxes"][0][proposals["valid"][0]], np.minimum(boxes, 100)[kept])


def test_only_the_best_before_nms_take_part():
    proposals = propose(ProposalConfig(2, 5), [[2.0, 1.0, 0.0, -1.0]])
    assert proposals["valid"].numpy().sum() == 1  # the second of the two is suppressed by the first


def test_images_of_a_batch_do_not_mix():
    proposals = propose(ProposalConfig(10, 5), [[9.0, -9, -9, -9], [-9.0, -9, 9, -9]])
    np.testing.assert_array_equal(proposals["boxes"][:, 0], [[0, 0, 10, 10], [20, 20, 40, 40]])


def test_no_gradient_flows_through_proposals():
    logits, deltas = tf.Variable([[1.0, 0.0, 0.0, 0.0]]), tf.Variable(tf.zeros([1, 4, 4]))
    with tf.GradientTape() as tape:
        proposals = ProposalLayer(ProposalConfig(4, 4))([logits], [deltas], [ANCHORS], SIZE)
        total = tf.reduce_sum(proposals["boxes"]) + tf.reduce_sum(proposals["scores"])
    assert tape.gradient(total, [logits, deltas]) == [None, None]


def test_levels_are_suppressed_apart_and_ranked_together():
    layer = ProposalLayer(ProposalConfig(10, 3))
    level = ([tf.constant([[0.0]]), tf.constant([[2.0]])], [tf.zeros([1, 1, 4])] * 2, [ANCHORS[:1], ANCHORS[:1]])
    proposals = layer(*level, SIZE)
    assert proposals["valid"].numpy().tolist() == [[True, True, False]]
    np.testing.assert_allclose(proposals["scores"][0, :2], [1 / (1 + np.exp(-2.0)), 0.5], rtol=1e-6)


def test_nms_at_iou_1_keeps_all_in_the_order_of_their_scores():
    same = tf.tile(ANCHORS[2:3], [4, 1])  # even of equal boxes
    proposals = propose(ProposalConfig(10, 5, nms_iou=1.0), [[2.0, 1.0, 0.0, 3.0]], anchors=same)
    assert proposals["valid"].numpy().tolist() == [[True] * 4 + [False]]
    np.testing.assert_allclose(proposals["scores"][0, :4], 1 / (1 + np.exp([-3.0, -2.0, -1.0, -0.0])), rtol=1e-6)
    best = propose(ProposalConfig(10, 2, nms_iou=1.0), [[2.0, 1.0, 0.0, 3.0]])
    np.testing.assert_array_equal(best["boxes"][0], [[90, 90, 100, 100], [0, 0, 10, 10]])


def test_without_nms_small_boxes_go_all_the_same():
    proposals = propose(ProposalConfig(10, 5, nms_iou=1.0, min_size=10.5), [[2.0, 1.0, 0.0, 3.0]])
    np.testing.assert_array_equal(proposals["boxes"][0][proposals["valid"][0]], [[20, 20, 40, 40]])


def test_without_deltas_proposals_are_anchors_by_their_scores():
    deltas = np.full((1, 4, 4), 0.5, np.float32)
    moved = propose(ProposalConfig(10, 5), [[2.0, 1.0, 0.0, -3.0]], deltas)
    proposals = propose(ProposalConfig(10, 5, use_deltas=False), [[2.0, 1.0, 0.0, -3.0]], deltas)
    assert not np.array_equal(moved["boxes"], proposals["boxes"])
    np.testing.assert_array_equal(proposals["boxes"][0, :3], [[0, 0, 10, 10], [20, 20, 40, 40], [90, 90, 100, 100]])


def test_without_scores_they_are_a_random_choice_whatever_the_rpn_says():
    count = 400
    corners = np.arange(count, dtype=np.float32)[:, None] / 10
    anchors = tf.constant(corners + np.array([0, 0, 20, 20], np.float32))
    config = ProposalConfig(100, 100, nms_iou=1.0, use_scores=False)
    logits = np.linspace(-5, 5, count, dtype=np.float32)
    draws = [propose(config, [values], anchors=anchors)["boxes"][0, :, 0].numpy() for values in (logits, -logits)]
    np.testing.assert_array_equal(*draws)
    assert len(set(draws[0].tolist())) == 100
    # the mean of 100 of the numbers 0 .. 399 drawn without repetition has a standard deviation of 10
    assert abs(draws[0].mean() * 10 - 199.5) < 40


def test_random_scores_fill_the_range_of_logits_from_minus_1_to_1():
    anchors = tf.constant(np.arange(400, dtype=np.float32)[:, None] / 10 + np.array([0, 0, 20, 20], np.float32))
    config = ProposalConfig(400, 400, nms_iou=1.0, use_scores=False)
    scores = propose(config, [[0.0] * 400], anchors=anchors)["scores"].numpy()
    # sigmoid(-1) and sigmoid(1); 400 draws miss the outer twentieth of one end once in 10^9 times
    assert 0.2689 <= scores.min() < 0.29
    assert 0.71 < scores.max() <= 0.7311


def test_random_scores_are_those_of_the_level_wherever_an_image_is_in_its_batch():
    config = ProposalConfig(4, 8, nms_iou=1.0, use_scores=False)
    anchors = [ANCHORS, ANCHORS + 1.0]  # clipping aside, a box shows its level
    logits, deltas = [tf.zeros([2, 4])] * 2, [tf.zeros([2, 4, 4])] * 2
    proposals = ProposalLayer(config)(logits, deltas, anchors, tf.constant([[200.0, 200.0]] * 2))
    for values in proposals.values():
        np.testing.assert_array_equal(values[0], values[1])
    assert len(set(proposals["scores"][0].numpy().tolist())) == 8  # one level's are not the other's


def test_a_proposal_exactly_as_small_as_the_minimum_is_kept():
    # sides of 10 x 10 and, in the second, 10 x 9
    proposals = propose(ProposalConfig(10, 5, min_size=10.0, nms_iou=1.0), [[3.0, 2.0, -9.0, -9.0]])
    np.testing.assert_array_equal(proposals["boxes"][0][:2], [[0, 0, 10, 10], [20, 20, 40, 40]])


def test_a_proposal_whose_score_equals_the_threshold_is_kept():
    # sigmoid(0) is exactly 1/2
    config = ProposalConfig(10, 5, score_threshold=0.5, nms_iou=1.0)
    proposals = propose(config, [[0.0, -0.001, 1.0, -5.0]])
    np.testing.assert_array_equal(proposals["boxes"][0][proposals["valid"][0]], [[20, 20, 40, 40], [0, 0, 10, 10]])
