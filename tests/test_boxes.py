"""Geometry of boxes, by hand and by property."""

import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrcnn import boxes as box_ops
from tfrcnn.config import AnchorConfig, HeadConfig

coordinate = st.floats(0, 500, width=32)
side = st.floats(0.5, 500, width=32)


@st.composite
def boxes(draw, count=4):
    corners = np.array([[draw(coordinate), draw(coordinate)] for _ in range(count)], np.float32)
    sides = np.array([[draw(side), draw(side)] for _ in range(count)], np.float32)
    return np.concatenate([corners, corners + sides], axis=1)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([0, 0, 10, 10], [0, 0, 10, 10], 1.0),
        ([0, 0, 10, 10], [5, 5, 15, 15], 25 / 175),
        ([0, 0, 10, 10], [10, 0, 20, 10], 0.0),  # touching edges share no area: no +1
        ([0, 0, 10, 20], [2, 4, 6, 9], 20 / 200),
        ([0, 0, 1, 1], [0, 0, 2, 2], 1 / 4),
        ([5, 5, 5, 5], [5, 5, 5, 5], 0.0),  # an empty union
        ([10, 10, 0, 0], [0, 0, 10, 10], 0.0),  # inverted
        ([0, 0, 1, 1], [5, 5, 6, 6], 0.0),  # apart in both directions
        ([0, 0, 0.5, 0.5], [0, 0, 0.5, 0.25], 0.5),  # smaller than a pixel
    ],
)
def test_iou_of_two_boxes(a, b, expected):
    value = box_ops.iou(tf.constant([a], tf.float32), tf.constant([b], tf.float32))
    np.testing.assert_allclose(value, [[expected]], rtol=1e-6)


def test_area_is_height_times_width_and_0_for_inverted_boxes_at_every_shape():
    areas = box_ops.area(tf.constant([[[1.0, 2, 4, 7], [0, 0, 0.5, 0.25]], [[5.0, 1, 1, 5], [1, 5, 5, 1]]]))
    np.testing.assert_array_equal(areas, [[15.0, 0.125], [0.0, 0.0]])


def test_iou_of_a_batch_pairs_the_boxes_of_each_image_only():
    a = tf.constant([[[0.0, 0, 10, 10], [0, 0, 10, 5]], [[50.0, 50, 60, 60], [0, 0, 10, 2]]])
    b = tf.constant([[[0.0, 0, 10, 10]], [[50.0, 50, 60, 64]]])
    np.testing.assert_allclose(box_ops.iou(a, b), [[[1.0], [0.5]], [[10 / 14], [0.0]]], rtol=1e-6)


@settings(max_examples=25, deadline=None)
@given(boxes(), boxes())
def test_iou_is_symmetric_within_zero_and_one_and_one_with_itself(a, b):
    value = box_ops.iou(a, b).numpy()
    np.testing.assert_array_equal(value, box_ops.iou(b, a).numpy().T)
    assert np.all((value >= 0) & (value <= 1 + 1e-6))
    # one ulp of a coordinate of 1000 is 6e-5, of a side of 0.5 that is 1e-4
    np.testing.assert_allclose(np.diag(box_ops.iou(a, a)), 1.0, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(boxes(), boxes())
def test_iou_is_that_of_pycocotools(a, b):
    from pycocotools import mask

    def xywh(x):
        x = x.astype(np.float64)
        return np.stack([x[:, 1], x[:, 0], x[:, 3] - x[:, 1], x[:, 2] - x[:, 0]], -1)

    np.testing.assert_allclose(box_ops.iou(a, b), mask.iou(xywh(a), xywh(b), [0] * len(b)), atol=1e-4)


def test_encode_of_a_box_half_a_width_to_the_right_and_twice_as_high():
    # anchor: centre (50, 50), 20 high and 40 wide; box: centre (50, 70), 40 high and 40 wide
    delta = box_ops.encode(tf.constant([[30.0, 50, 70, 90]]), tf.constant([[40.0, 30, 60, 70]]))
    np.testing.assert_allclose(delta, [[0.0, 0.5, math.log(2), 0.0]], rtol=1e-6)


def test_the_deltas_of_a_box_that_moved_and_changed_both_sides_go_there_and_back():
    # anchor: centre (8, 4), 16 high and 8 wide; box: centre (12, 8), twice as high and half as wide; a batch of 1 x 1
    anchor, box = tf.constant([[[0.0, 0, 16, 8]]]), tf.constant([[[-4.0, 6, 28, 10]]])
    deltas = [[[4 / 16, 4 / 8, math.log(2), -math.log(2)]]]
    np.testing.assert_allclose(box_ops.encode(box, anchor), deltas, rtol=1e-6)
    np.testing.assert_allclose(box_ops.decode(tf.constant(deltas, tf.float32), anchor), box, rtol=1e-6)


def test_weights_multiply_deltas_in_y_x_h_w_order():
    box, anchor = tf.constant([[30.0, 50, 70, 90]]), tf.constant([[40.0, 30, 60, 70]])
    weighted = box_ops.encode(box, anchor, (1.0, 10.0, 100.0, 1000.0))
    np.testing.assert_allclose(weighted, [[0.0, 5.0, 100 * math.log(2), 0.0]], rtol=1e-6)


@settings(max_examples=50, deadline=None)
@given(boxes(), boxes())
def test_decode_inverts_encode(b, anchors):
    weights = (10.0, 10.0, 5.0, 5.0)
    ratio = (b[:, 2:] - b[:, :2]) / (anchors[:, 2:] - anchors[:, :2])
    decoded = box_ops.decode(box_ops.encode(b, anchors, weights), anchors, weights)
    fits = np.all(ratio < 62, axis=1)  # beyond 1000 / 16 decode limits the scale
    np.testing.assert_allclose(decoded.numpy()[fits], b[fits], rtol=1e-5, atol=5e-3)


def test_decode_limits_the_scale_to_1000_over_16_after_the_weights():
    delta = tf.constant([[0.0, 0.0, 5 * 100.0, -5 * 100.0]])
    box = box_ops.decode(delta, tf.constant([[0.0, 0, 16, 16]]), (10.0, 10.0, 5.0, 5.0))
    np.testing.assert_allclose(box, [[8 - 500, 8, 8 + 500, 8]], rtol=1e-5)


def test_clip_moves_every_side_into_its_own_image():
    clipped = box_ops.clip(
        tf.constant([[[-5.0, -5, 30, 30]], [[5.0, 5, 30, 60]]]), tf.constant([[20.0, 10.0], [100.0, 50.0]])
    )
    np.testing.assert_array_equal(clipped, [[[0, 0, 20, 10]], [[5, 5, 30, 50]]])


def test_clip_takes_one_image_without_a_batch_and_boxes_beyond_every_side():
    # an image 20 high and 10 wide; the last box lies below and right of it, and keeps no area
    clipped = box_ops.clip(tf.constant([[-1.0, -2, 21, 11], [1, 2, 3, 4], [30, 30, 40, 40]]), tf.constant([20.0, 10.0]))
    np.testing.assert_array_equal(clipped, [[0, 0, 20, 10], [1, 2, 3, 4], [20, 10, 20, 10]])


class TestAnchors:
    def test_the_nine_of_the_paper_are_those_published(self):
        # py-faster-rcnn's generate_anchors.py, 1-based inclusive [x1, y1, x2, y2] around the cell [1, 1, 16, 16]
        published = """-83 -39 100 56  -175 -87 192 104  -359 -183 376 200  -55 -55 72 72  -119 -119 136 136
            -247 -247 264 264  -35 -79 52 96  -79 -167 96 184  -167 -343 184 360"""
        x1, y1, x2, y2 = np.array(published.split(), float).reshape(9, 4).T
        expected = np.stack([y1 - 1, x1 - 1, y2, x2], -1)  # 0-based and continuous: the far side is x2 - 1 + 1
        config = AnchorConfig(sizes=((128.0, 256.0, 512.0),), rounding="paper", offset=0.5)
        grid = box_ops.grid_anchors(box_ops.base_anchors(config, 0), tf.constant([1, 1]), tf.constant([16, 16]), 0.5)
        np.testing.assert_array_equal(grid, expected)

    def test_order_is_row_column_ratio_size(self):
        config = AnchorConfig(sizes=((2.0, 4.0),), ratios=(1.0, 4.0), rounding="none")
        grid = box_ops.grid_anchors(box_ops.base_anchors(config, 0), tf.constant([1, 2]), tf.constant([8, 8]), 0.0)
        expected = [[-1, -1, 1, 1], [-2, -2, 2, 2], [-2, -0.5, 2, 0.5], [-4, -1, 4, 1]]  # ratio is height / width
        shifted = [[y1, x1 + 8, y2, x2 + 8] for y1, x1, y2, x2 in expected]
        np.testing.assert_allclose(grid, expected + shifted, atol=1e-6)

    def test_a_shift_of_the_image_by_one_stride_shifts_the_anchors(self):
        base = box_ops.base_anchors(AnchorConfig(), 2)
        grid = box_ops.grid_anchors(base, tf.constant([5, 7]), tf.constant([16, 16]), 0.0).numpy()
        grid = grid.reshape(5, 7, 3, 4)
        np.testing.assert_array_equal(grid[1:, 1:], grid[:-1, :-1] + 16)

    def test_sides_have_the_area_and_the_ratio_asked_for(self):
        config = AnchorConfig(sizes=((64.0,),), rounding="none")
        y1, x1, y2, x2 = box_ops.base_anchors(config, 0).T
        np.testing.assert_allclose((y2 - y1) * (x2 - x1), 64**2, rtol=1e-6)
        np.testing.assert_allclose((y2 - y1) / (x2 - x1), [0.5, 1, 2], rtol=1e-6)

    def test_torchvision_rounds_half_the_sides(self):
        # 32 sqrt(1/2) / 2 = 11.31 and 32 / sqrt(1/2) / 2 = 22.63; at level 1 twice that, 22.63 and 45.25
        first, second = (box_ops.base_anchors(AnchorConfig(), level) for level in (0, 1))
        np.testing.assert_array_equal(first, [[-11, -23, 11, 23], [-16, -16, 16, 16], [-23, -11, 23, 11]])
        np.testing.assert_array_equal(second[0], [-23, -45, 23, 45])
        assert first.dtype == np.float32

    def test_rows_and_columns_have_strides_of_their_own_and_the_offset_is_in_cells(self):
        # centres at (0.5, 1.5) rows of 8 px and (0.5, 1.5, 2.5) columns of 4 px
        grid = box_ops.grid_anchors(tf.constant([[-1.0, -2, 1, 2]]), tf.constant([2, 3]), tf.constant([8, 4]), 0.5)
        centres = [(y, x) for y in (4, 12) for x in (2, 6, 10)]
        np.testing.assert_array_equal(grid, [[y - 1, x - 2, y + 1, x + 2] for y, x in centres])


class TestSamplesOfRegions:
    """Three bins of two samples: the sides are divided by six."""

    @pytest.mark.parametrize(
        ("aligned", "first", "step"),
        [
            # a step starts half a step inside: 2 + 0.5 and 3 + 1; sides below 1 are 1: 1/6, half of it is 1/12
            (False, [[2.5, 4], [2 + 1 / 12, 3.125]], [[1, 2], [1 / 6, 0.25]]),
            # the value of a cell lies at its centre: half a cell less, and sides stay as they are
            (True, [[2, 3.5], [1.5 + 1 / 48, 2.625]], [[1, 2], [1 / 24, 0.25]]),
        ],
    )
    def test_the_first_sample_and_the_step_by_hand(self, aligned, first, step):
        config = HeadConfig(pool_size=3, sampling_ratio=2, aligned=aligned)
        regions = tf.constant([[2.0, 3, 8, 15], [2, 3, 2.25, 4.5]])
        for actual, expected in zip(box_ops.roi_samples(regions, config), (first, step)):
            np.testing.assert_allclose(actual, expected, rtol=1e-6)

    def test_all_samples_by_hand(self):
        positions = box_ops.roi_positions(tf.constant([[2.0, 3, 8, 15]]), HeadConfig(pool_size=3, sampling_ratio=2))
        np.testing.assert_allclose(positions, [[[2.5 + i, 4 + 2 * i] for i in range(6)]], rtol=1e-6)
