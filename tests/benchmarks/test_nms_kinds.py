"""What the table of the kinds of NMS counts, by hand."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tfrcnn.data.example import ImageDetections

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def nms_kinds(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import nms_kinds

    yield nms_kinds
    del sys.modules["nms_kinds"]


def test_an_object_counts_once_and_two_labels_on_it_are_a_double(nms_kinds):
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10], [50, 50, 60, 60], [0, 1, 10, 10]], np.float32)
    detections = ImageDetections("", boxes, np.array([0.9, 0.8, 0.7, 0.6, 0.4]), np.array([0, 1, 0, 0, 0]))
    example = SimpleNamespace(boxes=np.array([[0, 0, 10, 10], [50, 50, 60, 60]]), labels=np.array([0, 1]))
    assert nms_kinds.count_right(detections, example) == 1
    assert nms_kinds.count_doubles(detections) == 3  # of the first three; the last is not shown
    nothing = SimpleNamespace(boxes=np.zeros((0, 4)), labels=np.zeros(0, int))
    assert nms_kinds.count_right(detections, nothing) == 0
