"""The four losses, by hand."""

import numpy as np
import pytest
import tensorflow as tf

from tfrcnn import boxes as box_ops
from tfrcnn.config import BackboneConfig, BoxLossConfig, ClassLossConfig, DetectorConfig, HeadConfig, RPNConfig
from tfrcnn.errors import InputError
from tfrcnn.matching import Samples
from tfrcnn.training.losses import BOX_LOSSES, box_loss, check_losses, head_losses, rpn_losses, smooth_l1
from tfrcnn.training.targets import RoITargets, RPNTargets

SMOOTH_L1 = box_loss(BoxLossConfig(beta=1.0))
L1 = box_loss(BoxLossConfig(beta=0.0))


def test_smooth_l1_is_quadratic_below_beta_and_linear_above():
    values = smooth_l1(tf.constant([0.0, 0.05, -0.05, 1.0, -2.0]), beta=0.1)
    np.testing.assert_allclose(values, [0.0, 0.0125, 0.0125, 0.95, 1.95], rtol=1e-6)


def test_smooth_l1_without_a_quadratic_part_is_l1():
    np.testing.assert_array_equal(smooth_l1(tf.constant([0.0, -2.0]), beta=0.0), [0.0, 2.0])


def test_rpn_losses_are_the_sums_over_samples_divided_by_their_number():
    samples = Samples(
        tf.constant([[2, 0, 1, 0]]),
        tf.constant([[True, False, False, False]]),
        tf.constant([[True, True, True, False]]),
    )
    targets = RPNTargets(samples, tf.constant([[[1.0, 0, 0, 0]] + [[0.0] * 4] * 3]), tf.zeros([1, 4, 4]))
    logits, deltas = tf.constant([[0.0, 0.0, 0.0]]), tf.zeros([1, 3, 4])
    objectness, box = rpn_losses(logits, deltas, targets, box_loss(BoxLossConfig(beta=1 / 9)))
    np.testing.assert_allclose(objectness, np.log(2.0), rtol=1e-6)  # three samples of log 2, over three
    np.testing.assert_allclose(box, (1 - 1 / 18) / 3, rtol=1e-6)


def test_equation_1_by_hand_with_its_own_normalisers():
    # N_cls = 4 samples of a map of N_reg = 6 cells: two positive, two negative, lambda = 10
    samples = Samples(
        tf.constant([[0, 1, 2, 3]]), tf.constant([[True, True, False, False]]), tf.constant([[True, True, True, True]])
    )
    targets = RPNTargets(
        samples, tf.constant([[[0.0, 0, 0, 0], [1.0, -1, 0, 0], [0.0] * 4, [0.0] * 4]]), tf.zeros([1, 4, 4])
    )
    logits = tf.constant([[np.log(3.0), 0.0, -np.log(3.0), np.log(7.0)]], tf.float32)  # p = 3/4, 1/2, 1/4, 7/8
    deltas = tf.constant([[[0.5, 0, 0, 0], [0.0, 0, 2, 0], [9.0] * 4, [9.0] * 4]])  # negatives' do not count: p* = 0
    weight = 10 * 4 / 6  # lambda N_cls / N_reg
    objectness, box = rpn_losses(logits, deltas, targets, SMOOTH_L1, box_weight=weight)
    # -log of 3/4, 1/2, 1 - 1/4 and 1 - 7/8; smooth L1 of 0.5 is 1/8, of 1, -1 and 2 is 1/2, 1/2 and 3/2
    np.testing.assert_allclose(objectness, (np.log(4 / 3) + np.log(2) + np.log(4 / 3) + np.log(8)) / 4, rtol=1e-6)
    np.testing.assert_allclose(box, 10 / 6 * (1 / 8 + 1 / 2 + 1 / 2 + 3 / 2), rtol=1e-6)


def head_example():
    """One image, three samples of two classes: an object of class 1, background, an empty slot full of rubbish."""
    samples = Samples(tf.constant([[0, 1, 0]]), tf.constant([[True, False, False]]), tf.constant([[True, True, False]]))
    targets = RoITargets(
        boxes=tf.zeros([1, 3, 4]),
        labels=tf.constant([[1, 2, 2]]),
        deltas=tf.constant([[[0.5, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]]),
        samples=samples,
    )
    logits = tf.constant([[[0.0, np.log(2.0), 0.0], [0.0, 0.0, np.log(3.0)], [9.0, -9.0, 0.0]]], tf.float32)
    deltas = np.full([1, 3, 2, 4], 7.0, np.float32)
    deltas[0, 0, 1] = [2.5, 0, 0, 0]  # the deltas of the object's own class; all others must not matter
    return logits, tf.constant(deltas), targets


def test_head_losses_are_the_sums_over_filled_samples_of_the_own_class_divided_by_their_number():
    classifier, box = head_losses(*head_example(), SMOOTH_L1)
    # softmax gives the object's class 2/4 and the background 3/5
    np.testing.assert_allclose(classifier, (np.log(2.0) + np.log(5 / 3)) / 2, rtol=1e-6)
    np.testing.assert_allclose(box, (2.0 - 0.5) / 2, rtol=1e-6)


def test_what_is_in_an_empty_slot_has_no_influence_and_no_gradient():
    logits, deltas, targets = head_example()
    with tf.GradientTape() as tape:
        tape.watch([logits, deltas])
        total = tf.add_n(head_losses(logits, deltas, targets, SMOOTH_L1))
    for gradient in tape.gradient(total, [logits, deltas]):
        assert np.any(gradient[0, 0] != 0)
        np.testing.assert_array_equal(gradient[0, 2], np.zeros_like(gradient[0, 2]))


def test_a_box_loss_is_a_function_of_deltas_targets_and_boxes_and_takes_one_line_to_add(monkeypatch):
    def center_distance(config, box_weights):
        def loss(deltas, targets, boxes):
            centers = [
                (box[..., :2] + box[..., 2:]) / 2
                for box in (box_ops.decode(deltas, boxes, box_weights), box_ops.decode(targets, boxes, box_weights))
            ]
            return config.beta * tf.reduce_sum(tf.abs(centers[0] - centers[1]), axis=-1)

        return loss

    monkeypatch.setitem(BOX_LOSSES, "center_distance", center_distance)
    logits, deltas, targets = head_example()
    boxes = tf.constant([[[0.0, 0, 10, 20], [0, 0, 1, 1], [0, 0, 1, 1]]])
    loss = box_loss(BoxLossConfig("center_distance", beta=3.0), (10.0, 10.0, 5.0, 5.0))
    _, box = head_losses(logits, deltas, targets._replace(boxes=boxes), loss)
    # 2.5 and 0.5 tenths of a height of 10 are 2 pixels apart; two samples are filled
    np.testing.assert_allclose(box, 3 * 2.0 / 2, rtol=1e-5)


def test_a_box_loss_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(InputError, match=r"BoxLossConfig\.name must be one of smooth_l1, giou, diou, ciou, found 'l3'"):
        box_loss(BoxLossConfig("l3"))


def test_deltas_have_no_weights_unless_they_are_given():
    # half a height down and half a width right from a box of 8 x 4, half as high, half as wide: [10, 5, 14, 7]
    deltas = tf.constant([[0.5, 0.5, np.log(0.5), np.log(0.5)]])
    loss = box_loss(BoxLossConfig("giou"))(deltas, tf.zeros([1, 4]), tf.constant([[4.0, 2, 12, 6]]))
    # overlap 2 x 1, union 32 + 8 - 2, hull 10 x 5
    np.testing.assert_allclose(loss, [1 - 2 / 38 + (50 - 38) / 50], rtol=1e-5)


@pytest.mark.parametrize("classes", [2, 9])
def test_deltas_for_all_classes_serve_regions_of_every_class(classes):
    # one object of the last class and two regions of background, C
    samples = Samples(tf.constant([[0, 1, 2]]), tf.constant([[True, False, False]]), tf.constant([[True] * 3]))
    labels = tf.constant([[classes - 1, classes, classes]])
    targets = RoITargets(tf.zeros([1, 3, 4]), labels, tf.zeros([1, 3, 4]), samples)
    deltas = tf.constant([[[[3.0, 0, 0, 0]], [[7.0] * 4], [[7.0] * 4]]])
    _, box = head_losses(tf.zeros([1, 3, classes + 1]), deltas, targets, L1)
    assert box == 1.0


def test_the_factors_of_the_class_loss_and_of_the_box_loss_multiply_each():
    classifier, box = head_losses(*head_example(), SMOOTH_L1, loss_weights=(3.0, 5.0))
    np.testing.assert_allclose(classifier, 3 * (np.log(2.0) + np.log(5 / 3)) / 2, rtol=1e-6)
    np.testing.assert_allclose(box, 5 * (2.0 - 0.5) / 2, rtol=1e-6)


def test_a_replica_with_the_only_sample_of_two_divides_by_half_a_sample(monkeypatch):
    # the strategy then takes the mean of both replicas' losses, which is the loss of the sample
    monkeypatch.setattr("tfrcnn.training.losses.replica_count", lambda: 2)
    monkeypatch.setattr("tfrcnn.training.losses.mean_over_replicas", lambda count: (count + 0.0) / 2)
    samples = Samples(tf.constant([[0]]), tf.constant([[False]]), tf.constant([[True]]))
    targets = RPNTargets(samples, tf.zeros([1, 1, 4]), tf.zeros([1, 1, 4]))
    objectness, _ = rpn_losses(tf.zeros([1, 1]), tf.zeros([1, 1, 4]), targets, L1)
    np.testing.assert_allclose(objectness, 2 * np.log(2.0), rtol=1e-6)


def test_all_losses_that_do_not_exist_are_named_at_once():
    config = DetectorConfig(
        BackboneConfig("resnet50"),
        rpn=RPNConfig(box_loss=BoxLossConfig("l3")),
        head=HeadConfig(box_loss=BoxLossConfig("l4"), class_loss=ClassLossConfig("hinge")),
    )
    with pytest.raises(InputError) as error:
        check_losses(config)
    assert all(f"found '{name}'" in str(error.value) for name in ("l3", "l4", "hinge"))


def test_a_prediction_is_compared_with_its_target_and_not_added_to_it():
    # 2.0 predicted for a target of 0.5: L1 of 1.5 in both losses
    samples = Samples(tf.constant([[0]]), tf.constant([[True]]), tf.constant([[True]]))
    target, predicted = tf.constant([[[0.5, 0, 0, 0]]]), tf.constant([[[2.0, 0, 0, 0]]])
    assert rpn_losses(tf.zeros([1, 1]), predicted, RPNTargets(samples, target, tf.zeros([1, 1, 4])), L1)[1] == 1.5
    targets = RoITargets(tf.zeros([1, 1, 4]), tf.constant([[0]]), target, samples)
    assert head_losses(tf.zeros([1, 1, 2]), predicted[:, :, None], targets, L1)[1] == 1.5


@pytest.mark.parametrize("filled", [0, 1])
def test_a_batch_with_one_sample_or_none_is_divided_by_one(filled):
    # the samples are background, of a detector of one class: -log of 1/2 each where they are there
    valid = tf.constant([[filled == 1, False]])
    samples = Samples(tf.constant([[0, 0]]), tf.constant([[False, False]]), valid)
    deltas = tf.zeros([1, 2, 4])
    rpn = rpn_losses(tf.zeros([1, 3]), tf.ones([1, 3, 4]), RPNTargets(samples, deltas, deltas), SMOOTH_L1)
    targets = RoITargets(tf.zeros([1, 2, 4]), tf.constant([[1, 1]]), deltas, samples)
    head = head_losses(tf.zeros([1, 2, 2]), tf.ones([1, 2, 1, 4]), targets, SMOOTH_L1)
    np.testing.assert_allclose([rpn, head], [[filled * np.log(2.0), 0.0]] * 2, rtol=1e-6)


def test_class_weights_multiply_the_cross_entropy_of_their_labels_and_background_is_last():
    logits, deltas, targets = head_example()
    classes = logits.shape[-1]
    total, box = head_losses(logits, deltas, targets, SMOOTH_L1)
    parts = [
        head_losses(logits, deltas, targets, SMOOTH_L1, [float(label == kept) for label in range(classes)])
        for kept in range(classes)
    ]
    np.testing.assert_allclose(sum(part[0] for part in parts), total, rtol=1e-6)
    assert all(part[1] == box for part in parts)
    assert len({float(part[0]) for part in parts}) > 1
