"""Every kind of NMS through every format."""

import numpy as np
import pytest

from tfrcnn.export import TARGETS, ExportOptions, export
from tfrcnn.export.runtimes import load
from tfrcnn.models import build_blank_detector
from tfrcnn.models.transfer import copy_weights

from .random_detectors import make_detector, make_image

NAMES = ("cat", "big dog")
THRESHOLDS = {"big dog": 0.4}  # the other class has 0.1
KINDS = {
    "class_agnostic": {"class_agnostic_nms": True},
    "soft_linear": {"nms": "soft_linear", "class_agnostic_nms": True},
    "soft_gaussian": {"nms": "soft_gaussian"},
    "weighted_fusion": {"nms": "weighted_fusion"},
}
IN_CI = {("tflite", "soft_gaussian"), ("onnx", "weighted_fusion"), ("saved_model", "class_agnostic")}
PAIRS = [
    pytest.param(format, kind, marks=() if (format, kind) in IN_CI else pytest.mark.soak)
    for format in TARGETS
    for kind in KINDS
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def detector():
    return make_detector(seed=1)  # it finds both classes with every kind of NMS


def with_kind(detector, kind):
    """Return a copy of a detector with a kind of NMS and a threshold for one of its two classes."""
    limits = detector.config.detections.replace(
        score_threshold=0.1, class_score_thresholds=THRESHOLDS, **KINDS.get(kind, {})
    )
    other = build_blank_detector(detector.config.replace(detections=limits))
    copy_weights(detector, other)
    return other


def scores_of(path, runtime=None):
    """Return the lowest scores of both classes in a few pictures."""
    loaded = load(path, runtime=runtime)
    assert loaded.detections.class_score_thresholds == THRESHOLDS
    pictures = [loaded.detect(make_image(seed=seed)[0]) for seed in range(4)]
    scores = [np.concatenate([picture.filter(classes=name).scores for picture in pictures]) for name in NAMES]
    return [float(of_class.min()) for of_class in scores]


@pytest.mark.parametrize(("format", "kind"), PAIRS)
def test_every_kind_of_nms_and_class_thresholds_detect_the_same_in_every_format(format, kind, detector, tmp_path):
    path = tmp_path / f"a{TARGETS[format].suffix}"
    report = export(with_kind(detector, kind), path, ExportOptions(format))
    assert report.passed, report.to_markdown()
    assert report.detections >= 50
    cat, dog = scores_of(path)
    assert 0.1 < cat < 0.4 < dog
    if format == "onnx":
        pytest.importorskip("openvino")
        assert scores_of(path, "OpenVINO") == pytest.approx([cat, dog], abs=1e-3)
