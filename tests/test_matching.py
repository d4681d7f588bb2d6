"""Labels and samples, by hand and by property."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfrcnn import boxes as box_ops
from tfrcnn import matching
from tfrcnn.config import MatchConfig
from tfrcnn.matching import IGNORED, NEGATIVE, POSITIVE, match, sample

RPN = MatchConfig(0.7, 0.3, samples=8, positive_fraction=0.5, allow_low_quality=True)
# overlaps with [0, 0, 10, 10]: 1, 0.8, 0.5, 0.2, 0
STAIRS = tf.constant([[0.0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 5], [0, 0, 10, 2], [50, 50, 60, 60]])
BOX = tf.constant([[[0.0, 0, 10, 10]]])
YES = tf.constant([[True]])
ALL = tf.ones([1, 5], tf.bool)


def test_boxes_are_positive_ignored_or_negative_by_their_best_overlap():
    matches = match(STAIRS, ALL, BOX, YES, RPN)
    np.testing.assert_array_equal(matches.labels[0], [POSITIVE, POSITIVE, IGNORED, NEGATIVE, NEGATIVE])


def test_the_best_box_of_an_object_is_positive_whatever_its_overlap():
    matches = match(STAIRS[2:], ALL[:, 2:], BOX, YES, RPN)
    np.testing.assert_array_equal(matches.labels[0], [POSITIVE, NEGATIVE, NEGATIVE])
    strict = match(STAIRS[2:], ALL[:, 2:], BOX, YES, MatchConfig(0.7, 0.3, 8, 0.5))
    np.testing.assert_array_equal(strict.labels[0], [IGNORED, NEGATIVE, NEGATIVE])


def test_all_boxes_that_tie_for_the_best_are_positive():
    matches = match(tf.concat([STAIRS[3:], STAIRS[3:4]], 0), ALL[:, :3], BOX, YES, RPN)
    np.testing.assert_array_equal(matches.labels[0], [POSITIVE, NEGATIVE, POSITIVE])


def test_an_object_that_no_box_touches_makes_nothing_positive():
    matches = match(STAIRS[4:], ALL[:, :1], BOX, YES, RPN)
    np.testing.assert_array_equal(matches.labels[0], [NEGATIVE])


def test_padding_never_matches_not_even_a_box_equal_to_it():
    matches = match(tf.zeros([1, 4]), ALL[:, :1], tf.zeros([1, 2, 4]), tf.constant([[False, False]]), RPN)
    np.testing.assert_array_equal(matches.labels[0], [NEGATIVE])


def test_a_box_takes_the_object_that_overlaps_it_most():
    objects = tf.constant([[[0.0, 0, 10, 5], [0, 0, 10, 9]]])
    assert match(STAIRS[:1], ALL[:, :1], objects, tf.constant([[True, True]]), RPN).ground_truth.numpy().tolist() == [
        [1]
    ]


def test_a_box_left_out_is_ignored_and_the_best_of_the_others_is_positive():
    matches = match(STAIRS, tf.constant([[False, False, True, True, True]]), BOX, YES, RPN)
    np.testing.assert_array_equal(matches.labels[0], [IGNORED, IGNORED, POSITIVE, NEGATIVE, NEGATIVE])


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


def test_a_box_is_positive_at_the_foreground_iou_and_not_yet_negative_at_the_background_iou():
    # overlaps with [0, 0, 8, 8]: 1/2 and 1/4, exact in float32, and each a little less
    boxes = tf.constant([[0.0, 0, 8, 4], [0, 0, 8, 3.999], [0, 0, 8, 2], [0, 0, 8, 1.999]])
    config = MatchConfig(foreground_iou=0.5, background_iou=0.25, samples=8, positive_fraction=0.5)
    labels, _ = match(boxes, ALL[:, :4], tf.constant([[[0.0, 0, 8, 8]]]), YES, config)
    np.testing.assert_array_equal(labels[0], [POSITIVE, IGNORED, IGNORED, NEGATIVE])


def test_positive_negative_and_ignored_are_1_0_and_minus_1():
    assert (POSITIVE, NEGATIVE, IGNORED) == (1, 0, -1)


def test_each_image_has_boxes_and_objects_of_its_own():
    # image 0: a box on the first object, one with 0.4 of the second, its best, and one on nothing
    # image 1: a box on nothing, one with 0.2 of the only object and one with 0.5 of it, its best; then padding
    boxes = tf.constant(
        [[[0.0, 0, 10, 10], [20, 20, 30, 24], [50, 50, 60, 60]], [[0.0, 0, 1, 1], [50, 50, 60, 52], [50, 50, 60, 55]]]
    )
    objects = tf.constant([[[0.0, 0, 10, 10], [20, 20, 30, 30]], [[50.0, 50, 60, 60], [0, 0, 0, 0]]])
    present = tf.constant([[True, True], [True, False]])
    labels, ground_truth = match(boxes, tf.ones([2, 3], tf.bool), objects, present, RPN)
    np.testing.assert_array_equal(labels, [[POSITIVE, POSITIVE, NEGATIVE], [NEGATIVE, NEGATIVE, POSITIVE]])
    assert ground_truth.numpy()[labels.numpy() == POSITIVE].tolist() == [0, 1, 0]


def test_a_box_that_draws_0_is_chosen_before_one_that_is_ignored():
    labels = tf.constant([[IGNORED, POSITIVE, IGNORED, NEGATIVE]])
    samples = sample(labels, MatchConfig(0.5, 0.5, samples=2, positive_fraction=0.5), tf.zeros([1, 4]))
    assert samples.index.numpy().tolist() == [[1, 3]]


def test_an_image_without_objects_is_background_even_at_a_background_iou_of_0():
    config = MatchConfig(0.5, background_iou=0.0, samples=8, positive_fraction=0.5)
    labels, _ = match(STAIRS, ALL, BOX, tf.constant([[False]]), config)
    np.testing.assert_array_equal(labels, [[NEGATIVE] * 5])


def test_each_image_is_sampled_by_its_own_labels():
    labels = tf.constant([[POSITIVE] * 3 + [NEGATIVE] * 3, [POSITIVE] + [NEGATIVE] * 5, [POSITIVE] * 6])
    config = MatchConfig(0.5, 0.5, samples=4, positive_fraction=0.5)
    samples = sample(labels, config, tf.tile(tf.linspace(0.9, 0.1, 6)[None], [3, 1]))
    np.testing.assert_array_equal(
        samples.positive, [[True] * 2 + [False] * 2, [True] + [False] * 3, [True] * 2 + [False] * 2]
    )
    np.testing.assert_array_equal(samples.valid, [[True] * 4, [True] * 4, [True] * 2 + [False] * 2])
    np.testing.assert_array_equal(samples.index[:2], [[0, 1, 3, 4], [0, 1, 2, 3]])


def plain_match(boxes, boxes_valid, gt_boxes, gt_valid, config):
    """Label boxes by the definition, with all overlaps at once."""
    overlap = box_ops.iou(gt_boxes, boxes).numpy()
    overlap = np.where(gt_valid[..., None] & boxes_valid[:, None], overlap, np.float32(-1))
    best, best_of_gt = overlap.max(axis=1), overlap.max(axis=2, keepdims=True)
    labels = np.where(best >= config.foreground_iou, POSITIVE, np.where(best < config.background_iou, NEGATIVE, -1))
    if config.allow_low_quality:
        labels[((overlap == best_of_gt) & (best_of_gt > 0)).any(axis=1)] = POSITIVE
    return np.where(boxes_valid, labels, IGNORED), overlap.argmax(axis=1)


# corners on a grid of five lines: equal boxes, equal overlaps and empty boxes are common
CORNERS = st.lists(st.integers(0, 4), min_size=4, max_size=4)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_objects_compared_in_groups_give_the_labels_of_all_at_once_with_ties_and_padding(data):
    images, count, objects = (data.draw(st.integers(1, most)) for most in (2, 9, 9))
    grid = [
        np.array(data.draw(st.lists(CORNERS, min_size=images * n, max_size=images * n)), np.float32)
        for n in (count, objects)
    ]
    boxes, gt_boxes = (np.sort(x.reshape(images, -1, 2, 2), axis=2).reshape(images, -1, 4) for x in grid)
    bits = data.draw(st.lists(st.booleans(), min_size=images * (count + objects), max_size=images * (count + objects)))
    valid = np.array(bits).reshape(images, -1)
    arguments = boxes, valid[:, :count], gt_boxes, valid[:, count:]
    config = MatchConfig(0.5, 0.25, 8, 0.5, allow_low_quality=data.draw(st.booleans()))
    labels, ground_truth = plain_match(*arguments, config)
    for pairs in data.draw(st.sampled_from([(1, 2**22), (images * count * 2, images * count * 4)])):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(matching, "MAX_PAIRS", pairs)
            matches = match(*map(tf.constant, arguments), config)
        np.testing.assert_array_equal(matches.labels, labels)
        np.testing.assert_array_equal(matches.ground_truth, ground_truth)


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "XLA"])
def test_one_trace_for_any_number_of_objects_gives_the_labels_of_all_at_once(monkeypatch, jit_compile):
    monkeypatch.setattr(matching, "MAX_PAIRS", 200)
    signature = [
        tf.TensorSpec([None, None, 4]), tf.TensorSpec([None, None], tf.bool),
        tf.TensorSpec([None, None, 4]), tf.TensorSpec([None, None], tf.bool),
    ]  # fmt: skip
    run = tf.function(lambda *x: match(*x, RPN), input_signature=signature, jit_compile=jit_compile)
    generator = np.random.default_rng(0)
    for objects in (1, 7, 23):
        boxes, gt_boxes = (np.sort(generator.integers(0, 9, (2, n, 2, 2)), 2) for n in (20, objects))
        boxes, gt_boxes = (np.float32(x.reshape(2, -1, 4)) for x in (boxes, gt_boxes))
        arguments = boxes, generator.random((2, 20)) < 0.9, gt_boxes, generator.random((2, objects)) < 0.9
        labels, ground_truth = plain_match(*arguments, RPN)
        matches = run(*map(tf.constant, arguments))
        np.testing.assert_array_equal(matches.labels, labels)
        np.testing.assert_array_equal(matches.ground_truth, ground_truth)


@pytest.mark.parametrize(
    ("pairs", "objects", "groups"),
    [
        # 2 images of 3 boxes: 1 object at once, 2 from 2 x 3 + 1 pairs on, 3 from twice as many on
        (6, 4, [1, 1, 1, 1]),
        (7, 3, [2, 2]),
        (7, 0, []),
        (14, 2, [2]),
        (14, 5, [3, 3]),
        (14, 6, [2, 2, 2]),
        (20, 7, [3, 3, 3]),
    ],
)
def test_objects_are_compared_in_groups_of_equal_size(monkeypatch, pairs, objects, groups):
    compared = []

    def iou(group, boxes):
        compared.append(group.shape[1])
        return box_ops.iou(group, boxes)

    monkeypatch.setattr(matching, "box_ops", SimpleNamespace(iou=iou))
    monkeypatch.setattr(matching, "MAX_PAIRS", pairs)
    match(STAIRS[:3], tf.ones([2, 3], tf.bool), tf.zeros([2, objects, 4]), tf.zeros([2, objects], tf.bool), RPN)
    assert compared == groups


def peak_mb(restart=False):
    """Return the peak of resident memory, from now on if `restart`."""
    if restart:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads the peak of memory from Linux's /proc")
def test_memory_does_not_grow_with_the_objects_of_an_image(monkeypatch):
    monkeypatch.setattr(matching, "MAX_PAIRS", 2**20)  # 4 MB per float32 tensor
    corner = np.random.default_rng(0).uniform(0, 700, (50_000, 2))
    boxes = tf.constant(np.concatenate([corner, corner + 50], -1), tf.float32)
    run = tf.function(lambda objects: match(boxes, tf.ones([1, 50_000], tf.bool), objects, objects[..., 0] >= 0, RPN))
    before = peak_mb(restart=True)
    run(boxes[None, :400])
    assert peak_mb() - before < 150  # 500 MB if all are compared at once
