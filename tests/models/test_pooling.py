"""Any Keras layer with RoIAlign's call can pool the boxes of a detector."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.config import Category, DetectionConfig, TrainingConfig
from tfrcnn.errors import InputError
from tfrcnn.layers import RoIAlign
from tfrcnn.models import build_detector, load_detector, preset, save_detector
from tfrcnn.models.transfer import unshare, with_categories
from tfrcnn.training.alternating import _take_head_and_features
from tfrcnn.training.schemes import HEAD, SCHEMES, freeze

CATEGORIES = (Category(1, "a"), Category(2, "b"))
IMAGE = np.random.default_rng(0).uniform(0, 255, (1, 90, 120, 3)).astype(np.float32)


@keras.saving.register_keras_serializable(package="test")
class ScaledAlign(keras.layers.Layer):
    """RoIAlign times a number that is learned."""

    def __init__(self, config, strides, name):
        super().__init__(name=name)
        self.align = RoIAlign(config, strides)

    def build(self, *_):
        self.factor = self.add_weight(name="factor", shape=(), initializer="ones")

    def call(self, features, boxes):
        return self.factor * self.align(features, boxes)


def config(pooling="test>ScaledAlign", categories=CATEGORIES):
    small = preset("tiny_fpn", categories).detector
    detections = DetectionConfig(score_threshold=0.0, max_detections=10)
    return small.replace(head=small.head.replace(pooling=pooling), detections=detections)


@pytest.fixture(scope="module")
def detector():
    keras.utils.set_random_seed(0)
    detector = build_detector(config())
    detector.roi_pooling.factor.assign(3.0)
    return detector


def test_boxes_are_pooled_by_it(detector):
    assert isinstance(detector.roi_pooling, ScaledAlign)
    other = build_detector(config("roi_align"))
    for name in ("backbone", "fpn", "rpn_head", "box_head"):
        getattr(other, name).set_weights(getattr(detector, name).get_weights())
    assert np.any(detector(IMAGE)["scores"] != other(IMAGE)["scores"])
    detector.roi_pooling.factor.assign(1.0)
    np.testing.assert_allclose(detector(IMAGE)["scores"], other(IMAGE)["scores"], atol=1e-6)
    detector.roi_pooling.factor.assign(3.0)


@pytest.mark.slow
def test_folders_and_keras_files_keep_it_with_its_weights(detector, tmp_path):
    save_detector(detector, tmp_path / "run")
    detector.save(tmp_path / "a.keras")
    for loaded in (load_detector(tmp_path / "run"), keras.models.load_model(tmp_path / "a.keras")):
        assert loaded.roi_pooling.factor.numpy() == 3.0
        np.testing.assert_array_equal(loaded(IMAGE)["boxes"], detector(IMAGE)["boxes"])


def test_a_detector_for_other_categories_starts_from_its_weights(detector):
    new, _ = with_categories(detector, (Category(5, "b"), Category(6, "c")))
    assert new.roi_pooling.factor.numpy() == 3.0


@pytest.mark.parametrize("scheme", ["joint", "rpn-only", "alternating"])
def test_it_is_trained_in_the_steps_that_train_the_box_head(detector, scheme):
    for phase in SCHEMES[scheme]:
        freeze(detector, TrainingConfig(), phase)
        assert detector.roi_pooling.trainable == detector.box_head.trainable == (HEAD in phase.losses)
    freeze(detector, TrainingConfig())


def test_alternating_training_carries_its_weights_to_the_shared_detector(detector):
    shared = build_detector(config())
    _take_head_and_features(unshare(detector), shared)
    assert shared.roi_pooling.factor.numpy() == 3.0


def test_a_layer_that_is_not_registered_is_one_clear_error():
    with pytest.raises(InputError, match=r"'my>Pool' is not a registered Keras layer: import the module"):
        build_detector(config("my>Pool"))


def test_its_maps_are_those_that_the_pyramid_makes_for_boxes(detector):
    assert detector.roi_pooling.align.strides == detector.level_strides[:-1]
    assert detector.stages.pooled_levels == len(detector.roi_pooling.align.strides)
    assert tf.nest.flatten(detector.network.output)[0].shape[1:] == (10, 4)
