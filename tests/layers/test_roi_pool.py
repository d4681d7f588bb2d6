"""RoIPool against tables, a plain reference and a numerical gradient."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.config import AnchorConfig, Category, HeadConfig
from tfrcnn.errors import InputError
from tfrcnn.layers import RoIPool
from tfrcnn.models import build_detector, preset

RAMP = tf.reshape(tf.range(25.0), [1, 5, 5, 1])  # value 5 y + x


def pool(feature, boxes, size=2, stride=1):
    layer = RoIPool(HeadConfig(pooling="roi_pool", pool_size=size), (stride,))
    return layer([feature], tf.constant(boxes, tf.float32))


def reference(feature, box, size, stride):
    """Pool cell by cell. Return the largest value of each bin and the index of its cell, -1 for an empty bin."""
    height, width, channels = feature.shape

    def away_from_zero(x):
        return int(math.copysign(math.floor(abs(x) + 0.5), x))

    y1, x1, y2, x2 = (away_from_zero(float(v) / stride) for v in box)
    h, w = max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1)
    values, cells = np.zeros((size, size, channels)), np.full((size, size, channels), -1)
    for i in range(size):
        for j in range(size):
            for c in range(channels):
                for y in range(y1 + i * h // size, y1 + math.ceil((i + 1) * h / size)):
                    for x in range(x1 + j * w // size, x1 + math.ceil((j + 1) * w / size)):
                        if not (0 <= y < height and 0 <= x < width):
                            continue
                        if cells[i, j, c] < 0 or feature[y, x, c] > values[i, j, c]:
                            values[i, j, c], cells[i, j, c] = feature[y, x, c], y * width + x
    return values, cells


def random_case(seed, height=9, width=13, channels=3, count=60):
    """Return a map with many equal values, and boxes inside, across, outside and inverted, in pixels of stride 4."""
    rng = np.random.default_rng(seed)
    feature = rng.integers(0, 6, (2, height, width, channels)).astype(np.float32)
    corners = rng.uniform(-20, 60, (2, count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(-10, 60, (2, count, 2))], -1)
    return feature, (np.round(boxes * 2) / 2).astype(np.float32)  # multiples of 1/8 cell include half-way cases


QUANTISATION = {  # a map of 5 x 5 cells, pooled to 2 x 2: the last cell of a bin has the largest value
    "whole cells: 0..3 are two bins of two": ([0, 0, 3, 3], [[6, 8], [16, 18]]),
    "an odd side: the bins 0..1 and 1..2 share a cell": ([0, 0, 2, 2], [[6, 7], [11, 12]]),
    "a corner below half-way is rounded down": ([0.49, 0.49, 3.49, 3.49], [[6, 8], [16, 18]]),
    "a corner at half-way is rounded up, from an even cell": ([0.5, 0.5, 3, 3], [[12, 13], [17, 18]]),
    "a corner at half-way is rounded up, from an odd cell": ([1.5, 1.5, 3, 3], [[12, 13], [17, 18]]),
    "a far corner at half-way is rounded up": ([0, 0, 2.5, 2.5], [[6, 8], [16, 18]]),
    "just under half-way, where adding 0.5 in float32 gives 1": ([0.49999997, 0, 3, 3], [[6, 8], [16, 18]]),
    "a negative corner at half-way is rounded away from zero": ([-0.5, 0, 2, 3], [[1, 3], [11, 13]]),
    "smaller than a cell: that cell in every bin": ([2.1, 2.2, 2.3, 2.4], [[12, 12], [12, 12]]),
    "of no size, half-way between cells": ([1.5, 2.5, 1.5, 2.5], [[13, 13], [13, 13]]),
    "inverted: one cell, the first": ([3, 3, 0, 0], [[18, 18], [18, 18]]),
    "past the far border: cut off there": ([2, 2, 5, 5], [[18, 19], [23, 24]]),
    "beginning at the border: the last row, then no cell": ([4, 0, 5, 1], [[20, 21], [0, 0]]),
    "past the near border: no cell, then the first row": ([-1, 0, 0, 1], [[0, 0], [0, 1]]),
    "outside: no cell at all": ([7, 7, 9, 9], [[0, 0], [0, 0]]),
}


@pytest.mark.parametrize(("box", "expected"), QUANTISATION.values(), ids=QUANTISATION)
def test_quantisation(box, expected):
    np.testing.assert_array_equal(pool(RAMP, [[box]])[0, 0, :, :, 0], expected)


def test_an_empty_bin_is_zero_also_where_all_values_are_negative():
    np.testing.assert_array_equal(pool(RAMP - 100.0, [[[4, 0, 5, 1]]])[0, 0, :, :, 0], [[-80, -79], [0, 0]])


def test_seven_bins_of_ten_cells_are_those_of_caffe():
    # floor(10 i / 7) .. ceil(10 (i + 1) / 7) - 1 for i = 0 .. 6
    layer = RoIPool(HeadConfig(pooling="roi_pool"), (16,))
    first, end = layer.bins(tf.constant([[0.0, 0, 9 * 16, 9 * 16]]), tf.constant([99, 99]))
    np.testing.assert_array_equal(first[0, :, 0], [0, 1, 2, 4, 5, 7, 8])
    np.testing.assert_array_equal(end[0, :, 0], [2, 3, 5, 6, 8, 9, 10])


@pytest.mark.parametrize("size", [1, 7, 14])
def test_no_bin_reads_beyond_its_box_whatever_its_side(size):
    # in float32, 7 * (57 / 7) is above 57
    layer = RoIPool(HeadConfig(pooling="roi_pool", pool_size=size), (1,))
    last = np.arange(300.0, dtype=np.float32)
    first, end = layer.bins(np.stack([0 * last, 0 * last, last, last], -1), tf.constant([999, 999]))
    np.testing.assert_array_equal(first[:, 0], np.zeros((300, 2)))
    np.testing.assert_array_equal(end[:, -1, 0], last + 1)


@pytest.mark.parametrize("seed", range(2))
def test_values_and_gradients_are_those_of_the_definition(seed):
    feature, boxes = random_case(seed)
    upstream = np.random.default_rng(9).integers(1, 9, (2, 60, 3, 3, 3)).astype(np.float32)
    expected, gradient = np.zeros(upstream.shape), np.zeros((2, 9 * 13, 3))
    for b in range(2):
        for r, box in enumerate(boxes[b]):
            expected[b, r], cells = reference(feature[b], box, 3, 4)
            for (i, j, c), cell in np.ndenumerate(cells):
                if cell >= 0:
                    gradient[b, cell, c] += upstream[b, r, i, j, c]
    variable = tf.Variable(feature)
    with tf.GradientTape() as tape:
        pooled = pool(variable, boxes, 3, 4)
    np.testing.assert_array_equal(pooled, expected)
    # sums of whole numbers, exact in float32
    np.testing.assert_array_equal(tape.gradient(pooled, variable, upstream), gradient.reshape(feature.shape))


def test_the_gradient_is_the_numerical_one():
    # all values differ by at least 1, so that a step of 0.25 changes no maximum
    feature = np.random.default_rng(0).permutation(48).reshape(1, 4, 6, 2).astype(np.float32)
    boxes = [[[0, 0, 3, 5], [1.2, 2.6, 2.2, 7.1], [-2, -2, 1, 1]]]
    theoretical, numerical = tf.test.compute_gradient(lambda f: pool(f, boxes), [tf.constant(feature)], delta=0.25)
    np.testing.assert_allclose(theoretical[0], numerical[0], atol=1e-5)
    assert theoretical[0].any()


def test_all_of_a_gradient_goes_to_the_first_of_equal_cells():
    variable = tf.Variable(tf.zeros([1, 4, 4, 1]))  # a bin after a ReLU is often all zero
    with tf.GradientTape() as tape:
        pooled = pool(variable, [[[1, 1, 2, 2]]], size=1)
    expected = np.zeros((1, 4, 4, 1))
    expected[0, 1, 1] = 1
    np.testing.assert_array_equal(tape.gradient(pooled, variable), expected)


def test_a_box_of_the_padding_pools_the_first_cell_and_does_no_harm():
    np.testing.assert_array_equal(pool(RAMP + 1, [[[0, 0, 0, 0]]])[0, 0], np.ones((2, 2, 1)))


def test_no_boxes_give_no_crops():
    assert pool(RAMP, np.zeros((1, 0, 4))).shape == (1, 0, 2, 2, 1)


@pytest.mark.parametrize("sizes", [(9, 13), (1, 1), (64, 5)])
def test_one_trace_for_maps_of_every_size_and_xla_for_one_give_the_same(sizes):
    feature, boxes = random_case(0, *sizes)
    layer = RoIPool(HeadConfig(pooling="roi_pool", pool_size=3), (4,))
    signature = [tf.TensorSpec([None, None, None, 3]), tf.TensorSpec([None, None, 4])]
    dynamic = tf.function(lambda f, b: layer([f], b), input_signature=signature)
    compiled = tf.function(lambda f, b: layer([f], b), jit_compile=True)
    expected = layer([feature], boxes)
    assert expected.shape == (2, 60, 3, 3, 3)
    np.testing.assert_array_equal(dynamic(feature, boxes), expected)
    np.testing.assert_array_equal(compiled(feature, boxes), expected)


def test_the_gradient_in_a_trace_of_unknown_sizes_is_the_eager_one():
    feature, boxes = random_case(1)
    layer = RoIPool(HeadConfig(pooling="roi_pool", pool_size=3), (4,))

    def gradient(feature, boxes):
        with tf.GradientTape() as tape:
            tape.watch(feature)
            total = tf.reduce_sum(layer([feature], boxes))
        return tape.gradient(total, feature)

    signature = [tf.TensorSpec([None, None, None, 3]), tf.TensorSpec([None, None, 4])]
    traced = tf.function(gradient, input_signature=signature)
    np.testing.assert_array_equal(traced(feature, boxes), gradient(tf.constant(feature), boxes))


def single_level(**changes):
    """Return the config of tiny_fpn without a pyramid, with the paper's RoI pooling."""
    config = preset("tiny_fpn", (Category(1, "cell"),), **changes).detector
    head = config.head.replace(pooling="roi_pool", pool_size=5)
    return config.replace(fpn=None, anchors=AnchorConfig(sizes=((16.0, 32.0, 64.0),)), head=head)


def test_a_detector_pools_by_it_and_keeps_that_in_its_configuration():
    detector = build_detector(single_level())
    assert isinstance(detector.roi_pooling, RoIPool)
    assert detector.roi_pooling.strides == (16,)
    assert type(detector).from_config(detector.get_config()).config.head.pooling == "roi_pool"
    restored = RoIPool.from_config(detector.roi_pooling.get_config())
    assert (restored.config, restored.strides) == (detector.config.head, (16,))
    assert detector(np.zeros((1, 90, 70, 3), np.float32))["boxes"].shape == (1, 100, 4)


def test_a_feature_pyramid_is_refused():
    config = preset("tiny_fpn", (Category(1, "cell"),)).detector
    with pytest.raises(InputError, match=r"'roi_pool' takes boxes from one feature map: expected .*fpn None"):
        build_detector(config.replace(head=config.head.replace(pooling="roi_pool")))
    with pytest.raises(ValueError, match=r"from one feature map, found strides \(4, 8\)"):
        RoIPool(config.head, (4, 8))


def test_an_unknown_pooling_is_refused():
    with pytest.raises(
        InputError, match=r"HeadConfig\.pooling must be roi_align, roi_pool or the registered .*, found 'mean'"
    ):
        HeadConfig(pooling="mean")
