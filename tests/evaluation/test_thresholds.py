"""Thresholds, calibration and groups of objects, on outcomes that can be counted by hand."""

import numpy as np
import pytest

from tfrcnn.evaluation.calibration import calibration
from tfrcnn.evaluation.groups import GROUPS, group_numbers
from tfrcnn.evaluation.outcomes import outcomes_of
from tfrcnn.evaluation.thresholds import Thresholds, class_thresholds, pooled_thresholds


def test_the_best_threshold_keeps_the_detections_that_it_counts():
    thresholds = Thresholds(4, np.array([0.9, 0.8, 0.5, 0.3]), np.array([1, 2, 2, 3]), np.array([1, 2, 4, 10]))
    best = thresholds.best()
    assert best.threshold == 0.65
    assert best[1:] == pytest.approx((1.0, 0.5, 2 / 3))
    assert thresholds.at_precision(0.9).threshold == 0.65
    assert thresholds.at_precision(0.5).recall == 0.5
    assert thresholds.at_recall(0.6)[1:3] == (0.3, 0.75)
    assert thresholds.at_recall(0.9) is None


def test_a_class_without_objects_or_without_a_correct_detection_has_no_threshold():
    assert Thresholds(0, np.array([0.9]), np.array([0]), np.array([1])).best() is None
    assert Thresholds(2, np.array([0.9]), np.array([0]), np.array([1])).best() is None
    assert Thresholds(2, np.zeros(0), np.zeros(0, int), np.zeros(0, int)).best() is None


@pytest.mark.parametrize("gap", [0.3, 1e-3, 1e-7, 0.0])
def test_a_threshold_divides_two_scores_in_float32(gap):
    high = np.float32(0.7)
    low = min(np.float32(0.7 - gap), np.nextafter(high, np.float32(0)))
    threshold = Thresholds(1, np.array([high, low], np.float64), np.array([1, 1]), np.array([1, 2])).best().threshold
    assert high > np.float32(threshold) >= low


def test_every_threshold_gives_the_precision_and_recall_that_it_says(random_pairs):
    for seed in range(20):
        outcomes = outcomes_of(*random_pairs(seed, difficult=True))
        for label, thresholds in enumerate(class_thresholds(outcomes)):
            for point in (thresholds.best(), thresholds.at_precision(0.6), thresholds.at_recall(0.5)):
                if point is None:
                    continue
                kept = (outcomes.labels == label) & (outcomes.scores > point.threshold) & ~outcomes.ignored
                assert outcomes.correct[kept].mean() == pytest.approx(point.precision)
                assert outcomes.correct[kept].sum() / thresholds.objects == pytest.approx(point.recall)


def test_a_curve_is_of_scores_above_the_threshold():
    curve = Thresholds(2, np.array([1.0, 0.5]), np.array([1, 1]), np.array([1, 2])).curve()
    assert curve["precision"][49] == 0.5
    assert curve["precision"][50] == 1.0
    assert curve["precision"][100] is None
    assert curve["recall"][0] == 0.5


def test_all_classes_together_count_every_object(golden):
    outcomes = outcomes_of(*golden)
    pooled = pooled_thresholds(outcomes)
    assert pooled.objects == np.sum(~outcomes.objects.ignored)
    assert pooled.correct[-1] == outcomes.correct.sum()


def test_calibration_is_the_gap_between_score_and_precision(random_pairs):
    outcomes = outcomes_of(*random_pairs(3))
    result = calibration(outcomes)
    counted = [row for row in result["bins"] if row["count"]]
    assert sum(row["count"] for row in counted) == np.sum(~outcomes.ignored)
    expected = sum(row["count"] * abs(row["precision"] - row["score"]) for row in counted)
    assert result["ece"] == pytest.approx(expected / np.sum(~outcomes.ignored), abs=1e-3)
    assert result["per_class"][-1] is None or 0 <= result["per_class"][-1] <= 1


def test_groups_divide_the_objects_and_their_recall_is_that_of_the_matches(random_pairs):
    outcomes = outcomes_of(*random_pairs(5, difficult=True))
    result = group_numbers(outcomes)
    assert list(result) == list(GROUPS)
    objects = outcomes.objects
    for rows in result.values():
        assert sum(row["objects"] for row in rows) == np.sum(~objects.ignored)
        detected = sum(row["recall"] * row["objects"] for row in rows if row["objects"])
        assert detected == pytest.approx(np.sum(objects.matches[~objects.ignored] >= 0))
    assert {row["ap"] is None for rows in result.values() for row in rows if not row["objects"]} <= {True}


def test_a_threshold_is_not_below_the_detectors_own():
    scores, correct, total = np.array([0.9, 0.08, 0.06]), np.array([1, 2, 3]), np.array([1, 2, 3])
    assert Thresholds(3, scores, correct, total, floor=0.05).best().threshold >= 0.05
    assert Thresholds(3, scores, correct, total, floor=0.05).at_recall(1.0).threshold < 0.06
