"""The layers of the stages after the first, by hand."""

import numpy as np
import tensorflow as tf

from tfrcnn.compat import KERAS_2, path_of
from tfrcnn.config import CascadeConfig, HeadConfig
from tfrcnn.layers import BoxRefiner, CascadeHeads

HEAD = HeadConfig(pool_size=2, units=(3,), class_agnostic=True, cascade=CascadeConfig())
SIZES = tf.constant([[100.0, 100.0]])
BOXES = tf.constant([[[10.0, 10, 30, 50], [60, 60, 99, 99]]])  # centre (20, 30), sides (20, 40); the second at the edge
# dy, dx and dh of the first box: a tenth of its height, a twentieth of its width back, twice as high
DELTAS = tf.constant([[[[1.0, -0.5, 5 * np.log(2), 0.0]], [[10.0, 10.0, 0.0, 0.0]]]], tf.float32)


def test_a_box_moves_by_the_deltas_of_its_stage_and_ends_at_the_images_edge():
    first = BoxRefiner(HEAD)(DELTAS, BOXES, SIZES, stage=0)
    np.testing.assert_allclose(first[0], [[2, 8, 42, 48], [99, 99, 100, 100]], rtol=1e-5)


def test_a_later_stage_reads_the_same_deltas_as_a_smaller_move():
    # the weights of the second stage are twice those of the first: half the way, the root of the scale
    second = BoxRefiner(HEAD)(DELTAS, BOXES, SIZES, stage=1)
    half = 10 * np.sqrt(2)
    np.testing.assert_allclose(second[0, 0], [21 - half, 9, 21 + half, 49], rtol=1e-5)


def test_no_gradient_passes_from_a_stage_to_the_stage_before():
    deltas = tf.Variable(DELTAS)
    with tf.GradientTape() as tape:
        boxes = tf.reduce_sum(BoxRefiner(HEAD)(deltas, BOXES, SIZES, stage=0))
    assert tape.gradient(boxes, deltas) is None


def test_each_stage_has_weights_that_it_does_not_share():
    layer = CascadeHeads(HEAD, num_classes=2)
    features = np.random.default_rng(0).normal(size=(1, 5, 2, 2, 4)).astype(np.float32)
    (logits, deltas), (other, _) = layer(features, stage=1), layer(features, stage=2)
    assert logits.shape == (1, 5, 3)
    assert deltas.shape == (1, 5, 1, 4)
    assert np.any(logits != other)
    assert len({id(weight) for weight in layer.weights}) == len(layer.weights) == 2 * 6
    assert KERAS_2 or len({path_of(weight) for weight in layer.weights}) == 2 * 6


def test_the_layers_are_made_again_from_their_configuration():
    layer = CascadeHeads(HEAD, num_classes=2)
    again = CascadeHeads.from_config(layer.get_config())
    assert (again.config, again.num_classes, len(again.heads)) == (HEAD, 2, 2)
    assert BoxRefiner.from_config(BoxRefiner(HEAD).get_config()).config == HEAD
