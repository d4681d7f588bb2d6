"""The four losses, by hand."""

import numpy as np
import tensorflow as tf

from tfrcnn.matching import Samples
from tfrcnn.training.losses import rpn_losses, smooth_l1
from tfrcnn.training.targets import RPNTargets


def test_smooth_l1_is_quadratic_below_beta_and_linear_above():
    values = smooth_l1(tf.constant([0.0, 0.05, -0.05, 1.0, -2.0]), beta=0.1)
    np.testing.assert_allclose(values, [0.0, 0.0125, 0.0125, 0.95, 1.95], rtol=1e-6)


def test_rpn_losses_are_the_sums_over_samples_divided_by_their_number():
    samples = Samples(
        tf.constant([[2, 0, 1, 0]]),
        tf.constant([[True, False, False, False]]),
        tf.constant([[True, True, True, False]]),
    )
    targets = RPNTargets(samples, tf.constant([[[1.0, 0, 0, 0]] + [[0.0] * 4] * 3]))
    logits, deltas = tf.constant([[0.0, 0.0, 0.0]]), tf.zeros([1, 3, 4])
    objectness, box = rpn_losses(logits, deltas, targets, beta=1 / 9)
    np.testing.assert_allclose(objectness, np.log(2.0), rtol=1e-6)  # three samples of log 2, over three
    np.testing.assert_allclose(box, (1 - 1 / 18) / 3, rtol=1e-6)
