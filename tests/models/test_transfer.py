"""Starting from a trained detector: what is kept and what is new."""

import keras
import numpy as np
import pytest

from tfrcnn.config import Category
from tfrcnn.models import build_detector, preset
from tfrcnn.models.transfer import with_categories

OLD = (Category(1, "cat"), Category(2, "dog"), Category(3, "bird"))
NEW = (Category(5, "bird"), Category(9, "fish"), Category(10, "cat"))


@pytest.fixture(scope="module")
def pair():
    keras.utils.set_random_seed(0)
    old = build_detector(preset("tiny_fpn", OLD).detector)
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
    rois = np.random.default_rng(1).normal(size=(1, 4, 7, 7, 64)).astype(np.float32)
    old_logits, old_deltas = old.box_head(rois)
    logits, deltas = new.box_head(rois)
    np.testing.assert_allclose(logits.numpy()[..., [0, 2, 3]], old_logits.numpy()[..., [2, 0, 3]], rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(deltas.numpy()[:, :, [0, 2]], old_deltas.numpy()[:, :, [2, 0]], rtol=1e-5, atol=1e-4)


def test_new_categories_start_small(pair):
    _, new, _ = pair
    assert 0 < np.abs(new.box_head.classifier.kernel.numpy()[:, 1]).max() < 0.1
    assert np.all(new.box_head.classifier.bias.numpy()[1] == 0)
