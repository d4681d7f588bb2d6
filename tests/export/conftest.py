"""A tiny detector and its SavedModel, for all tests of that format."""

import keras
import pytest

from tfrcnn.config import Category, DetectionConfig
from tfrcnn.export.saved_model import to_saved_model
from tfrcnn.models import build_detector, preset


@pytest.fixture(scope="session")
def saved_detector():
    """Categories 3 and 90, ten detections in every image."""
    keras.utils.set_random_seed(0)
    config = preset("tiny_fpn", (Category(3, "cat"), Category(90, "dog"))).detector
    # random weights give every class about the same score: keep all of them
    return build_detector(config.replace(detections=DetectionConfig(score_threshold=0.0, max_detections=10)))


@pytest.fixture(scope="session")
def saved_path(saved_detector, tmp_path_factory):
    return to_saved_model(saved_detector, tmp_path_factory.mktemp("models") / "detector" / "1")
