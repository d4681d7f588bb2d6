"""sampler.py: by hand, then as properties of any data set."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrcnn.data.sampler import epoch_batches, steps_per_epoch


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
