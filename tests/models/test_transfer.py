"""Transfer from a trained detector: kept weights and new weights."""

import keras
import numpy as np
import pytest

from tfrcnn.config import Category, DetectionConfig, RPNConfig
from tfrcnn.errors import InputError
from tfrcnn.models import build_detector, load_detector, preset, save_detector
from tfrcnn.models.transfer import unshare, with_categories

OLD = (Category(1, "cat"), Category(2, "dog"), Category(3, "bird"))
NEW = (Category(5, "bird"), Category(9, "fish"), Category(10, "cat"))


@pytest.fixture(scope="module")
def pair():
    keras.utils.set_random_seed(0)
    limits = DetectionConfig(class_score_thresholds={"cat": 0.3, "dog": 0.6})
    old = build_detector(preset("tiny_fpn", OLD).detector.replace(detections=limits))
    rng = np.random.default_rng(0)
    old.set_weights([rng.normal(size=w.shape).astype(np.float32) for w in old.get_weights()])
    return old, *with_categories(old, NEW, preset("tiny_fpn", image_size=64).detector.image)


def test_everything_before_the_predictors_is_kept(pair):
    old, new, _ = pair
    images, sizes = np.ones((1, 64, 64, 3), np.float32), np.full((1, 2), 64, np.float32)
    for one, other in zip(old.extract_features(images, sizes), new.extract_features(images, sizes)):
        np.testing.assert_array_equal(one, other)
    for name in ("backbone", "fpn", "rpn_head"):
        for one, other in zip(getattr(old, name).get_weights(), getattr(new, name).get_weights()):
            np.testing.assert_array_equal(one, other)
    assert new.network.inputs[0].shape == (None, 64, 64, 3)


def test_categories_of_the_same_name_keep_their_outputs_wherever_they_stand_now(pair):
    old, new, kept = pair
    assert kept == ("bird", "cat")
    assert new.config.detections.class_score_thresholds == {"cat": 0.3}
    rois = np.random.default_rng(1).normal(size=(1, 4, 7, 7, 64)).astype(np.float32)
    old_logits, old_deltas = old.box_head(rois)
    logits, deltas = new.box_head(rois)
    np.testing.assert_allclose(logits.numpy()[..., [0, 2, 3]], old_logits.numpy()[..., [2, 0, 3]], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(deltas.numpy()[:, :, [0, 2]], old_deltas.numpy()[:, :, [2, 0]], rtol=1e-5, atol=1e-4)


def test_new_categories_start_small(pair):
    _, new, _ = pair
    assert 0 < np.abs(new.box_head.classifier.kernel.numpy()[:, 1]).max() < 0.1
    assert np.all(new.box_head.classifier.bias.numpy()[1] == 0)


def test_another_number_of_anchors_starts_the_outputs_of_the_rpn_anew(pair):
    old, _, _ = pair
    anchors = old.config.anchors.replace(ratios=(0.25, 0.5, 1.0, 2.0, 4.0))
    new, _ = with_categories(old, OLD, anchors=anchors)
    for one, other in zip(old.rpn_head.convs, new.rpn_head.convs):
        np.testing.assert_array_equal(one.kernel, other.kernel)
    assert new.rpn_head.objectness.kernel.shape[-1] == 5
    assert 0 < np.abs(new.rpn_head.deltas.kernel.numpy()).max() < 0.1
    np.testing.assert_array_equal(old.box_head.classifier.kernel, new.box_head.classifier.kernel)


@pytest.mark.slow
class TestUnsharing:
    @pytest.fixture(scope="class")
    @staticmethod
    def two():
        """Return two detectors of one architecture for different categories, and their unshared combination."""
        keras.utils.set_random_seed(0)
        config = preset("tiny_fpn", OLD).detector
        one, other = build_detector(config), build_detector(config.replace(categories=NEW[:2]))
        return one, other, unshare(one, other)

    @staticmethod
    def inputs():
        images = np.random.default_rng(0).uniform(0, 255, (1, 64, 96, 3)).astype(np.float32)
        return images, np.array([[64, 96]], np.float32)

    def test_a_detector_unshared_from_itself_detects_the_same(self, two):
        images = self.inputs()[0]
        expected, actual = two[0](images), unshare(two[0])(images)
        for key, value in expected.items():
            np.testing.assert_array_equal(actual[key], value)

    def test_the_rpn_is_the_proposer_s_and_the_rest_the_detector_s(self, two):
        one, other, both = two
        for expected, actual in zip(other.extract_features(*self.inputs()), both.extract_rpn_features(*self.inputs())):
            np.testing.assert_array_equal(actual, expected)
        for expected, actual in zip(one.extract_features(*self.inputs()), both.extract_features(*self.inputs())):
            np.testing.assert_array_equal(actual, expected)
        for (owner, name), weights in {
            (other, "rpn_head"): both.rpn_head.get_weights(),
            (one, "box_head"): both.box_head.get_weights(),
        }.items():
            for expected, actual in zip(getattr(owner, name).get_weights(), weights):
                np.testing.assert_array_equal(actual, expected)

    def test_a_proposer_that_is_unshared_already_proposes_with_its_own_features(self, two):
        one, other, both = two
        again = unshare(one, both)
        for expected, actual in zip(other.extract_features(*self.inputs()), again.extract_rpn_features(*self.inputs())):
            np.testing.assert_array_equal(actual, expected)

    def test_both_networks_are_saved_and_loaded_and_given_other_categories(self, two, tmp_path):
        both = two[2]
        save_detector(both, tmp_path)
        loaded = load_detector(tmp_path)
        for expected, actual in zip(both.get_weights(), loaded.get_weights()):
            np.testing.assert_array_equal(actual, expected)
        both.save(tmp_path / "both.keras")
        images = self.inputs()[0]
        reloaded = keras.models.load_model(tmp_path / "both.keras")
        for key, value in both(images).items():
            np.testing.assert_array_equal(loaded(images)[key], value)
            np.testing.assert_array_equal(reloaded(images)[key], value)
        new, _ = with_categories(both, NEW)
        for expected, actual in zip(both.rpn_backbone.get_weights(), new.rpn_backbone.get_weights()):
            np.testing.assert_array_equal(actual, expected)

    def test_a_proposer_of_another_form_is_refused(self, two):
        other = build_detector(two[0].config.replace(rpn=RPNConfig(convs=2)))
        with pytest.raises(InputError, match=r"proposes must have the detector's rpn RPNConfig\(.*convs=1.*convs=2"):
            unshare(two[0], other)
