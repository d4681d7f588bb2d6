"""The box head: the order of its outputs."""

import numpy as np
import tensorflow as tf

from tfrcnn.config import ClassLossConfig, HeadConfig
from tfrcnn.layers import BoxHead


def test_class_logits_end_with_the_background_and_deltas_are_class_by_class():
    head = BoxHead(HeadConfig(pool_size=2, units=(3,)), num_classes=2)
    features = np.random.default_rng(0).normal(size=(1, 5, 2, 2, 4)).astype(np.float32)
    head(features)
    head.classifier.set_weights([np.zeros((3, 3)), np.array([1.0, 2.0, 3.0])])
    head.regressor.set_weights([np.zeros((3, 8)), np.arange(8.0)])
    logits, deltas = head(features)
    np.testing.assert_array_equal(logits[0, 4], [1, 2, 3])
    np.testing.assert_array_equal(deltas[0, 4], [[0, 1, 2, 3], [4, 5, 6, 7]])


def test_hidden_layers_see_the_whole_region_in_the_order_row_column_channel():
    head = BoxHead(HeadConfig(pool_size=2, units=(1,)), num_classes=1)
    features = np.random.default_rng(1).uniform(size=(2, 3, 2, 2, 4)).astype(np.float32)
    head(features)
    kernel = np.random.default_rng(2).uniform(size=(16, 1)).astype(np.float32)
    head.hidden[0].set_weights([kernel, np.zeros(1)])
    head.classifier.set_weights([np.ones((1, 2)), np.zeros(2)])
    logits, _ = head(features)
    np.testing.assert_allclose(logits[..., 0], features.reshape(2, 3, 16) @ kernel[:, 0], rtol=1e-5)


def test_dropout_acts_in_training_alone():
    head = BoxHead(HeadConfig(pool_size=1, units=(64,), dropout=0.5), num_classes=1)
    features = tf.ones([1, 2, 1, 1, 8])
    np.testing.assert_array_equal(head(features)[0], head(features, training=False)[0])
    assert np.any(head(features, training=True)[0] != head(features)[0])


def test_sigmoids_start_at_one_percent_and_a_softmax_at_equal_classes():
    for name, logit in (("sigmoid_focal", -np.log(99)), ("cross_entropy", 0.0)):
        head = BoxHead(HeadConfig(pool_size=1, units=(2,), class_loss=ClassLossConfig(name)), num_classes=2)
        logits, _ = head(tf.zeros([1, 1, 1, 1, 3]))
        np.testing.assert_allclose(logits, np.full([1, 1, 3], logit), rtol=1e-6)


def test_a_class_agnostic_head_predicts_one_box_per_region():
    head = BoxHead(HeadConfig(pool_size=2, units=(3,), class_agnostic=True), num_classes=7)
    logits, deltas = head(tf.ones([1, 5, 2, 2, 4]))
    assert logits.shape == (1, 5, 8)
    assert deltas.shape == (1, 5, 1, 4)
