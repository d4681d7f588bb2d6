"""The comparison with SAHI, on a detector of random weights. SAHI is not installed in CI."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfrcnn.config import Category
from tfrcnn.data.example import ImageDetections

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


class Bright:
    """Detects the one bright rectangle of a picture."""

    categories = (Category(1, "bright"),)

    def detect(self, image, image_id=""):
        rows, columns = np.nonzero(image[..., 0] > 200)
        boxes = [[rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]] if len(rows) else []
        count = len(boxes)
        boxes = np.array(boxes, np.float32).reshape(-1, 4)
        return ImageDetections(image_id, boxes, np.full(count, 0.9, np.float32), np.zeros(count, np.int32))


@pytest.fixture
def tiles_vs_sahi(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import tiles_vs_sahi

    yield tiles_vs_sahi
    del sys.modules["tiles_vs_sahi"]


def test_a_mosaic_holds_the_objects_of_its_pictures_where_they_are(tiles_vs_sahi, tmp_path):
    from tfrcnn.data.example import Dataset, Example

    examples = []
    for i, (height, width) in enumerate([(20, 30), (20, 20), (10, 30), (20, 30)]):
        path = tmp_path / f"{i}.png"
        Image.fromarray(np.full((height, width, 3), i, np.uint8)).save(path)
        one = np.ones(1, np.int32)
        boxes = np.array([[1, 2, 5, 6]], np.float32)
        examples.append(
            Example(i, path, height, width, boxes, 0 * one, one < 0, one < 0, one.astype(np.float32), 1, one)
        )
    ((picture, example),) = tiles_vs_sahi.mosaics(Dataset("", Bright.categories, tuple(examples)), 2, 2)
    assert picture.shape == (40, 60, 3)
    assert picture[[0, 0, 20, 20], [0, 30, 0, 30], 0].tolist() == [0, 1, 2, 3]
    assert picture[35, 5, 0] == tiles_vs_sahi.GREY
    assert example.boxes.tolist() == [[1, 2, 5, 6], [1, 32, 5, 36], [21, 2, 25, 6], [21, 32, 25, 36]]


def test_sahi_detects_what_the_detector_does(tiles_vs_sahi):
    pytest.importorskip("sahi")
    picture = np.zeros((300, 300, 3), np.uint8)
    picture[40:60, 230:260] = 255
    detections = tiles_vs_sahi.with_sahi(Bright(), 160, 0.05)(picture, 7)
    assert detections.boxes.tolist() == [[40, 230, 60, 260]]
    assert (detections.image_id, detections.labels.tolist()) == (7, [0])
