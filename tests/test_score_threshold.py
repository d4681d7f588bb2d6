"""One rule for score thresholds: a detection counts if its score is above, as in torchvision and in the detector."""

from pathlib import Path

import numpy as np
import pytest

from tfrcnn.config import Category, DetectionConfig
from tfrcnn.data.example import Dataset, Example, ImageDetections
from tfrcnn.drawing.images import draw_comparison
from tfrcnn.evaluation.confusion import confusion_matrix
from tfrcnn.evaluation.limits import limited

BOX = np.array([[10, 10, 50, 60]], np.float32)


@pytest.fixture
def example() -> Example:
    flag, area, ids = np.zeros(1, bool), np.full(1, 2000.0), np.ones(1, int)
    return Example(1, Path("a.png"), 100, 100, BOX, np.zeros(1, np.int32), flag, flag, area, 1, ids)


def detection(score: float) -> ImageDetections:
    return ImageDetections(1, BOX, np.array([score], np.float32), np.zeros(1, np.int32))


def test_a_score_at_the_threshold_counts_nowhere_and_one_above_everywhere(example: Example) -> None:
    dataset = Dataset("a", (Category(1, "cell"),), (example,))
    image = np.full([100, 100, 3], 128, np.uint8)
    shown = {}
    for score in (0.5, 0.501):
        detections = detection(score)
        drawn = np.asarray(draw_comparison(image, example, detections, ["cell"], 0.5, long_side=None))
        shown[score] = (
            len(limited([detections], DetectionConfig(score_threshold=0.5))[0].scores),
            int(confusion_matrix(dataset, [detections], score=0.5)[0, 0]),
            int((np.ptp(drawn, axis=2) > 30).any()),  # the colour of a detection; ground truth is white
        )
    assert shown == {0.5: (0, 0, 0), 0.501: (1, 1, 1)}
