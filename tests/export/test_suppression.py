"""Every kind of NMS through every format."""

import pytest

from tfrcnn.export import TARGETS, ExportOptions, export
from tfrcnn.models import build_blank_detector
from tfrcnn.models.transfer import copy_weights

from .random_detectors import make_detector

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
    return make_detector()


@pytest.mark.parametrize(("format", "kind"), PAIRS)
def test_every_kind_of_nms_detects_the_same_in_every_format(format, kind, detector, tmp_path):
    config = detector.config
    other = build_blank_detector(
        config.replace(detections=config.detections.replace(score_threshold=0.1, **KINDS[kind]))
    )
    copy_weights(detector, other)
    report = export(other, tmp_path / f"a{TARGETS[format].suffix}", ExportOptions(format))
    assert report.passed, report.to_markdown()
    assert report.detections >= 50
