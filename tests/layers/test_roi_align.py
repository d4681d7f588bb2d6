"""RoIAlign by each set of kernels, against tables, a plain reference, and each other."""

import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.config import HeadConfig
from tfrcnn.layers import RoIAlign

KERNELS = ("tensorflow", "portable", "portable_matmul")
RAMP = tf.reshape(tf.range(25.0), [1, 5, 5, 1])  # value 5 y + x


def reference(feature, box, pool, ratio):
    """torchvision.ops.roi_align(aligned=False) in plain Python, sample by sample; box in feature coordinates."""
    height, width = feature.shape[:2]
    y1, x1, y2, x2 = map(float, box)
    h, w = max(y2 - y1, 1.0), max(x2 - x1, 1.0)

    def sample(y, x):
        if y < -1 or y > height or x < -1 or x > width:
            return np.zeros(feature.shape[2])
        y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
        yl, xl = int(y), int(x)
        yh, xh = min(yl + 1, height - 1), min(xl + 1, width - 1)
        fy, fx = y - yl, x - xl
        top = (1 - fx) * feature[yl, xl] + fx * feature[yl, xh]
        return (1 - fy) * top + fy * ((1 - fx) * feature[yh, xl] + fx * feature[yh, xh])

    out = np.zeros((pool, pool, feature.shape[2]))
    for i in range(pool):
        for j in range(pool):
            for a in range(ratio):
                for b in range(ratio):
                    y = y1 + (i + (a + 0.5) / ratio) * h / pool
                    x = x1 + (j + (b + 0.5) / ratio) * w / pool
                    out[i, j] += sample(y, x) / ratio**2
    return out


def align(kernels, features, boxes, pool=4, ratio=1, strides=(1,)):
    layer = RoIAlign(HeadConfig(pool_size=pool, sampling_ratio=ratio), strides, kernels)
    return layer(features, tf.constant(boxes, tf.float32)).numpy()


@pytest.mark.parametrize("kernels", KERNELS)
class TestTables:
    def test_box_1_1_3_3_of_the_5x5_ramp(self, kernels):
        row = align(kernels, [RAMP], [[[1, 1, 3, 3]]])[0, 0, 0, :, 0]
        np.testing.assert_allclose(row, [7.5, 8.0, 8.5, 9.0], rtol=1e-6)

    def test_aligned_the_row_is_the_published_one_and_a_small_box_is_not_enlarged(self, kernels):
        config = HeadConfig(pool_size=4, sampling_ratio=1, aligned=True)
        boxes = tf.constant([[[1.0, 1, 3, 3], [1.5, 1.5, 1.5, 1.5]]])
        pooled = RoIAlign(config, (1,), kernels)([RAMP], boxes)
        np.testing.assert_allclose(pooled[0, 0, 0, :, 0], [4.5, 5.0, 5.5, 6.0], rtol=1e-6)
        np.testing.assert_allclose(pooled[0, 1, ..., 0], np.full((4, 4), 6.0), rtol=1e-6)

    def test_two_by_two_samples_average_to_the_middle_of_each_bin(self, kernels):
        row = align(kernels, [RAMP], [[[0, 0, 4, 4]]], pool=2, ratio=2)[0, 0, :, :, 0]
        np.testing.assert_allclose(row, [[6, 8], [16, 18]], rtol=1e-6)  # bins centred at (1, 1), (1, 3), ...

    def test_samples_beyond_the_last_row_are_clamped_to_it(self, kernels):
        column = align(kernels, [RAMP], [[[3, 2, 5, 4]]], pool=4, ratio=1)[0, 0, :, 0, 0]
        # y = 3.25, 3.75, 4.25, 4.75 at x = 2.25: the last two lie beyond row 4
        np.testing.assert_allclose(column, [18.5, 21.0, 22.25, 22.25], rtol=1e-6)

    def test_a_box_of_no_size_is_taken_as_one_cell(self, kernels):
        value = align(kernels, [RAMP], [[[2, 2, 2, 2]]], pool=1, ratio=2)[0, 0, 0, 0, 0]
        np.testing.assert_allclose(value, 2.5 * 5 + 2.5, rtol=1e-6)

    def test_a_sample_one_cell_off_the_map_is_clamped_to_it_and_one_further_off_is_0(self, kernels):
        # one sample per box, in its middle, at column 2 and then at row 2; the map has rows and columns 0 .. 4
        rows = [[-2, 1, 0, 3], [-2.1, 1, -0.1, 3], [4, 1, 6, 3], [4.1, 1, 6.1, 3]]
        columns = [[x1, y1, x2, y2] for y1, x1, y2, x2 in rows]
        pooled = align(kernels, [RAMP], [rows + columns], pool=1, ratio=1)[0, :, 0, 0, 0]
        np.testing.assert_allclose(pooled, [2, 0, 22, 0, 10, 0, 14, 0], atol=1e-5)

    def test_two_levels_of_two_images_each_give_their_own_cells(self, kernels):
        # constant maps 1 and 2 of the fine level, 3 and 4 of the coarse one
        fine, coarse = (
            tf.fill([2, n, n, 1], 1.0) * tf.reshape(v, [2, 1, 1, 1]) for n, v in ((32, [1.0, 2]), (16, [3.0, 4]))
        )
        boxes = [[[0, 0, 100, 100], [0, 0, 120, 120]], [[0, 0, 120, 120], [0, 0, 100, 100]]]
        pooled = align(kernels, [fine, coarse], boxes, pool=2, ratio=2, strides=(4, 8))
        np.testing.assert_allclose(pooled[:, :, 0, 0, 0], [[1, 3], [4, 2]], rtol=1e-6)


@pytest.mark.parametrize("kernels", KERNELS)
def test_random_boxes_inside_across_and_outside_the_border_equal_the_reference(kernels):
    rng = np.random.default_rng(0)
    feature = rng.normal(size=(9, 13, 3)).astype(np.float32)
    corners = rng.uniform(-4, 10, (40, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(0, 8, (40, 2))], -1).astype(np.float32)
    got = align(kernels, [feature[None]], boxes[None], pool=3, ratio=2)[0]
    expected = np.stack([reference(feature, box, 3, 2) for box in boxes])
    np.testing.assert_allclose(got, expected, atol=2e-5)


def test_all_kernels_agree_in_value_and_gradient_over_levels_and_images():
    rng = np.random.default_rng(1)
    maps = [tf.Variable(rng.normal(size=(2, 32 // s, 48 // s, 4)).astype(np.float32)) for s in (1, 2, 4)]
    corners = rng.uniform(0, 20, (2, 30, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 12, (2, 30, 2)) ** 2 / 6], -1).astype(np.float32)
    weight = rng.normal(size=(2, 30, 3, 3, 4)).astype(np.float32)
    results = []
    for kernels in KERNELS:
        layer = RoIAlign(HeadConfig(pool_size=3), (4, 8, 16), kernels)
        with tf.GradientTape() as tape:
            pooled = layer(maps, boxes * 4)
            total = tf.reduce_sum(pooled * weight)
        results.append([pooled, *map(tf.convert_to_tensor, tape.gradient(total, maps))])
    for one, *others in zip(*results):
        for other in others:
            np.testing.assert_allclose(one, other, atol=2e-4)


def test_a_box_goes_to_the_level_of_its_size():
    layer = RoIAlign(HeadConfig(), (4, 8, 16, 32))
    sides = [1.0, 111.9, 112.0, 223.9, 224.0, 448.0, 5000.0]
    boxes = tf.constant([[[0.0, 0, s, s] for s in sides]])
    assert layer.assign_levels(boxes).numpy().tolist() == [[0, 0, 1, 1, 2, 3, 3]]


def test_sample_positions_are_the_middles_of_the_quarters_of_each_bin():
    layer = RoIAlign(HeadConfig(pool_size=2), (4, 8))
    boxes = tf.constant([[4.0, 8, 20, 40], [4.0, 8, 20, 40]])
    positions = layer.sample_positions(boxes, tf.constant([0, 1]))
    # in cells of stride 4 the box is rows 1 .. 5 and columns 2 .. 10; four samples a side, the first half a step inside
    np.testing.assert_allclose(positions[0, :, 0], [1.5, 2.5, 3.5, 4.5])
    np.testing.assert_allclose(positions[0, :, 1], [3, 5, 7, 9])
    np.testing.assert_allclose(positions[1, :, 1], [1.5, 2.5, 3.5, 4.5])
    aligned = RoIAlign(HeadConfig(pool_size=2, aligned=True), (4, 8)).sample_positions(boxes, tf.constant([0, 1]))
    np.testing.assert_allclose(aligned, positions - 0.5)


def test_portable_kernels_compile_under_xla():
    layer = RoIAlign(HeadConfig(pool_size=2), (1,), "portable")
    boxes = tf.constant([[[1.0, 1, 3, 3]]])
    compiled = tf.function(lambda f: layer([f], boxes), jit_compile=True)
    np.testing.assert_allclose(compiled(RAMP), layer([RAMP], boxes), rtol=1e-6)
