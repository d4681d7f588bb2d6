"""Matching detections one to one, and what is out of tolerance."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tfrcnn.config import DetectionConfig
from tfrcnn.data.example import ImageDetections
from tfrcnn.export.verification import TOLERANCES, Report, _faults, edge_cases, match

LIMITS = DetectionConfig(score_threshold=0.05, max_detections=100)
BOXES = np.array([[0, 0, 10, 10], [20, 20, 60, 60], [22, 20, 60, 60]], np.float32)


def found(boxes=BOXES, scores=(0.9, 0.8, 0.3), labels=(0, 1, 1)):
    return ImageDetections(0, np.asarray(boxes, np.float32), np.asarray(scores, np.float32), np.asarray(labels))


def nothing():
    return found(np.zeros((0, 4)), (), ())


def test_nothing_and_nothing_agree():
    assert match(nothing(), nothing(), 640, LIMITS, 1e-3) == (0, 0, 0)


def test_equal_detections_have_no_errors_in_any_order():
    other = found(BOXES[[0, 2, 1]], (0.9, 0.3, 0.8))
    assert match(other, found(), 640, LIMITS, 1e-3) == (0, 0, 0)


def test_errors_are_the_largest_of_the_pairs_in_pixels_at_640():
    other = found(BOXES + np.array([[0.5, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0.25]]), (0.9, 0.75, 0.3))
    score, box, alone = match(other, found(), 320, LIMITS, 1e-3)
    np.testing.assert_allclose([score, box], [0.05, 1.0], rtol=1e-6)
    assert alone == 0


@pytest.mark.parametrize(
    ("ours", "count"),
    [
        (found(labels=(1, 1, 1)), 2),  # a shifted label: one of each is alone
        (found(BOXES + np.array([[0, 0, 0, 0], [0, 5, 0, 5], [0, 0, 0, 0]])), 2),
        (found(BOXES[:2], (0.9, 0.8), (0, 1)), 1),
        (nothing(), 3),
    ],
)
def test_what_has_no_partner_is_counted(ours, count):
    assert match(ours, found(), 640, LIMITS, 1e-3)[2] == count


def test_two_detections_need_two_partners():
    twice = found(BOXES[[0, 0]], (0.9, 0.9), (0, 0))
    assert match(twice, found(BOXES[:1], (0.9,), (0,)), 640, LIMITS, 1e-3)[2] == 1


def test_round_off_may_decide_what_is_at_the_threshold_or_last_in_a_full_list():
    below = found(BOXES, (0.9, 0.8, 0.0505))
    assert match(found(BOXES[:2], (0.9, 0.8), (0, 1)), below, 640, LIMITS, 1e-3)[2] == 0
    full = DetectionConfig(score_threshold=0.05, max_detections=2)
    one, other = found(BOXES[:2], (0.9, 0.3), (0, 1)), found(BOXES[[0, 2]] + 30, (0.9, 0.3), (0, 1))
    assert match(one, other, 640, full, 1e-3)[2] == 2  # 0.9 of both, not the 0.3


def test_faults_are_said_in_numbers():
    limit = TOLERANCES["float32"]
    assert list(_faults(limit, 1e-4, 0.01, 0, 0.5, 0.5)) == []
    assert len(list(_faults(limit, 2e-3, 0.06, 1, 0.4, 0.5))) == 4
    assert list(_faults(TOLERANCES["int8"], 0.5, 9.0, 7, 0.495, 0.5)) == []
    (fault,) = _faults(TOLERANCES["int8"], 0, 0, 0, 0.48, 0.5)
    assert fault == "AP falls from 0.5000 to 0.4800, allowed 0.01"


def test_the_report_is_written_for_people_and_for_programs(tmp_path):
    report = Report("onnx", "float32", 3, 12, 1e-5, 1e-3, 0, 12345678, 10.0, 20.0, None, None, ())
    report.write(tmp_path / "a.onnx")
    assert json.loads((tmp_path / "a.onnx.report.json").read_text())["detections"] == 12
    text = (tmp_path / "a.onnx.report.md").read_text()
    assert "| size bytes | 12,345,678 |" in text
    assert "| verdict | within tolerance |" in text
    assert not replace(report, faults=("bad",)).passed


def test_edge_cases_are_pictures_of_every_awkward_kind():
    pictures = edge_cases()
    assert all(p.dtype == np.uint8 and p.shape[2] == 3 for p in pictures)
    assert min(p.shape[0] for p in pictures) == 1
    assert max(p.shape[1] / p.shape[0] for p in pictures) >= 15
    assert any(np.all(p == 0) for p in pictures)
    assert any(np.all(p[..., 0] == p[..., 2]) and p.std() > 0 for p in pictures)
