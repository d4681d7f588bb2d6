"""augment/geometry.py: flips, turns, rotations and shears, by hand and against Pillow."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfrcnn.data.augment.geometry import quarter_turns, rotation, rotation_matrix, shear, turn, vertical_flip, warp

from .test_augment import BOXES, draws, sample, seeds

RAMP = tf.reshape(tf.range(4 * 6 * 3, dtype=tf.float32), [4, 6, 3])
NO_BOXES = (tf.zeros([0, 4]), tf.zeros([0], tf.int32))
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 10, 3), np.uint8)).resize((60, 48))


def find(image: np.ndarray, channel: int) -> np.ndarray:
    """The box [4] of the pixels that a channel covers, at least a quarter."""
    rows, columns = np.nonzero(image[..., channel] > 64)
    return np.array([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1])


def test_vertical_flip_sends_y_to_height_minus_y() -> None:
    original = sample([[0, 2, 3, 5], [1, 0, 3, 10]], height=4, width=10)
    results = draws(vertical_flip, original, 60)
    flipped = [result for result in results if not np.array_equal(result[0], original[0])]
    assert 11 < len(flipped) < 49  # 30, five standard deviations of 3.9
    for image, boxes, labels in flipped:
        np.testing.assert_array_equal(image, original[0].numpy()[::-1])
        np.testing.assert_array_equal(boxes, [[1, 2, 4, 5], [1, 0, 3, 10]])
        np.testing.assert_array_equal(labels, [0, 1])


@pytest.mark.parametrize(
    ("quarters", "expected"),
    [(0, [1, 0, 3, 2]), (1, [4, 1, 6, 3]), (2, [1, 4, 3, 6]), (3, [0, 1, 2, 3])],
)
def test_box_of_a_4_by_6_image_turned_counter_clockwise(quarters: int, expected: list[float]) -> None:
    image, boxes = turn(RAMP, tf.constant([[1.0, 0.0, 3.0, 2.0]]), tf.constant(quarters))
    np.testing.assert_array_equal(image, np.rot90(RAMP, quarters))
    np.testing.assert_array_equal(boxes, [expected])


def test_turned_boxes_hold_the_turned_pixels_and_keep_their_area() -> None:
    shapes = set()
    for image, boxes, labels in draws(quarter_turns, sample(BOXES), 40):
        shapes.add(tuple(image.shape[:2]))
        sides = boxes[:, 2:] - boxes[:, :2]
        np.testing.assert_array_equal(tf.reduce_prod(sides, axis=1), [240, 600, 240])
        for box, label in zip(boxes, labels):
            np.testing.assert_array_equal(find(image.numpy(), label), box)
    assert shapes == {(40, 80), (80, 40)}


def test_every_number_of_quarters_is_drawn_equally_often() -> None:
    boxes = [tuple(boxes.numpy()[0]) for _, boxes, _ in draws(quarter_turns, sample([[0, 0, 2, 3]]), 200)]
    assert len(set(boxes)) == 4
    assert all(20 < boxes.count(box) < 80 for box in set(boxes))  # 50, five standard deviations of 6


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_rotation_by_90_degrees_is_a_quarter_turn_to_the_pixel(quarters: int) -> None:
    image, boxes, labels = sample([[1, 2, 5, 4], [3, 4, 9, 10]], height=10, width=10)
    angle = tf.constant(quarters * np.pi / 2, tf.float32)
    result, moved, kept = warp(image, boxes, labels, rotation_matrix(angle), 60.0)
    expected, expected_boxes = turn(image, boxes, tf.constant(quarters))
    np.testing.assert_allclose(result, expected, atol=0.01)
    np.testing.assert_allclose(moved, expected_boxes, atol=1e-4)
    np.testing.assert_array_equal(kept, labels)


def test_no_rotation_and_no_shear_change_nothing_to_the_bit() -> None:
    image, boxes, labels = sample(BOXES)
    for result, expected in zip(warp(image, boxes, labels, tf.eye(2), 60.0), (image, boxes, labels)):
        np.testing.assert_array_equal(result, expected)
    noise = tf.random.stateless_uniform([7, 9, 3], [0, 1], 0, 255)
    np.testing.assert_array_equal(warp(noise, *NO_BOXES, tf.eye(2), 60.0)[0], noise)


def test_shear_along_x_moves_rows_sideways_by_hand() -> None:
    """45 degrees about the centre of 5 rows: row 0 moves by -2, row 4 by +2. y and x are not swapped."""
    image = tf.tile(tf.range(1.0, 8.0)[None, :, None], [5, 1, 3])
    result, boxes, _ = warp(image, tf.constant([[2.0, 3.0, 4.0, 4.0]]), tf.constant([0]), [[1.0, 0.0], [1.0, 1.0]], 9.0)
    expected = [
        [3, 4, 5, 6, 7, 9, 9],
        [2, 3, 4, 5, 6, 7, 9],
        [1, 2, 3, 4, 5, 6, 7],
        [9, 1, 2, 3, 4, 5, 6],
        [9, 9, 1, 2, 3, 4, 5],
    ]
    np.testing.assert_allclose(result[..., 0], expected, atol=1e-5)
    np.testing.assert_allclose(boxes, [[2, 2.5, 4, 5.5]])  # corners at (2, 3), (4, 4) move by -0.5 and 1.5


def test_fill_value_is_where_no_pixel_comes_from() -> None:
    """A square turned by 45 degrees leaves its corners empty."""
    result, _, _ = warp(tf.fill([9, 9, 3], 200.0), *NO_BOXES, rotation_matrix(tf.constant(np.pi / 4, tf.float32)), 50.0)
    assert [float(result[y, x, 1]) for y in (0, -1) for x in (0, -1)] == [50.0] * 4
    assert float(result[4, 4, 1]) == pytest.approx(200)


@pytest.mark.parametrize("degrees", [7.0, -30.0, 100.0])
def test_rotation_is_that_of_pillow(degrees: float) -> None:
    matrix = rotation_matrix(tf.constant(np.radians(degrees), tf.float32))
    assert_close_inside(matrix, PICTURE.rotate(degrees, Image.Resampling.BILINEAR))


def test_shear_is_the_affine_map_of_pillow() -> None:
    """Pillow maps output to input, (x, y), from the corner of the image."""
    (yy, yx), (xy, xx) = np.linalg.inv([[1.0, 0.1], [0.3, 1.0]])
    inverse = (xx, xy, 30 - xx * 30 - xy * 24, yx, yy, 24 - yx * 30 - yy * 24)
    expected = PICTURE.transform((60, 48), Image.Transform.AFFINE, inverse, Image.Resampling.BILINEAR)
    assert_close_inside(tf.constant([[1.0, 0.1], [0.3, 1.0]]), expected)


def assert_close_inside(matrix: tf.Tensor, expected: Image.Image) -> None:
    """Compare where all four pixels come from the image: Pillow blends nothing at the border."""
    result = warp(tf.constant(np.asarray(PICTURE)), *NO_BOXES, matrix, 0.0)[0].numpy()
    inside = warp(tf.ones([48, 60, 3]), *NO_BOXES, matrix, 0.0)[0].numpy() > 0.999
    assert inside.mean() > 0.6
    np.testing.assert_allclose(result[inside], np.asarray(expected)[inside], atol=1.5)  # Pillow rounds twice


@pytest.mark.parametrize(
    "augment",
    [functools.partial(rotation, degrees=20, fill=0.0), functools.partial(shear, degrees=15, fill=0.0)],
    ids=["rotation", "shear"],
)
def test_boxes_follow_their_pixels_to_within_a_pixel(augment: functools.partial) -> None:
    seen = 0
    for image, boxes, labels in draws(augment, sample([[14, 20, 30, 34], [10, 40, 26, 60]]), 40):
        for box, label in zip(boxes.numpy(), labels):
            np.testing.assert_allclose(find(image.numpy(), label), box, atol=1.0)
            seen += 1
    assert seen > 60


def test_rotation_draws_angles_up_to_its_limit_in_both_directions() -> None:
    """A thin wide box of 40 pixels becomes higher by the sine of the angle; its left end rises or falls."""
    heights, signs = [], set()
    rotate = functools.partial(rotation, degrees=30, fill=0.0)
    for image, boxes, _ in draws(rotate, sample([[19, 20, 21, 60]]), 60):
        heights.append(float(boxes[0, 2] - boxes[0, 0]))
        rows = image.numpy()[..., 0].sum(axis=1) @ np.arange(40), image.numpy()[:, :40, 0].sum(axis=1) @ np.arange(40)
        signs.add(np.sign(rows[0] / 2 - rows[1]))
    assert min(heights) < 5
    assert 40 * 0.45 < max(heights) <= 40 * 0.5 + 2
    assert signs == {-1, 1}


def test_box_that_leaves_is_dropped_and_the_other_keeps_its_label() -> None:
    """Turned by 90 degrees about the centre of 40 x 80, the ends of the image leave it."""
    boxes = [[10, 0, 30, 10], [15, 35, 25, 50]]
    matrix = rotation_matrix(tf.constant(np.pi / 2, tf.float32))
    image, moved, labels = warp(*sample(boxes), matrix, 0.0)
    np.testing.assert_array_equal(labels, [1])
    np.testing.assert_allclose(moved, [[10, 35, 25, 45]], atol=1e-4)
    np.testing.assert_array_equal(find(image.numpy(), 1), [10, 35, 25, 45])


def test_rotation_that_would_lose_all_boxes_is_not_done() -> None:
    original = sample([[10, 0, 30, 10]])
    matrix = rotation_matrix(tf.constant(np.pi / 2, tf.float32))
    for result, expected in zip(warp(*original, matrix, 0.0), original):
        np.testing.assert_array_equal(result, expected)


def test_one_pixel_can_be_warped() -> None:
    for augment in (rotation, shear):
        result = augment(tf.ones([1, 1, 3]), *NO_BOXES, seeds(1)[0], degrees=20, fill=0.0)
        assert result[0].shape == (1, 1, 3)
