"""sampler.py: by hand, then as properties of any data set."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrcnn.config import Category
from tfrcnn.data.example import Dataset, Example
from tfrcnn.data.sampler import epoch_batches, repeat_factors, steps_per_epoch


def batches(portraits: int, landscapes: int, batch_size: int, *, seed: int = 0, epoch: int = 0, group: bool = True):
    """`epoch_batches` of a data set whose first images are portraits and the others landscapes."""
    heights = np.array([640] * portraits + [480] * landscapes)
    return epoch_batches(1120 - heights, heights, batch_size, seed, epoch, group)


DATA_SETS = {"portraits": st.integers(0, 30), "landscapes": st.integers(1, 30), "batch_size": st.integers(1, 7)}


def test_one_image_and_batch_one_is_that_image() -> None:
    result = batches(0, 1, 1)
    assert result.dtype == np.int32
    np.testing.assert_array_equal(result, [[0]])


def test_data_set_smaller_than_a_batch_repeats() -> None:
    (batch,) = batches(1, 2, 7)
    assert sorted(batch)[0] == 0
    assert sorted(np.bincount(batch, minlength=3)) == [2, 2, 3]


def test_twelve_images_in_fours_are_two_landscape_batches_and_one_portrait() -> None:
    result = batches(4, 8, 4)
    assert sorted((batch < 4).sum() for batch in result) == [0, 0, 4]


def test_leftovers_of_the_groups_are_merged_into_one_batch() -> None:
    result = batches(5, 7, 4)
    assert sorted((batch < 5).sum() for batch in result) == [0, 1, 4]


@given(**DATA_SETS, seed=st.integers(-(2**40), 2**40), epoch=st.integers(0, 1000))
def test_no_image_comes_twice_and_fewer_than_a_batch_are_left_out(
    portraits: int, landscapes: int, batch_size: int, seed: int, epoch: int
) -> None:
    n = portraits + landscapes
    result = batches(portraits, landscapes, batch_size, seed=seed, epoch=epoch)
    assert result.shape == (steps_per_epoch(n, batch_size), batch_size)
    assert result.min() >= 0
    assert result.max() < n
    if n >= batch_size:
        assert len(np.unique(result)) == result.size > n - batch_size


@given(**DATA_SETS)
def test_at_most_one_batch_mixes_portraits_and_landscapes(portraits: int, landscapes: int, batch_size: int) -> None:
    result = batches(portraits, landscapes, batch_size)
    mixed = [0 < (batch < portraits).sum() < batch_size for batch in result]
    assert sum(mixed) <= 1


@pytest.mark.parametrize("group", [False, True])
def test_result_does_not_depend_on_history(group: bool) -> None:
    fresh = batches(5, 9, 4, seed=3, epoch=2, group=group)
    for epoch in range(4):
        batches(5, 9, 4, seed=3, epoch=epoch, group=group)
    np.testing.assert_array_equal(batches(5, 9, 4, seed=3, epoch=2, group=group), fresh)


@pytest.mark.parametrize("group", [False, True])
def test_seeds_and_epochs_differ(group: bool) -> None:
    orders = {batches(20, 20, 4, seed=s, epoch=e, group=group).tobytes() for s in range(3) for e in range(3)}
    assert len(orders) == 9


def test_a_lone_portrait_gets_its_turn_as_often_as_the_others() -> None:
    """1 portrait and 8 landscapes in fours: filling the groups first would leave the portrait out for ever."""
    epochs = 450
    counts = sum(np.bincount(batches(1, 8, 4, epoch=e).ravel(), minlength=9) for e in range(epochs))
    # Each is left out of one epoch in nine: 50 of 450, standard deviation sqrt(450 * 1/9 * 8/9) = 6.7.
    np.testing.assert_allclose(epochs - counts, 50, atol=5 * 6.7)


def test_order_of_the_groups_is_random() -> None:
    firsts = [batches(8, 8, 4, epoch=e)[0, 0] < 8 for e in range(40)]
    assert 5 < sum(firsts) < 35


def dataset(*labels: list[int], crowd: int | None = None) -> Dataset:
    """An image for each list of labels 0..2; objects of the label `crowd` are crowds."""
    examples = []
    for i, row in enumerate(labels):
        n, of = len(row), np.array(row, np.int32)
        flags, numbers = np.zeros(n, bool), np.arange(n)
        example = Example(i, Path("a"), 1, 1, np.zeros([n, 4]), of, of == crowd, flags, np.ones(n), 1, numbers)
        examples.append(example)
    return Dataset("by hand", tuple(Category(i, f"c{i}") for i in range(3)), tuple(examples))


def test_repeat_factors_are_those_of_lvis_by_hand() -> None:
    """Category 0 is on 4 of 4 images, 1 on 2, 2 on 1; an image takes its rarest category's factor."""
    data = dataset([0], [0, 1, 1], [0, 1, 2], [0])
    tolerance = {"rtol": 0, "atol": 2.0**-20}
    np.testing.assert_allclose(repeat_factors(data, 1.0), [1, 2**0.5, 2, 1], **tolerance)
    np.testing.assert_allclose(repeat_factors(data, 0.5), [1, 1, 2**0.5, 1], **tolerance)
    np.testing.assert_array_equal(repeat_factors(data, 0.25), [1, 1, 1, 1])
    np.testing.assert_array_equal(repeat_factors(data, 0.0), [1, 1, 1, 1])


def test_an_image_without_objects_is_not_repeated() -> None:
    np.testing.assert_array_equal(repeat_factors(dataset([], [0], [], []), 1.0), [1, 2, 1, 1])
    np.testing.assert_array_equal(repeat_factors(dataset([], []), 1.0), [1, 1])


def test_crowds_do_not_make_an_image_rare() -> None:
    np.testing.assert_array_equal(repeat_factors(dataset([0], [0], [0], [0, 2], crowd=2), 1.0), [1, 1, 1, 1])


def repeated(repeats: np.ndarray, batch_size: int, seed: int = 0, epoch: int = 0) -> np.ndarray:
    sides = np.full(len(repeats), 8)
    return epoch_batches(sides, sides, batch_size, seed, epoch, True, repeats)


def test_a_rare_image_comes_twice_as_often_by_hand() -> None:
    """r = (2, 1, 1, 1): five images per epoch, and one step takes all of them."""
    assert sorted(repeated(np.array([2.0, 1, 1, 1]), 5)[0]) == [0, 0, 1, 2, 3]
    assert steps_per_epoch(5.0, 2) == 2
    assert repeated(np.array([2.0, 1, 1, 1]), 2).shape == (2, 2)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_fractions_are_rounded_at_random_and_right_in_the_mean(batch_size: int) -> None:
    repeats, epochs = np.array([1.5, 1.25, 1.0, 3.75, 1.0, 1.0]), 2000
    steps = steps_per_epoch(repeats.sum(), batch_size)
    counts = np.zeros([epochs, 6])
    for epoch in range(epochs):
        drawn = repeated(repeats, batch_size, epoch=epoch)
        assert drawn.shape == (steps, batch_size)
        counts[epoch] = np.bincount(drawn.ravel(), minlength=6)
    if batch_size == 1:  # no image is left out but the one beyond floor(R) = 9
        assert counts.min(axis=0).tolist() == [0, 0, 0, 2, 0, 0]
        assert counts.max(axis=0).tolist() == [2, 2, 1, 4, 1, 1]
    expected = repeats * steps * batch_size / repeats.sum()
    # a count of one epoch has a standard deviation of at most 1
    np.testing.assert_allclose(counts.mean(axis=0), expected, atol=5 / epochs**0.5)


def test_the_order_without_repeats_stays_to_the_bit() -> None:
    expected = np.random.default_rng([5, 3]).permutation(9)
    sides = np.full(9, 8)
    for repeats in (None, np.ones(9)):
        np.testing.assert_array_equal(epoch_batches(sides, sides, 9, 5, 3, False, repeats)[0], expected)


def test_repeats_depend_on_seed_and_epoch_alone() -> None:
    repeats = np.random.default_rng(0).uniform(1, 3, 50)
    fresh = repeated(repeats, 4, seed=3, epoch=2)
    for epoch in range(4):
        repeated(repeats, 4, seed=3, epoch=epoch)
    np.testing.assert_array_equal(repeated(repeats, 4, seed=3, epoch=2), fresh)
    chosen = {tuple(sorted(repeated(repeats, 1, s, e).ravel())) for s in range(3) for e in range(3)}
    assert len(chosen) == 9
