"""augment/mixing.py: what is erased, pasted, joined and blended, judged by painted pixels."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.config import ImageConfig
from tfrcnn.data.augment.mixing import _covered, _painted, copy_paste, cutout, draw_partner, mixup, mosaic

from .test_augment import BOXES, Sample, do_not_convert, draws, find, sample, seeds

CONFIG = ImageConfig(min_size=40, max_size=80, divisor=1)  # images of 40 x 80 stay so


def partner_of(boxes: list[list[float]], height: int = 40, width: int = 80) -> functools.partial:
    """A partner with box i painted in channel i and labelled 10 + i."""

    def partner(seed: tf.Tensor) -> Sample:
        image, moved, labels = sample(boxes, height, width)
        return tf.cast(image, tf.uint8), moved, labels + 10

    return partner


def test_mask_and_share_of_a_box_by_hand() -> None:
    """A box of 1.5 x 2 pixels paints whole pixels, and half of a box of two lies in it."""
    mask = _painted(tf.constant([[1.0, 1.0, 2.5, 3.0]]), tf.constant([4, 6]))
    expected = np.zeros((4, 6))
    expected[1:3, 1:3] = 1
    np.testing.assert_array_equal(mask, expected)
    boxes = tf.constant([[1.0, 0.0, 2.0, 2.0], [0.0, 0.0, 4.0, 6.0], [2.5, 2.5, 4.0, 4.0], [3.0, 3.0, 4.0, 4.0]])
    np.testing.assert_allclose(_covered(boxes, mask), [1, 4, 0.25, 0])


def test_erased_rectangle_is_filled_and_the_rest_stays() -> None:
    original = tf.random.stateless_uniform([40, 80, 3], [0, 1], 100, 255)
    shares, ratios = [], []
    erase = functools.partial(cutout, probability=1.0, fill=60.0)
    for image, _, _ in draws(erase, (original, tf.zeros([0, 4]), tf.zeros([0], tf.int32)), 60):
        rows, columns = np.nonzero((image.numpy() == 60).all(axis=-1))
        box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
        expected = original.numpy()
        expected[box] = 60
        np.testing.assert_array_equal(image, expected)
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        shares.append(height * width / 3200)
        ratios.append(height / width)
    assert 0.015 < min(shares) < 0.05
    assert 0.15 < max(shares) < 0.21
    assert 0.25 < min(ratios) < 0.6
    assert 1.6 < max(ratios) < 3.7


def test_object_that_is_mostly_erased_is_dropped() -> None:
    """Its box goes if less than 0.3 of its pixels is left; the others keep box and label."""
    dropped = 0
    for image, boxes, labels in draws(functools.partial(cutout, probability=1.0, fill=60.0), sample(BOXES), 60):
        for i, box in enumerate(BOXES):
            y1, x1, y2, x2 = map(int, box)
            left = (image.numpy()[y1:y2, x1:x2, i] == 255).mean()
            assert (i in labels.numpy()) == (left >= 0.3)
            dropped += left < 0.3
            if i in labels.numpy():
                np.testing.assert_array_equal(boxes[labels.numpy().tolist().index(i)], box)
    assert dropped > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "augment",
    [
        functools.partial(cutout, fill=60.0),
        functools.partial(mosaic, partner=partner_of([])),
        functools.partial(copy_paste, partner=partner_of(BOXES), config=CONFIG),
        functools.partial(mixup, partner=partner_of([]), config=CONFIG),
    ],
    ids=["cutout", "mosaic", "copy_paste", "mixup"],
)
def test_probability_is_the_share_of_images_changed(augment: functools.partial) -> None:
    image, boxes, labels = tf.fill([40, 80, 3], 200.0), tf.zeros([0, 4]), tf.zeros([0], tf.int32)
    inputs = tf.data.Dataset.from_tensor_slices((seeds(60) * 3, np.repeat([0.0, 0.5, 1.0], 60).astype(np.float32)))
    images = inputs.map(
        do_not_convert(lambda seed, probability: augment(image, boxes, labels, seed, probability=probability)[0])
    )
    never, half, always = np.reshape([np.any(result != 200) for result in images], (3, 60))
    assert not never.any()
    assert always.all()
    assert 11 < half.sum() < 49  # 30, five standard deviations of 3.9


def test_pasted_objects_have_boxes_that_hold_their_pixels() -> None:
    """On a black image, each pasted pixel lies in a box, and each box is full of its channel."""
    counts, places = set(), set()
    paste = functools.partial(copy_paste, partner=partner_of(BOXES), config=CONFIG, probability=1.0)
    for image, boxes, labels in draws(paste, sample([]), 60):
        counts.add(len(labels))
        assert set(labels.numpy()) <= {10, 11, 12}
        inside = np.zeros((40, 80), bool)
        for box, label in zip(boxes.numpy(), labels.numpy()):
            y1, x1, y2, x2 = np.round(box).astype(int)
            inside[max(y1 - 1, 0) : y2 + 1, max(x1 - 1, 0) : x2 + 1] = True
            np.testing.assert_allclose(find(image, label - 10), box, atol=1.0)
            places.add(tuple(box.round()))
        assert not image.numpy()[~inside].any()
    assert counts == {1, 2, 3}
    assert len(places) > 30  # at many sizes and positions


def test_object_under_a_pasted_one_loses_its_box() -> None:
    """The partner is one white object as large as the image: nothing of the objects below it is left."""
    covered = 0
    paste = functools.partial(copy_paste, partner=partner_of([[0, 0, 40, 80]]), config=CONFIG, probability=1.0)
    for image, boxes, labels in draws(paste, sample([[2, 2, 12, 12], [20, 60, 38, 78]]), 40):
        pasted = boxes.numpy()[labels.numpy() == 10][0].round().astype(int)
        mask = np.zeros((40, 80), bool)
        mask[pasted[0] : pasted[2], pasted[1] : pasted[3]] = True
        for label, (y1, x1, y2, x2) in enumerate([[2, 2, 12, 12], [20, 60, 38, 78]]):
            visible = 1 - mask[y1:y2, x1:x2].mean()
            if abs(visible - 0.3) > 0.1:
                assert (label in labels.numpy()) == (visible > 0.3)
                covered += visible < 0.3
        np.testing.assert_allclose(image.numpy()[mask][:, 0].mean(), 255, atol=1)
    assert covered > 10


def test_partner_without_boxes_pastes_nothing() -> None:
    original = sample(BOXES)
    paste = functools.partial(copy_paste, partner=partner_of([]), config=CONFIG, probability=1.0)
    for seed in seeds(3):
        for result, expected in zip(paste(*original, seed), original):
            np.testing.assert_array_equal(result, expected)


@pytest.mark.slow
def test_object_that_lies_in_a_pasted_box_gets_a_box_too() -> None:
    """The partner's second object lies within its first: whenever the first is pasted, the second is labelled."""
    boxes = [[0.0, 0.0, 20.0, 40.0], [5.0, 5.0, 15.0, 30.0]]
    paste = functools.partial(copy_paste, partner=partner_of(boxes), config=CONFIG, probability=1.0)
    both = [set(labels.numpy()) for _, _, labels in draws(paste, sample([]), 40)]
    assert {10} not in both
    assert {10, 11} in both
    assert {11} in both


def test_mosaic_has_four_parts_whose_boxes_hold_their_pixels() -> None:
    """The image is black, the partners are grey: the parts meet in the inner half."""
    middles, seen = [], 0

    def partner(seed: tf.Tensor) -> Sample:
        image, boxes, labels = sample([[6, 6, 34, 34]], height=50, width=40)
        return tf.maximum(image, 40.0), boxes, labels + 1

    for image, boxes, labels in draws(functools.partial(mosaic, partner=partner, probability=1.0), sample(BOXES), 40):
        assert image.shape == (40, 80, 3)
        black = image.numpy().min(axis=-1) < 20
        middle = np.array([black.any(axis=1).sum(), black.any(axis=0).sum()])
        middles.append(middle)
        for box in boxes.numpy()[labels.numpy() == 1]:
            y1, x1, y2, x2 = box
            assert y1 >= middle[0] - 1e-3 or x1 >= middle[1] - 1e-3 or y2 <= middle[0] + 1e-3
            inner = image.numpy()[int(np.ceil(y1)) + 1 : int(y2) - 1, int(np.ceil(x1)) + 1 : int(x2) - 1]
            if inner.size and x1 >= middle[1]:
                assert inner.max(axis=-1).min() > 60
                seen += 1
    middles = np.array(middles) / [40, 80]
    assert (middles + 0.03 >= 0.25).all()
    assert (middles <= 0.75).all()
    assert np.ptp(middles, axis=0).min() > 0.3
    assert seen > 20


@pytest.mark.slow
def test_each_part_of_a_mosaic_keeps_the_aspect_of_its_image() -> None:
    """A square object stays square to a pixel, where it is cut nowhere."""
    ratios = []
    partner = partner_of([[15, 30, 25, 40]])
    for _, boxes, labels in draws(functools.partial(mosaic, partner=partner, probability=1.0), sample([]), 60):
        for y1, x1, y2, x2 in boxes.numpy()[labels.numpy() == 10]:
            if min(y2 - y1, x2 - x1) > 4:
                ratios.append((y2 - y1) / (x2 - x1))
    assert len(ratios) > 30
    assert 0.85 < np.median(ratios) < 1.15


def test_long_thin_partner_needs_no_more_memory_than_its_part() -> None:
    """A strip of 1 x 3,000 pixels scaled as a whole to cover a part would have millions of columns."""
    make = functools.partial(mosaic, partner=partner_of([], 1, 3000), probability=1.0)
    assert make(*sample([]), seeds(1)[0])[0].shape == (40, 80, 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (2, 2), (3, 2)])
def test_tiny_images_can_be_mixed(size: tuple[int, int]) -> None:
    partner = partner_of([[5, 5, 20, 20]])
    for augment in (
        functools.partial(mosaic, partner=partner),
        functools.partial(copy_paste, partner=partner, config=CONFIG),
        functools.partial(mixup, partner=partner, config=CONFIG),
        functools.partial(cutout, fill=60.0),
    ):
        image, _, _ = augment(*sample([], *size), seeds(1)[0], probability=1.0)
        assert image.shape == (*size, 3)


def test_blend_has_the_boxes_of_both_and_their_mean_colour() -> None:
    shares = []
    blend = functools.partial(mixup, partner=partner_of([[10, 10, 30, 70]]), config=CONFIG, probability=1.0)
    image, boxes, labels = sample([[0, 0, 20, 40]])
    for mixed, both, all_labels in draws(blend, (image, boxes, labels + 1), 30):
        np.testing.assert_array_equal(both, [[0, 0, 20, 40], [10, 10, 30, 70]])
        np.testing.assert_array_equal(all_labels, [1, 10])
        share = float(mixed[5, 5, 0]) / 255
        shares.append(share)
        np.testing.assert_allclose(mixed[25, 50, 0], 255 * (1 - share), atol=0.01)
        np.testing.assert_allclose(mixed[15, 20, 0], 255, atol=0.01)
    assert 0.4 <= min(shares) < 0.45
    assert 0.55 < max(shares) <= 0.6


def test_image_stays_where_the_partner_does_not_reach() -> None:
    """A partner of 20 x 20 is 40 x 40 in the frame: half of the image is as before."""
    image = tf.fill([40, 80, 3], 200.0)
    blend = functools.partial(mixup, partner=partner_of([], 20, 20), config=CONFIG, probability=1.0)
    for mixed, _, _ in draws(blend, (image, tf.zeros([0, 4]), tf.zeros([0], tf.int32)), 5):
        columns = (mixed.numpy() == 200).all(axis=(0, 2))
        assert 39 <= columns.sum() <= 41


def test_partner_passes_the_steps_before_resizing_with_draws_by_their_names() -> None:
    """Another step changes neither which partner is drawn nor the draws of the other steps."""
    drawn: dict[str, list[list[int]]] = {"a": [], "b": []}

    def step(name: str, image: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> Sample:
        drawn[name].append(seed.numpy().tolist())
        return image, boxes, labels + 1

    def load(index: tf.Tensor) -> Sample:
        return tf.fill([1, 1, 3], index), tf.zeros([0, 4]), tf.zeros([1], tf.int32)

    a, b = ({name: functools.partial(step, name)} for name in "ab")
    for seed in seeds(20):
        partners = [draw_partner(seed, load, 5, steps) for steps in (a, {**b, **a})]
        assert [int(labels[0]) for _, _, labels in partners] == [1, 2]
        assert int(partners[0][0][0, 0, 0]) == int(partners[1][0][0, 0, 0])
    assert drawn["a"][::2] == drawn["a"][1::2]
    assert len({tuple(seed) for seed in drawn["a"] + drawn["b"]}) == 40
    indices = {int(draw_partner(seed, load, 5, {})[0][0, 0, 0]) for seed in seeds(60)}
    assert indices == {0, 1, 2, 3, 4}
