"""The share of detections with a partner, the judgement of files without annotated images."""

import numpy as np
import pytest

from tfrcnn.config import DetectionConfig
from tfrcnn.data.example import ImageDetections
from tfrcnn.export.check.partners import count_partners

LIMITS = DetectionConfig(score_threshold=0.05, max_detections=100)
PICTURE = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
BOXES = np.array([[0, 0, 10, 10], [20, 20, 60, 60], [0, 40, 10, 60], [80, 80, 90, 90]], np.float32)


def detections(boxes=BOXES, scores=(0.9, 0.8, 0.3, 0.2), labels=(0, 1, 1, 0)):
    return ImageDetections(0, np.asarray(boxes, np.float32), np.asarray(scores, np.float32), np.asarray(labels))


def nothing():
    return detections(np.zeros((0, 4)), (), ())


def share(candidate, reference, picture=PICTURE, limits=LIMITS):
    return count_partners([candidate], [reference], [picture], limits).share


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        (detections(), 1.0),
        (detections(BOXES + 1), 1.0),  # an IoU above 0.5
        (detections(BOXES[::-1], (0.3, 0.3, 0.3, 0.3), (0, 1, 1, 0)), 1.0),  # in any order, with any score
        (detections(BOXES[:3], (0.9, 0.8, 0.3), (0, 1, 1)), 6 / 7),
        (detections(labels=(1, 1, 1, 0)), 6 / 8),
        (detections(BOXES + 50), 0.0),
        (nothing(), 0.0),
    ],
)
def test_the_share_counts_both_sides(candidate, expected):
    assert share(candidate, detections()) == pytest.approx(expected)
    assert share(detections(), candidate) == pytest.approx(expected)


def test_the_count_is_of_both_sides():
    assert count_partners([detections()] * 2, [detections()] * 2, [PICTURE] * 2, LIMITS) == (1.0, 16)
    assert count_partners([], [], [], LIMITS) == (None, 0)


def test_a_detection_is_the_partner_of_one_only():
    twice = detections(BOXES[[0, 0]], (0.9, 0.9), (0, 0))
    assert share(twice, detections(BOXES[:1], (0.9,), (0,))) == pytest.approx(2 / 3)


def test_detections_near_the_threshold_may_be_partners_but_need_none():
    low = detections(BOXES[:2], (0.9, 0.09), (0, 1))
    assert share(low, detections(BOXES[:1], (0.9,), (0,))) == 1.0
    assert share(low, detections(BOXES[:2], (0.9, 0.2), (0, 1))) == 1.0
    full = DetectionConfig(score_threshold=0.0, max_detections=2)
    assert share(low, detections(BOXES[[0, 2]], (0.9, 0.11), (0, 1)), limits=full) == 1.0


def test_nothing_on_both_sides_and_pictures_of_one_colour_judge_nothing():
    assert share(nothing(), nothing()) is None
    assert share(detections(), detections(), np.full((4, 4, 3), (0, 7, 255), np.uint8)) is None
    assert share(detections(), nothing(), np.zeros((4, 4, 3), np.uint8)) is None


def test_a_box_that_is_not_a_number_is_no_partner():
    assert share(detections(BOXES * np.nan), detections()) == 0.0
