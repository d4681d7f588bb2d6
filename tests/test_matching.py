"""Labels and samples, by hand and by property."""

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrcnn.config import MatchConfig
from tfrcnn.matching import IGNORED, NEGATIVE, POSITIVE, match, sample

RPN = MatchConfig(0.7, 0.3, samples=8, positive_fraction=0.5, allow_low_quality=True)
# overlaps with [0, 0, 10, 10]: 1, 0.8, 0.5, 0.2, 0
STAIRS = tf.constant([[0.0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 5], [0, 0, 10, 2], [50, 50, 60, 60]])
BOX = tf.constant([[[0.0, 0, 10, 10]]])
YES = tf.constant([[True]])
ALL = tf.ones([1, 5], tf.bool)


def test_boxes_are_positive_ignored_or_negative_by_their_best_overlap():
    found = match(STAIRS, ALL, BOX, YES, RPN)
    np.testing.assert_array_equal(found.labels[0], [POSITIVE, POSITIVE, IGNORED, NEGATIVE, NEGATIVE])


def test_the_best_box_of_an_object_is_positive_whatever_its_overlap():
    found = match(STAIRS[2:], ALL[:, 2:], BOX, YES, RPN)
    np.testing.assert_array_equal(found.labels[0], [POSITIVE, NEGATIVE, NEGATIVE])
    strict = match(STAIRS[2:], ALL[:, 2:], BOX, YES, MatchConfig(0.7, 0.3, 8, 0.5))
    np.testing.assert_array_equal(strict.labels[0], [IGNORED, NEGATIVE, NEGATIVE])


def test_all_boxes_that_tie_for_the_best_are_positive():
    found = match(tf.concat([STAIRS[3:], STAIRS[3:4]], 0), ALL[:, :3], BOX, YES, RPN)
    np.testing.assert_array_equal(found.labels[0], [POSITIVE, NEGATIVE, POSITIVE])


def test_an_object_that_no_box_touches_makes_nothing_positive():
    found = match(STAIRS[4:], ALL[:, :1], BOX, YES, RPN)
    np.testing.assert_array_equal(found.labels[0], [NEGATIVE])


def test_padding_never_matches_not_even_a_box_equal_to_it():
    found = match(tf.zeros([1, 4]), ALL[:, :1], tf.zeros([1, 2, 4]), tf.constant([[False, False]]), RPN)
    np.testing.assert_array_equal(found.labels[0], [NEGATIVE])


def test_a_box_takes_the_object_that_overlaps_it_most():
    objects = tf.constant([[[0.0, 0, 10, 5], [0, 0, 10, 9]]])
    assert match(STAIRS[:1], ALL[:, :1], objects, tf.constant([[True, True]]), RPN).ground_truth.numpy().tolist() == [
        [1]
    ]


def test_a_box_left_out_is_ignored_and_the_best_of_the_others_is_positive():
    found = match(STAIRS, tf.constant([[False, False, True, True, True]]), BOX, YES, RPN)
    np.testing.assert_array_equal(found.labels[0], [IGNORED, IGNORED, POSITIVE, NEGATIVE, NEGATIVE])


def draw(kind, seed=0, config=RPN):
    kind = np.array([kind], np.int32)
    priority = np.random.default_rng(seed).random(kind.shape, np.float32)
    return [x.numpy()[0] for x in sample(kind, config, priority)]


def test_positives_fill_at_most_their_fraction_and_negatives_the_rest():
    index, positive, valid = draw([1] * 10 + [0] * 10 + [-1] * 5)
    assert positive.sum() == 4
    assert valid.all()
    assert set(index[positive]) <= set(range(10))
    assert set(index[~positive]) <= set(range(10, 20))


def test_slots_that_cannot_be_filled_are_not_valid():
    index, positive, valid = draw([1, 0, 0, -1])
    assert valid.tolist() == [True] * 3 + [False] * 5
    assert index[0] == 0
    assert set(index[1:3]) == {1, 2}
    assert positive.tolist() == [True] + [False] * 7


def test_nothing_to_sample_gives_no_valid_slot():
    assert not draw([-1, -1, -1])[2].any()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([POSITIVE, NEGATIVE, IGNORED]), min_size=1, max_size=40), st.integers(0, 9))
def test_samples_are_distinct_of_the_right_kind_and_as_many_as_can_be(kind, seed):
    index, positive, valid = draw(kind, seed)
    kind = np.array(kind)
    assert len(set(index[valid])) == valid.sum()
    assert np.all(kind[index[positive]] == POSITIVE)
    assert np.all(kind[index[valid & ~positive]] == NEGATIVE)
    positives = min((kind == POSITIVE).sum(), 4)
    assert positive.sum() == positives
    assert valid.sum() == positives + min((kind == NEGATIVE).sum(), 8 - positives)


def test_every_negative_is_equally_likely_over_seeds():
    counts = np.zeros(20)
    for seed in range(400):
        index, _, valid = draw([0] * 20, seed)
        counts[index[valid]] += 1
    # 400 draws of 8 among 20: 160 each, standard deviation 9.8
    assert np.all(np.abs(counts - 160) < 5 * 9.8)
