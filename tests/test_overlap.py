"""IoU of all pairs of boxes in NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tfrcnn.overlap import pairwise_iou

BOXES = st.integers(0, 6).flatmap(lambda count: arrays(np.float64, (count, 4), elements=st.integers(-5, 5)))


def test_iou_by_hand():
    # 4 x 4 against itself, its left half, a shifted copy (2 x 2 in common of 28), a neighbour, and a line in it
    others = [[0, 0, 4, 4], [0, 0, 4, 2], [2, 2, 6, 6], [0, 4, 4, 8], [1, 1, 1, 3]]
    result = pairwise_iou(np.float32([[0, 0, 4, 4]]), np.float32(others))
    assert result.dtype == np.float64
    assert result.tolist() == [[1, 0.5, 4 / 28, 0, 0]]
    assert pairwise_iou(np.zeros((1, 4)), np.zeros((1, 4))).tolist() == [[0]]  # an empty union


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 3), (2, 0)])
def test_iou_of_no_boxes_has_their_shape(n, m):
    assert pairwise_iou(np.zeros((n, 4)), np.zeros((m, 4))).shape == (n, m)


@settings(deadline=None)
@given(a=BOXES, b=BOXES)
def test_iou_is_common_area_over_the_area_of_both(a, b):
    """Also of boxes that are empty or inverted: their area may be negative, and a union that is not positive is 0."""
    result = pairwise_iou(a, b)
    for i, (ay1, ax1, ay2, ax2) in enumerate(a):
        for j, (by1, bx1, by2, bx2) in enumerate(b):
            common = max(min(ay2, by2) - max(ay1, by1), 0) * max(min(ax2, bx2) - max(ax1, bx1), 0)
            union = (ay2 - ay1) * (ax2 - ax1) + (by2 - by1) * (bx2 - bx1) - common
            assert result[i, j] == (common / union if union > 0 else 0)
