"""Losses, image operators, averages and optimizers against tensorflow-addons: values, and gradients too."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.config import ClassLossConfig, TrainingConfig
from tfrcnn.data.augment.color import gaussian_blur
from tfrcnn.data.augment.geometry import rotation_matrix, warp
from tfrcnn.training.class_losses import class_loss
from tfrcnn.training.iou_losses import generalized_iou
from tfrcnn.training.optimizer import SGD
from tfrcnn.training.run_optimizer import make_optimizer

RNG = np.random.default_rng(0)
IMAGE = RNG.uniform(0, 255, (21, 33, 3)).astype(np.float32)
NO_BOXES, NO_LABELS = np.zeros((0, 4), np.float32), np.zeros(0, np.int32)
START = RNG.normal(size=(4, 3)).astype(np.float32)
GRADIENTS = RNG.normal(size=(6, 4, 3)).astype(np.float32)


def value_and_gradient(function, at):
    """Return the value of a function, and the gradient of a weighted sum of it."""
    at = tf.constant(at)
    with tf.GradientTape() as tape:
        tape.watch(at)
        value = function(at)
        weights = tf.reshape(tf.linspace(0.5, 1.5, tf.size(value)), tf.shape(value))
        total = tf.reduce_sum(tf.cast(weights, value.dtype) * value)
    return value.numpy(), tf.convert_to_tensor(tape.gradient(total, at)).numpy()


def assert_same(function, peer, at, **tolerance):
    for one, other in zip(value_and_gradient(function, at), value_and_gradient(peer, at)):
        assert np.abs(other).max() > 0
        np.testing.assert_allclose(one, other, **tolerance)


def test_giou_loss(tfa):
    corners = RNG.uniform(0, 100, (2, 500, 2, 2)).astype(np.float32)
    boxes = np.concatenate([corners.min(-2), corners.max(-2) + 1], axis=-1)  # pairs that overlap and pairs that do not
    assert_same(
        lambda predicted: 1 - generalized_iou(predicted, boxes[1]),
        lambda predicted: tfa.losses.giou_loss(boxes[1], predicted),
        boxes[0],
        rtol=1e-4,
        atol=1e-6,
    )


@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (0.0, 0.5), (1.5, 0.75)])
def test_sigmoid_focal_loss(tfa, gamma, alpha):
    logits = RNG.normal(0, 3, (2, 50, 4)).astype(np.float32)
    labels = RNG.integers(0, 4, (2, 50)).astype(np.int32)
    one_hot = tf.one_hot(labels, 3)  # label 3 is the background
    loss = class_loss(ClassLossConfig("sigmoid_focal", gamma=gamma, alpha=alpha))
    assert_same(
        lambda x: loss(x, labels),
        lambda x: tfa.losses.sigmoid_focal_crossentropy(one_hot, x[..., :3], alpha, gamma, from_logits=True),
        logits,
        rtol=1e-4,
        atol=1e-6,
    )


@pytest.mark.parametrize("degrees", [-170.0, -30.0, 1.0, 45.0, 90.0])
def test_rotation(tfa, degrees):
    angle = np.float32(np.radians(degrees))
    assert_same(
        lambda image: warp(image, NO_BOXES, NO_LABELS, rotation_matrix(angle), 100.0)[0],
        lambda image: tfa.image.rotate(image, angle, "bilinear", fill_value=100.0),
        IMAGE,
        rtol=1e-4,
        atol=1e-2,  # the coordinates of a pixel round differently
    )


@pytest.mark.parametrize("level", [1.0, -1.0, 2.0])
def test_shear(tfa, level):
    # about the first row there, and about the centre here: 10 rows further. Whole levels map pixels to pixels.
    image = np.pad(IMAGE, [[0, 0], [80, 80], [0, 0]]).astype(np.uint8)
    sheared = tfa.image.shear_x(image, level, 0).numpy()
    expected = np.roll(sheared, int(level * 10), axis=1)[:, 40:-40]
    matrix = tf.constant([[1.0, 0.0], [-level, 1.0]])
    actual = warp(image, NO_BOXES, NO_LABELS, matrix, 0.0)[0].numpy()[:, 40:-40]
    assert (expected > 0).mean() > 0.1
    np.testing.assert_allclose(actual, expected, atol=0.1)


@pytest.mark.parametrize("sigma", [0.6, 1.5])
def test_gaussian_blur(tfa, sigma):
    assert_same(
        lambda image: gaussian_blur(image, tf.constant(sigma), 4)[4:-4, 4:-4],  # edges repeat here, mirror there
        lambda image: tfa.image.gaussian_filter2d(image, (9, 9), sigma, "REFLECT")[4:-4, 4:-4],
        IMAGE,
        rtol=1e-4,
        atol=1e-3,
    )


def test_stochastic_weight_averaging(tfa):
    kernel, peer_kernel = (tf.Variable(START, name="kernel") for _ in range(2))
    sgd = SGD(0.1, momentum=0.9, swa_start=2, use_ema=True, ema_momentum=0.0)
    peer = tfa.optimizers.SWA(keras.optimizers.legacy.SGD(0.1, momentum=0.9), start_averaging=2, average_period=1)
    sgd.build([kernel])
    for gradient in GRADIENTS:
        sgd.apply_gradients([(tf.constant(gradient), kernel)])
        peer.apply_gradients([(tf.constant(gradient), peer_kernel)])
    np.testing.assert_allclose(kernel.numpy(), peer_kernel.numpy(), rtol=1e-6)
    sgd.swap_averages()
    peer.assign_average_vars([peer_kernel])
    np.testing.assert_allclose(kernel.numpy(), peer_kernel.numpy(), rtol=1e-5)


@pytest.mark.parametrize("kind", ["LAMB", "RectifiedAdam", "NovoGrad", "AdaBelief"])
def test_an_optimizer_by_name_steps_as_its_class(tfa, kind):
    training = TrainingConfig(
        epochs=1,
        batch_size=16,
        warmup_steps=0,
        milestones=(),
        learning_rate=0.01,
        weight_decay=0.1,
        optimizer=f"tfa:{kind}",
        backbone_learning_rate_scale=0.5,
        gradient_clip_norm=None,
    )
    variables = [tf.Variable(START, name="kernel") for _ in range(2)]
    optimizer = make_optimizer(training, 100)
    optimizer.set_backbone(variables[1:])
    optimizer.build(variables)
    step = tf.function(lambda gradient: optimizer.apply_gradients((gradient, v) for v in variables))
    for gradient in GRADIENTS:
        step(tf.constant(gradient))
    for variable, rate in zip(variables, (0.01, 0.005)):
        peer, expected = getattr(tfa.optimizers, kind)(rate, weight_decay=0.1), tf.Variable(START)
        for gradient in GRADIENTS:
            peer.apply_gradients([(tf.constant(gradient), expected)])
        np.testing.assert_allclose(variable.numpy(), expected.numpy(), rtol=1e-5)


def test_decoupled_weight_decay_is_a_part_of_the_rate(tfa):
    # tfa.optimizers.AdamW subtracts decay w, whatever the rate is; Keras and this library subtract rate decay w
    training = TrainingConfig(
        epochs=1, batch_size=16, warmup_steps=0, milestones=(), learning_rate=0.01, weight_decay=0.1
    )
    results = []
    for name in ("tfa:AdamW", "adamw"):
        variable = tf.Variable(START, name="kernel")
        optimizer = make_optimizer(training.replace(optimizer=name), 100)
        optimizer.build([variable])
        for gradient in GRADIENTS:
            optimizer.apply_gradients([(tf.constant(gradient), variable)])
        results.append(variable.numpy())
    np.testing.assert_allclose(*results, rtol=1e-4)
