"""GIoU, DIoU and CIoU: by hand, their properties, and what padding and runaway predictions do to them."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfrcnn import boxes as box_ops
from tfrcnn.config import BoxLossConfig
from tfrcnn.training.iou_losses import complete_iou, distance_iou, generalized_iou
from tfrcnn.training.losses import box_loss

NAMES = ("giou", "diou", "ciou")
FUNCTIONS = (generalized_iou, distance_iou, complete_iou)
ROOT3 = math.sqrt(3)
WEIGHTS = (10.0, 10.0, 5.0, 5.0)


def random_boxes(count, seed=0):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 60, (count, 2))
    return np.concatenate([corners, corners + rng.uniform(1, 40, (count, 2))], -1).astype(np.float32)


@pytest.mark.parametrize(
    ("one", "other", "giou", "diou", "ciou"),
    [
        # overlap 1, union 7, hull 9; the centres are sqrt(2) apart, the hull's diagonal is sqrt(18)
        ([0, 0, 2, 2], [1, 1, 3, 3], 1 / 7 - 2 / 9, 1 / 7 - 1 / 9, 1 / 7 - 1 / 9),
        # a cell between them: union 2, hull 3, distance 2, diagonal sqrt(10)
        ([0, 0, 1, 1], [0, 2, 1, 3], -1 / 3, -4 / 10, -4 / 10),
        # one in the middle of the other: hull and union are the outer one, the centres are equal
        ([0, 0, 4, 4], [1, 1, 3, 3], 1 / 4, 1 / 4, 1 / 4),
        # angles pi/4 and pi/3: v = (2/pi * pi/12)^2 = 1/36; overlap 4, union and hull 4 sqrt(3), diagonal 4
        (
            [0, 0, 2, 2],
            [0, 0, 2, 2 * ROOT3],
            1 / ROOT3,
            1 / ROOT3 - (ROOT3 - 1) ** 2 / 16,
            1 / ROOT3 - (ROOT3 - 1) ** 2 / 16 - (1 / 36) ** 2 / (1 - 1 / ROOT3 + 1 / 36),
        ),
    ],
)
def test_the_overlaps_by_hand(one, other, giou, diou, ciou):
    one, other = tf.constant([one], tf.float32), tf.constant([other], tf.float32)
    for function, expected in zip(FUNCTIONS, (giou, diou, ciou)):
        np.testing.assert_allclose(function(one, other), [expected], rtol=1e-5)


def test_overlaps_are_symmetric_lie_in_their_range_and_are_one_for_equal_boxes():
    one, other = random_boxes(500), random_boxes(500, seed=1)
    iou = np.diagonal(box_ops.iou(one, other))
    for function, lowest in zip(FUNCTIONS, (-1, -1, -2)):
        values = function(one, other).numpy()
        np.testing.assert_allclose(values, function(other, one), atol=1e-6)
        np.testing.assert_allclose(function(one, one), 1, atol=1e-6)
        assert (values > lowest).all()
        assert (values <= iou + 1e-6).all()
    assert (complete_iou(one, other) <= distance_iou(one, other)).numpy().all()


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_compares_the_boxes_that_deltas_and_targets_stand_for(name):
    # an anchor of 2 x 2 pixels: 0.5 of a side is a pixel, times the weight of 10; the target is the anchor
    loss = box_loss(BoxLossConfig(name), WEIGHTS)
    boxes, targets = tf.constant([[[10.0, 20, 12, 22]]]), tf.zeros([1, 1, 4])
    expected = {"giou": 1 - 1 / 7 + 2 / 9, "diou": 1 - 1 / 7 + 1 / 9, "ciou": 1 - 1 / 7 + 1 / 9}[name]
    np.testing.assert_allclose(loss(tf.constant([[[5.0, 5, 0, 0]]]), targets, boxes), [[expected]], rtol=1e-5)
    np.testing.assert_allclose(loss(targets, targets, boxes), [[0.0]], atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_box_weights_scale_the_deltas_and_not_the_loss(name):
    boxes, target = random_boxes(50), random_boxes(50, seed=1)
    predicted = random_boxes(50, seed=2)
    values = [
        box_loss(BoxLossConfig(name), w)(box_ops.encode(predicted, boxes, w), box_ops.encode(target, boxes, w), boxes)
        for w in ((1.0, 1.0, 1.0, 1.0), WEIGHTS)
    ]
    expected = 1 - dict(zip(NAMES, FUNCTIONS))[name](predicted, target)
    for value in values:
        np.testing.assert_allclose(value, expected, atol=2e-4)


def values_and_gradients(name, deltas, targets, boxes):
    with tf.GradientTape() as tape:
        tape.watch(deltas)
        value = box_loss(BoxLossConfig(name), WEIGHTS)(deltas, targets, boxes)
    return value, tape.gradient(value, deltas)


@pytest.mark.parametrize("name", NAMES)
def test_padding_and_extreme_predictions_have_finite_losses_and_gradients(name):
    boxes = tf.constant([[0.0, 0, 0, 0], [7, 7, 7, 7], [0, 0, 20, 0], [0, 0, 600, 1000], [3, 3, 3.001, 3.001]])
    extremes = [[0.0] * 4, [1e4] * 4, [-1e4] * 4, [0, 0, 1e4, -1e4], [1e4, -1e4, -1e4, -1e4], [0, 0, -60, -600]]
    for deltas in extremes:
        for targets in ([0.0] * 4, [1.0, -2, 3, -4]):
            value, gradient = values_and_gradients(
                name, tf.constant([deltas] * 5, tf.float32), tf.constant([targets] * 5), boxes
            )
            assert np.isfinite(value).all(), (deltas, targets)
            assert np.isfinite(gradient).all(), (deltas, targets)


@pytest.mark.parametrize("name", NAMES)
def test_a_box_beyond_the_limit_of_decode_is_pulled_back(name):
    boxes, targets = tf.constant([[0.0, 0, 10, 10]]), tf.zeros([1, 4])
    _, gradient = values_and_gradients(name, tf.constant([[0.0, 0, 100, 100]]), targets, boxes)
    assert (gradient.numpy()[0, 2:] > 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_box_that_does_not_touch_its_target_is_pulled_towards_it(name):
    # the target lies below and to the right; a plain IoU would have no gradient
    boxes, target = tf.constant([[0.0, 0, 10, 10]]), tf.constant([[25.0, 30, 45, 42]])
    _, gradient = values_and_gradients(name, tf.zeros([1, 4]), box_ops.encode(target, boxes, WEIGHTS), boxes)
    assert (gradient.numpy()[0, :2] < 0).all()


def test_the_trade_off_of_ciou_is_a_constant_to_the_gradient():
    # the gradient of a (2/pi (atan w/h - pi/4))^2 at w = 2, h = 1, with a held: 2 a s / pi * 2 h / (w^2 + h^2)
    box = tf.constant([[0.0, 0, 1, 2]])
    other = tf.constant([[0.0, 0, 1, 1]])
    difference = 2 / math.pi * (math.atan(2) - math.pi / 4)
    trade_off = difference**2 / (1 - 0.5 + difference**2)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(box)
        ciou, diou = complete_iou(box, other), distance_iou(box, other)
    shape = tape.gradient(diou, box) - tape.gradient(ciou, box)
    by_width = trade_off * 2 * difference * 2 / math.pi * 1 / 5
    np.testing.assert_allclose(shape[0, 3], by_width, rtol=1e-4)


# torchvision 0.29 on the boxes (x1, y1, x2, y2) below, with a = torch.tensor(ONE, requires_grad=True):
#     loss = ops.generalized_box_iou_loss(a, OTHER)     (distance_box_iou_loss, complete_box_iou_loss)
#     loss.sum().backward(); loss, a.grad
ONE = [[1.0, 2, 11, 9], [0, 0, 4, 20], [5, 5, 8, 9], [30, 3, 42, 18]]
OTHER = [[3.0, 1, 14, 12], [1, 2, 9, 11], [10, 12, 15, 30], [28, 5, 50, 15]]
TORCHVISION = {
    "giou": (
        [0.6411293, 1.089556, 1.592, 0.7229437],
        [
            [-0.0451776, 0.0670999, -0.0518519, -0.0670999],
            [-0.000609383, -0.019412, -0.114103, 0.019412],
            [-0.0248, -0.00432, -0.016, -0.012],
            [0.0432127, -0.0385694, -0.0432127, 0.0385694],
        ],
    ),
    "diou": (
        [0.6101851, 0.8281788, 1.32, 0.5844751],
        [
            [-0.0278882, 0.0496656, -0.0604725, -0.0565621],
            [-0.0391437, 0.00403842, -0.059229, 0.0105146],
            [0.000551723, 0.00275862, -0.00827586, -0.0193103],
            [0.0238299, -0.0171101, -0.0322925, 0.0185205],
        ],
    ),
    "ciou": (
        [0.610441, 0.8425373, 1.322996, 0.5965468],
        [
            [-0.0280259, 0.0498622, -0.0603349, -0.0567588],
            [-0.0365351, 0.00351669, -0.0618377, 0.0110363],
            [-0.00202146, 0.00468851, -0.00570268, -0.0212402],
            [0.0259206, -0.0187827, -0.0343832, 0.0201931],
        ],
    ),
}


@pytest.mark.parametrize(("name", "function"), list(zip(NAMES, FUNCTIONS)))
def test_values_and_gradients_are_those_of_torchvision(name, function):
    one, other = (np.array(boxes, np.float32)[:, [1, 0, 3, 2]] for boxes in (ONE, OTHER))
    one = tf.constant(one)
    with tf.GradientTape() as tape:
        tape.watch(one)
        loss = 1 - function(one, tf.constant(other))
    expected, gradient = map(np.array, TORCHVISION[name])
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(tape.gradient(loss, one), gradient[:, [1, 0, 3, 2]], atol=1e-6, rtol=1e-4)


@pytest.mark.slow
def test_the_losses_and_their_gradients_compile_under_xla():
    boxes, deltas, targets = (tf.constant(random_boxes(8, seed)) for seed in range(3))

    def all_losses(deltas):
        return [values_and_gradients(name, deltas / 40, targets / 40, boxes) for name in NAMES]

    compiled = tf.function(all_losses, jit_compile=True)(deltas)
    for expected, actual in zip(tf.nest.flatten(all_losses(deltas)), tf.nest.flatten(compiled)):
        np.testing.assert_allclose(actual, expected, atol=1e-4)
