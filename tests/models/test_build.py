"""A blank detector equals build_detector's, without the random values."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfrcnn
from tfrcnn.compat import KERAS_2, path_of
from tfrcnn.models import build_blank_detector
from tfrcnn.models.build import _zeros


@pytest.mark.parametrize("preset", ["tiny_fpn", "zf", "fasterrcnn_mobilenet_v3_large_320_fpn"])
def test_a_blank_detector_has_the_same_weights_all_zero(preset):
    config = tfrcnn.preset(preset, (tfrcnn.Category(1, "cell"),)).detector
    made, blank = tfrcnn.build_detector(config), build_blank_detector(config)
    assert [path_of(each) for each in blank.weights] == [path_of(each) for each in made.weights]
    assert [each.shape for each in blank.weights] == [each.shape for each in made.weights]
    assert [each.trainable for each in blank.weights] == [each.trainable for each in made.weights]
    assert not any(np.any(value) for value in blank.get_weights())
    assert any(np.any(value) for value in made.get_weights())


def test_no_initial_value_of_a_blank_detector_is_computed(monkeypatch):
    eager = []
    initialize = keras.initializers.VarianceScaling.__call__

    def watched(self, shape, dtype=None, **options):
        eager.append(tf.executing_eagerly())
        return initialize(self, shape, dtype, **options)

    monkeypatch.setattr(keras.initializers.VarianceScaling, "__call__", watched)
    config = tfrcnn.preset("tiny_fpn", (tfrcnn.Category(1, "cell"),)).detector
    build_blank_detector(config)
    assert eager
    assert not any(eager)
    tfrcnn.build_detector(config)
    assert eager[-1]  # shows that this test can fail


@pytest.mark.skipif(KERAS_2, reason="Keras 2 has no seed generator")
def test_a_blank_detector_keeps_what_is_no_weight():
    class Noise(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.seeds = keras.random.SeedGenerator(7)

    with tf.variable_creator_scope(_zeros):
        layer = Noise()
    np.testing.assert_array_equal(layer.seeds.state, Noise().seeds.state)
    assert np.any(layer.seeds.state)
