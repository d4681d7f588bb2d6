"""How much of the boxes on a picture a tag would hide."""

import numpy as np
import pytest

from tfrcnn.drawing.pen import Obstacles


def filled(*boxes: tuple[float, float, float, float]) -> Obstacles:
    result = Obstacles()
    for box in boxes:
        result.append(box)
    return result


def test_places_of_an_empty_picture_hide_nothing() -> None:
    assert filled().hidden([(0, 0, 5, 5), (2, 2, 9, 9)]).tolist() == [0, 0]


def test_a_place_hides_the_share_of_each_box_that_it_covers() -> None:
    """A quarter of the first box, all of the second, nothing of the third, which it only touches."""
    boxes = filled((0, 0, 10, 10), (6, 6, 9, 9), (20, 5, 30, 10))
    assert boxes.hidden([(5, 5, 20, 10)]) == pytest.approx([0.25 + 1.0])


def test_boxes_that_are_near_one_place_only_count_there() -> None:
    boxes = filled((0, 0, 10, 10), (100, 100, 110, 110))
    assert boxes.hidden([(0, 0, 10, 5), (100, 100, 105, 105), (50, 50, 60, 60)]) == pytest.approx([0.5, 0.25, 0])


def test_thousands_of_boxes_are_kept_and_searched() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 1000, (3000, 2))
    array = np.concatenate([corners, corners + rng.uniform(1, 50, (3000, 2))], axis=1)
    boxes = filled(*map(tuple, array.tolist()))
    assert boxes.corners.tolist() == array.tolist()
    place = np.array([480.0, 480.0, 520.0, 530.0])
    sides = np.minimum(place[2:], array[:, 2:]) - np.maximum(place[:2], array[:, :2])
    shares = np.prod(np.maximum(sides, 0), axis=1) / np.prod(array[:, 2:] - array[:, :2], axis=1)
    assert boxes.hidden([tuple(place.tolist())]) == pytest.approx([shares.sum()])
