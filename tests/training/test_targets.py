"""Targets of both stages, by hand."""

import numpy as np
import tensorflow as tf

from tfrcnn.config import CascadeConfig, HeadConfig, MatchConfig, RPNConfig
from tfrcnn.training.targets import refined_roi_targets, roi_targets, rpn_targets

ANCHORS = tf.constant([[0.0, 0, 20, 20], [40, 40, 60, 60], [90, 90, 110, 110], [0, 60, 20, 80]])
BOXES = tf.constant([[[40.0, 40, 60, 60], [0, 0, 0, 0]], [[0.0, 0, 0, 0], [0, 0, 0, 0]]])
LABELS = tf.constant([[1, -1], [-1, -1]])
SIZES = tf.constant([[100.0, 100.0], [100.0, 100.0]])
RPN = RPNConfig(match=MatchConfig(0.7, 0.3, samples=4, positive_fraction=0.5, allow_low_quality=True))
HEAD = HeadConfig(match=MatchConfig(0.5, 0.5, samples=4, positive_fraction=0.5))


def priority(count):
    return tf.tile(tf.linspace(0.9, 0.1, count)[None], [2, 1])


def test_the_anchor_on_the_object_is_positive_and_the_others_are_negative():
    targets = rpn_targets(ANCHORS, BOXES, LABELS, SIZES, RPN, priority(4))
    np.testing.assert_array_equal(targets.samples.index, [[1, 0, 2, 3], [0, 1, 2, 3]])
    np.testing.assert_array_equal(targets.samples.positive, [[True, False, False, False], [False] * 4])
    np.testing.assert_array_equal(targets.deltas, np.zeros((2, 4, 4)))


def test_labels_of_five_anchors_drawn_in_a_picture():
    #    0        40        80   100   A object [0, 0, 40, 40]; B object [50, 50, 80, 90], which no anchor fits well
    #  0 +---------+--+------+-----+
    #    | 0  A    |  | 1: 10 px    |  0: on A, IoU 1                                        -> positive
    #    |         |  |    right of |  1: IoU with A 1200 / 2000 = 0.6                       -> between, ignored
    # 40 +---------+--+    A        |  2: [40, 40, 80, 80], IoU with B 900 / 1900 = 0.47,    -> positive: highest for B
    #    |       +----+---+         |     the highest that B has
    #    |       | 2  B 3 |         |  3: [60, 60, 100, 100], IoU with B 600 / 2200 = 0.27   -> negative, though on B
    # 80 |       +--------+--+      |  4: [60, 0, 100, 40], no object                        -> negative
    # 100+--------------------------+
    anchors = tf.constant([[0.0, 0, 40, 40], [0, 10, 40, 50], [40, 40, 80, 80], [60, 60, 100, 100], [60, 0, 100, 40]])
    boxes, labels = tf.constant([[[0.0, 0, 40, 40], [50, 50, 80, 90]]]), tf.constant([[0, 1]])
    config = RPN.replace(match=RPN.match.replace(samples=8))
    targets = rpn_targets(anchors, boxes, labels, SIZES[:1], config, tf.linspace(0.9, 0.1, 5)[None])
    samples = targets.samples
    index, positive, valid = (x.numpy()[0] for x in (samples.index, samples.positive, samples.valid))
    assert (index[positive].tolist(), index[valid & ~positive].tolist()) == ([0, 2], [3, 4])
    # equation 2: from anchor 2, centred at (60, 60), to B, centred at (65, 70), 30 high and 40 wide
    np.testing.assert_allclose(targets.deltas[0, 1], [5 / 40, 10 / 40, np.log(30 / 40), 0], atol=1e-6)


def test_anchors_that_cross_the_boundary_are_ignored_when_asked():
    config = RPN.replace(ignore_cross_boundary=True)
    targets = rpn_targets(ANCHORS, BOXES, LABELS, SIZES, config, priority(4))
    np.testing.assert_array_equal(targets.samples.valid, [[True, True, True, False]] * 2)
    assert 2 not in targets.samples.index.numpy()[targets.samples.valid.numpy()]


def test_an_object_at_the_border_is_left_to_the_best_anchor_inside():
    # py-faster-rcnn drops the anchors that cross the boundary before it looks for the best; the first overlaps most
    anchors = tf.constant([[-20.0, 0, 80, 100], [10, 10, 60, 60]])
    boxes, labels = tf.constant([[[0.0, 0, 80, 100]]]), tf.constant([[0]])
    config = RPN.replace(ignore_cross_boundary=True)
    targets = rpn_targets(anchors, boxes, labels, SIZES[:1], config, tf.constant([[0.9, 0.1]]))
    assert targets.samples.index.numpy()[targets.samples.positive.numpy()].tolist() == [1]


def test_the_ground_truth_joins_the_proposals_and_the_background_is_label_c():
    proposals = tf.tile(tf.constant([[[41.0, 40, 60, 60], [0, 0, 9, 9], [0, 0, 0, 0]]]), [2, 1, 1])
    valid = tf.constant([[True, True, False]] * 2)
    targets = roi_targets(proposals, valid, BOXES, LABELS, 5, HEAD, priority(5))
    np.testing.assert_array_equal(targets.labels[0][:3], [1, 1, 5])
    np.testing.assert_array_equal(targets.samples.valid, [[True, True, True, False], [True, True, False, False]])
    np.testing.assert_array_equal(targets.boxes[0, :3], [[41, 40, 60, 60], [40, 40, 60, 60], [0, 0, 9, 9]])
    # from [41, 40, 60, 60] to [40, 40, 60, 60]: the centre half a pixel up of 19, 20 / 19 as high
    expected = [10 * -0.5 / 19, 0, 5 * np.log(20 / 19), 0]
    np.testing.assert_allclose(targets.deltas[0, 0], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(targets.deltas[0, 1:], np.zeros((3, 4)))


def test_an_image_without_objects_has_background_only():
    proposals = tf.zeros([2, 3, 4]) + tf.constant([0.0, 0, 9, 9])
    targets = roi_targets(proposals, tf.ones([2, 3], tf.bool), BOXES, LABELS, 5, HEAD, priority(5))
    np.testing.assert_array_equal(targets.labels[1], [5, 5, 5, 5])
    np.testing.assert_array_equal(targets.samples.valid[1], [True, True, True, False])
    assert np.all(np.isfinite(targets.deltas))


def test_class_0_is_learned_by_the_rpn():
    # an image whose only object is of class 0: with 0 taken as padding its anchor would be background
    boxes, labels = tf.constant([[[40.0, 40, 60, 60], [0, 0, 0, 0]]]), tf.constant([[0, -1]])
    targets = rpn_targets(ANCHORS, boxes, labels, SIZES[:1], RPN, priority(4)[:1])
    np.testing.assert_array_equal(targets.samples.index[targets.samples.positive], [1])


def test_class_0_is_learned_by_the_box_head():
    # without proposals the objects are the only candidates: of class 0 and of class 1
    boxes, labels = tf.constant([[[40.0, 40, 60, 60], [0, 0, 9, 9], [0, 0, 0, 0]]]), tf.constant([[0, 1, -1]])
    targets = roi_targets(tf.zeros([1, 0, 4]), tf.zeros([1, 0], tf.bool), boxes, labels, 5, HEAD, priority(3)[:1])
    np.testing.assert_array_equal(targets.samples.positive, [[True, True, False, False]])
    np.testing.assert_array_equal(targets.samples.valid, [[True, True, False, False]])
    np.testing.assert_array_equal(targets.labels[0, :2], [0, 1])


def test_class_0_is_learned_by_every_stage_of_a_cascade():
    # the regions are the objects of class 0 and of class 1; the second is smaller than a pixel
    boxes, labels = tf.constant([[[40.0, 40, 60, 60], [0, 0, 0.8, 0.8], [0, 0, 0, 0]]]), tf.constant([[0, 1, -1]])
    for stage in HEAD.replace(class_agnostic=True, cascade=CascadeConfig()).stages:
        targets = refined_roi_targets(boxes[:, :2], tf.constant([[True, True]]), boxes, labels, 5, stage)
        np.testing.assert_array_equal(targets.labels, [[0, 1]])


def test_an_anchor_that_touches_the_border_is_trained_and_one_that_crosses_it_at_any_side_is_not():
    # an image 100 high and 60 wide; the first anchor is the image, the others cross its top, left, bottom and right
    crossing = [[-0.5, 0, 20, 20], [0, -0.5, 20, 20], [80, 40, 100.5, 60], [80, 40, 100, 60.5]]
    anchors = tf.constant([[0.0, 0, 100, 60], *crossing])
    config = RPN.replace(ignore_cross_boundary=True)
    sizes = tf.constant([[100.0, 60.0]])
    samples = rpn_targets(anchors, BOXES[1:], LABELS[1:], sizes, config, priority(5)[:1]).samples
    assert samples.index.numpy()[samples.valid.numpy()].tolist() == [0]


def test_padding_is_no_object_whatever_its_box():
    boxes, labels = tf.constant([[[40.0, 40, 60, 60]]]), tf.constant([[-1]])
    assert not np.any(rpn_targets(ANCHORS, boxes, labels, SIZES[:1], RPN, priority(4)[:1]).samples.positive)
    targets = roi_targets(ANCHORS[None], tf.ones([1, 4], tf.bool), boxes, labels, 5, HEAD, priority(5)[:1])
    np.testing.assert_array_equal(targets.labels, [[5, 5, 5, 5]])
    stage = HEAD.replace(class_agnostic=True, cascade=CascadeConfig()).stages[0]
    targets = refined_roi_targets(boxes, tf.constant([[True]]), boxes, labels, 5, stage)
    np.testing.assert_array_equal(targets.labels, [[5]])


def test_a_region_is_positive_in_a_stage_whose_iou_it_reaches_and_background_in_the_next():
    # the object is [0, 0, 40, 40]; the IoUs are 1600 / 1600, 1600 / 2400 = 0.67 and 1600 / 3000 = 0.53;
    # the fourth region lies elsewhere, the fifth has no area and the sixth is padding
    regions = [[0.0, 0, 40, 40], [0, 0, 40, 60], [0, 0, 40, 75], [60, 60, 90, 90], [10, 10, 10, 40], [0, 0, 40, 40]]
    boxes, labels = tf.constant([[[0.0, 0, 0, 0], [0, 0, 40, 40]]]), tf.constant([[-1, 2]])
    valid = tf.constant([[True, True, True, True, True, False]])
    stages = HEAD.replace(class_agnostic=True, cascade=CascadeConfig()).stages
    expected = ([2, 2, 2, 5, 5, 5], [2, 2, 5, 5, 5, 5], [2, 5, 5, 5, 5, 5])
    for stage, expected_labels in zip(stages, expected, strict=True):
        targets = refined_roi_targets(tf.constant([regions]), valid, boxes, labels, 5, stage)
        np.testing.assert_array_equal(targets.labels[0], expected_labels)
        np.testing.assert_array_equal(targets.samples.positive[0], np.array(expected_labels) == 2)
        np.testing.assert_array_equal(targets.samples.valid[0], [True, True, True, True, False, False])
        np.testing.assert_array_equal(targets.boxes[0], regions)
        # from [0, 0, 40, 60] to the object: the centre a sixth of the width to the left, two thirds as wide
        deltas = np.array([0, -1 / 6, 0, np.log(2 / 3)]) * stage.box_weights * (expected_labels[1] == 2)
        np.testing.assert_allclose(targets.deltas[0, 1], deltas, rtol=1e-5, atol=1e-6)
        assert np.all(np.isfinite(targets.deltas))
