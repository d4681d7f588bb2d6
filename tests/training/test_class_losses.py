"""The losses of the head's class logits, by hand."""

import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.config import ClassLossConfig
from tfrcnn.errors import InputError
from tfrcnn.training.class_losses import CLASS_LOSSES, class_loss

from .test_losses import SMOOTH_L1, head_example, head_losses

# p of three classes, background last
LOGITS = np.log(np.array([[[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]], np.float32))
LABELS = np.array([[0, 2]], np.int32)


def values(labels=LABELS, **options):
    return class_loss(ClassLossConfig(**options))(tf.constant(LOGITS), tf.constant(labels)).numpy()


def test_the_cross_entropy_is_minus_the_logarithm_of_the_labels_probability():
    np.testing.assert_allclose(values(), [[-np.log(0.5), -np.log(0.8)]], rtol=1e-5)


def test_label_smoothing_spreads_its_share_over_all_classes():
    # targets 0.9 + 0.1/3 for the label and 0.1/3 for the others
    expected = -0.9 * np.log([0.5, 0.8]) - 0.1 / 3 * np.log([0.5 * 0.25 * 0.25, 0.1 * 0.1 * 0.8])
    np.testing.assert_allclose(values(label_smoothing=0.1)[0], expected, rtol=1e-5)
    smoothed = keras_smoothed(0.1)
    np.testing.assert_allclose(values(label_smoothing=0.1), smoothed, rtol=1e-5)


def keras_smoothed(share):
    import keras

    one_hot = tf.one_hot(LABELS, 3)
    return keras.losses.categorical_crossentropy(one_hot, LOGITS, from_logits=True, label_smoothing=share)


def test_the_focal_loss_weighs_by_what_is_missing_to_certainty():
    expected = [0.5**2 * -np.log(0.5), 0.2**2 * -np.log(0.8)]
    np.testing.assert_allclose(values(name="focal")[0], expected, rtol=1e-5)
    weighted = [0.25 * 0.5**3 * -np.log(0.5), 0.75 * 0.2**3 * -np.log(0.8)]  # an object, then background
    np.testing.assert_allclose(values(name="focal", gamma=3.0, alpha=0.25)[0], weighted, rtol=1e-5)


def test_the_focal_loss_without_gamma_is_the_cross_entropy():
    np.testing.assert_allclose(values(name="focal", gamma=0.0), values(), rtol=1e-5)


@pytest.mark.parametrize("name", ["focal", "sigmoid_focal"])
@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_a_focal_loss_is_finite_for_certain_logits_right_or_wrong(gamma, name):
    logits = tf.constant([[[1e4, -1e4, 0.0], [1e4, -1e4, 0.0], [0.0, 0.0, 0.0], [3e4, 0, 0]]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = class_loss(ClassLossConfig(name, gamma=gamma))(logits, tf.constant([[0, 1, 2, 2]]))
    gradient = tape.gradient(loss, logits).numpy()
    assert np.isfinite(loss).all()
    assert np.isfinite(gradient).all()
    assert loss[0, 0] == 0  # certain and right
    assert gradient[0, 1, 1] < 0  # certain and wrong: the label's logit rises


def test_the_focal_loss_of_one_class_is_torchvisions_sigmoid_focal_loss():
    # torchvision.ops.sigmoid_focal_loss(logits, targets, alpha=0.25, gamma=2, reduction="none") and its gradient:
    # a softmax of (x, 0) is a sigmoid of x
    logits, targets = np.array([-3.0, -0.5, 0.0, 1.25, 4.0, 2.0], np.float32), np.array([0, 1, 1, 0, 0, 1])
    x = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(x)
        pairs = tf.stack([x, tf.zeros_like(x)], axis=-1)[None]
        loss = class_loss(ClassLossConfig("focal", gamma=2.0, alpha=0.25))(pairs, tf.constant(1 - targets)[None])
    np.testing.assert_allclose(loss[0], TORCHVISION_FOCAL, rtol=1e-5)
    np.testing.assert_allclose(tape.gradient(loss, x), TORCHVISION_FOCAL_GRADIENT, rtol=1e-5)


def test_the_sigmoid_focal_loss_is_torchvisions_summed_over_the_classes():
    # six logits of torchvision's as three RoIs of two classes: background, the first class and the second
    logits, labels = tf.constant([[[-3.0, 1.25, 9.0], [-0.5, 4.0, -9.0], [4.0, 2.0, 0.0]]]), tf.constant([[2, 0, 1]])
    loss = class_loss(ClassLossConfig("sigmoid_focal", gamma=2.0, alpha=0.25))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(logits, labels)
    order = [0, 3, 1, 4, 4, 5]
    values, gradients = np.array(TORCHVISION_FOCAL)[order], np.array(TORCHVISION_FOCAL_GRADIENT)[order]
    np.testing.assert_allclose(value[0], values.reshape(3, 2).sum(-1), rtol=1e-5)
    gradient = tape.gradient(value, logits)[0]
    np.testing.assert_allclose(gradient[:, :2], gradients.reshape(3, 2), rtol=1e-5)
    np.testing.assert_array_equal(gradient[:, 2], [0, 0, 0])  # the background's logit


TORCHVISION_FOCAL = [8.196242e-05, 0.09435289, 0.0433217, 0.6805936, 2.90618, 0.0004508911]
TORCHVISION_FOCAL_GRADIENT = [0.0002361537, -0.1315379, -0.0745717, 0.6553671, 0.814797, -0.001217736]


def test_the_name_of_a_loss_decides_how_logits_become_scores():
    assert [ClassLossConfig(name).scores for name in CLASS_LOSSES] == ["softmax", "softmax", "sigmoid"]
    assert ClassLossConfig("sigmoid_of_mine").scores == "sigmoid"


def test_the_heads_losses_take_the_class_loss_and_their_factors():
    logits, deltas, targets = head_example()
    plain, box = head_losses(logits, deltas, targets, SMOOTH_L1)
    focal, same_box = head_losses(
        logits, deltas, targets, SMOOTH_L1, None, class_loss(ClassLossConfig("focal", gamma=1.0)), (1.0, 10.0)
    )
    # the label's probabilities are 2/4 and 3/5, two samples are filled
    np.testing.assert_allclose(focal, (0.5 * np.log(2.0) + 0.4 * np.log(5 / 3)) / 2, rtol=1e-5)
    np.testing.assert_allclose(same_box, 10 * box, rtol=1e-6)
    tripled, _ = head_losses(logits, deltas, targets, SMOOTH_L1, None, None, (3.0, 1.0))
    np.testing.assert_allclose(tripled, 3 * plain, rtol=1e-6)


def test_a_class_loss_is_a_function_of_logits_and_labels_and_takes_one_line_to_add(monkeypatch):
    def margin(config):
        def loss(class_logits, labels):
            return config.gamma - tf.gather(class_logits, labels, batch_dims=2)

        return loss

    monkeypatch.setitem(CLASS_LOSSES, "margin", margin)
    logits, deltas, targets = head_example()
    value, _ = head_losses(logits, deltas, targets, SMOOTH_L1, None, class_loss(ClassLossConfig("margin", gamma=3.0)))
    np.testing.assert_allclose(value, (6 - np.log(2) - np.log(3)) / 2, rtol=1e-6)


def test_a_class_loss_that_does_not_exist_is_named_with_those_that_do():
    with pytest.raises(
        InputError, match=r"ClassLossConfig\.name must be one of cross_entropy, focal, sigmoid_focal, found 'hinge'"
    ):
        class_loss(ClassLossConfig("hinge"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_smoothing": 1.0}, r"label_smoothing must be in \[0, 1\), found 1.0"),
        ({"name": "focal", "label_smoothing": 0.1}, r"label_smoothing must be 0 for a focal loss"),
        ({"gamma": -1.0}, "gamma must be at least 0, found -1.0"),
        ({"alpha": 1.0}, r"alpha must be None or in \(0, 1\), found 1.0"),
    ],
)
def test_an_option_out_of_range_is_one_line(options, message):
    with pytest.raises(InputError, match=message):
        ClassLossConfig(**options)
