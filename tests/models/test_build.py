"""A blank detector equals build_detector's, without the random values."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfrcnn
from tfrcnn.compat import KERAS_2, path_of
from tfrcnn.errors import InputError
from tfrcnn.models import build_blank_detector
from tfrcnn.models.build import _zeros
from tfrcnn.training.checks import check_arguments


@pytest.mark.parametrize(
    "preset", ["tiny_fpn", "zf", pytest.param("fasterrcnn_mobilenet_v3_large_320_fpn", marks=pytest.mark.slow)]
)
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
@pytest.mark.parametrize(
    "head", [{}, {"class_agnostic": True, "cascade": tfrcnn.CascadeConfig()}], ids=["one", "cascade"]
)
def test_no_two_layers_start_with_the_same_random_numbers(head):
    detector = PRESET.detector
    config = detector.replace(rpn=detector.rpn.replace(convs=2), head=detector.head.replace(**head))
    kernels = [
        np.ravel(weight) for weight in tfrcnn.build_detector(config).weights if path_of(weight).endswith("kernel")
    ]
    # equal streams would give equal ratios, whatever the scale of a layer
    starts = [tuple(np.round(kernel[1:4] / kernel[0], 3)) for kernel in kernels]
    assert len(starts) > 10
    assert len(set(starts)) == len(starts)


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


PRESET = tfrcnn.preset("tiny_fpn", (tfrcnn.Category(1, "cell"),))
MISTAKES = {
    "a preset for its network": (
        lambda: tfrcnn.build_detector(PRESET),
        r"config must be a DetectorConfig.*\.detector",
    ),
    "a preset's name": (lambda: tfrcnn.build_detector("tiny_fpn"), "config must be a DetectorConfig.*found str"),
    "names of categories": (lambda: tfrcnn.preset("tiny_fpn", ["cell"]), "each of categories must be a Category.*str"),
    "no model": (lambda: tfrcnn.preset(None), "name: expected the name or the file of a preset, found NoneType"),
    "a size as text": (lambda: tfrcnn.preset("tiny_fpn", image_size="64"), "a positive multiple of 32 .* found '64'"),
    "two sizes": (lambda: tfrcnn.preset("tiny_fpn", image_size=(64, 64)), r"multiple of 32 .* found \(64, 64\)"),
    "a file that is a path object": (lambda: tfrcnn.preset(Path("none.json")), r"found no file at none\.json"),
    "a model to save": (lambda: tfrcnn.save_detector("x", "folder"), "detector must be a FasterRCNN.*TrainingModel"),
    "a path to adapt": (lambda: tfrcnn.with_categories("runs/coco", ()), r"must be a FasterRCNN, .*load_detector"),
    "a preset to train": (lambda: tfrcnn.TrainingModel(PRESET), "detector must be a FasterRCNN.*found Preset"),
    "a preset for the optimizer": (lambda: tfrcnn.make_optimizer(PRESET, 9), "training must be a TrainingConfig"),
    "data by path": (
        lambda: check_arguments(build_blank_detector(PRESET.detector), "cells.json", None, PRESET.training),
        "train_data must be a Dataset of tfrcnn.load_dataset, found str",
    ),
    "a preset for its training": (
        lambda: check_arguments(build_blank_detector(PRESET.detector), "cells.json", None, PRESET),
        r"training must be a TrainingConfig, for example preset\.training, found Preset",
    ),
}


@pytest.mark.parametrize(("call", "message"), MISTAKES.values(), ids=MISTAKES)
def test_an_argument_of_another_type_is_named_with_what_to_pass(call, message):
    with pytest.raises(InputError, match=message):
        call()
