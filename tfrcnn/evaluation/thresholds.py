"""Precision, recall and F1 against the confidence threshold, and the thresholds to choose.

A detection counts if its score is above the threshold, as in a detector.

Legend: N detections of a class, K distinct scores of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tfrcnn.evaluation.outcomes import Outcomes

GRID = np.arange(101) / 100  # thresholds of a curve


class Point(NamedTuple):
    """A threshold and what it gives.

    Attributes:
        threshold: detections of higher scores count.
        precision: share of the detections that are correct.
        recall: share of the objects that are detected.
        f1: harmonic mean of both.
    """

    threshold: float
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, eq=False)
class Thresholds:
    """Precision and recall at every threshold that makes a difference.

    Attributes:
        objects: number of objects.
        scores: [K] distinct scores, descending.
        correct: [K] correct detections of this score or more.
        total: [K] detections of this score or more.
        floor: the detector's own threshold. Lower ones would return detections that were not measured.
    """

    objects: int
    scores: np.ndarray
    correct: np.ndarray
    total: np.ndarray
    floor: float = 0.0

    @property
    def precision(self) -> np.ndarray:
        """[K] share of the detections that are correct."""
        precision: np.ndarray = self.correct / self.total
        return precision

    @property
    def recall(self) -> np.ndarray:
        """[K] share of the objects that are detected; 0 without objects."""
        recall: np.ndarray = self.correct / max(self.objects, 1)
        return recall

    @property
    def f1(self) -> np.ndarray:
        """[K] harmonic mean of precision and recall."""
        f1: np.ndarray = 2 * self.correct / (self.total + self.objects)
        return f1

    def best(self) -> Point | None:
        """Return the point of the highest F1; None if no detection is correct."""
        return self._highest(self.f1, self.correct > 0)

    def at_precision(self, precision: float) -> Point | None:
        """Return the point of the highest recall with at least this precision; None if no threshold reaches it."""
        return self._highest(self.recall, self.precision >= precision)

    def at_recall(self, recall: float) -> Point | None:
        """Return the point of the highest precision with at least this recall; None if no threshold reaches it."""
        return self._highest(self.precision, self.recall >= recall)

    def curve(self) -> dict[str, list[float | None]]:
        """Return "precision", "recall" and "f1" at the thresholds 0, 0.01, ... 1; None for no detections."""
        kept = np.searchsorted(-self.scores, -GRID)  # scores above the threshold
        correct, total = (np.append(0, values)[kept] for values in (self.correct, self.total))
        precision = np.divide(correct, total, out=np.full(len(GRID), np.nan), where=total > 0)
        recall = correct / max(self.objects, 1)
        f1 = 2 * correct / np.maximum(total + self.objects, 1)
        return {
            "precision": [None if np.isnan(value) else round(value, 4) for value in precision.tolist()],
            "recall": np.round(recall, 4).tolist(),
            "f1": np.round(f1, 4).tolist(),
        }

    def precision_at_recall(self) -> list[float]:
        """Return the highest precision at the recalls 0, 0.01, ... 1 or more; 0 for those that are not reached."""
        ceiling = np.append(np.maximum.accumulate(self.precision[::-1])[::-1], 0.0)
        values: list[float] = np.round(ceiling[np.searchsorted(self.recall, GRID)], 4).tolist()
        return values

    def _highest(self, values: np.ndarray, allowed: np.ndarray) -> Point | None:
        if not self.objects or not allowed.any():
            return None
        place = int(np.where(allowed, values, -1.0).argmax())  # of equal ones the highest threshold
        numbers = (self.precision[place], self.recall[place], self.f1[place])
        return Point(_below(self.scores, place, self.floor), *map(float, numbers))


def class_thresholds(outcomes: Outcomes, floor: float | Sequence[float] = 0.0) -> list[Thresholds]:
    """Compute the thresholds of each class, by label.

    Args:
        outcomes: of all detections.
        floor: see `Thresholds`; one for all classes, or one per class.

    Example:
        for thresholds in class_thresholds(outcomes_of(dataset, detections)):
            print(thresholds.best(), thresholds.at_precision(0.95))
    """
    counted = np.bincount(outcomes.objects.labels[~outcomes.objects.ignored], minlength=outcomes.num_classes)
    order = np.lexsort((-outcomes.scores, outcomes.labels))
    order = order[~outcomes.ignored[order]]
    ends = np.searchsorted(outcomes.labels[order], np.arange(outcomes.num_classes + 1))
    floors = np.broadcast_to(floor, outcomes.num_classes).tolist()
    return [
        _thresholds(outcomes.scores[order[start:end]], outcomes.correct[order[start:end]], count, lowest)
        for start, end, count, lowest in zip(ends, ends[1:], counted.tolist(), floors)
    ]


def pooled_thresholds(outcomes: Outcomes, floor: float = 0.0) -> Thresholds:
    """Compute the thresholds of all classes together: one threshold for every class; see `class_thresholds`."""
    order = np.argsort(-outcomes.scores, kind="stable")
    order = order[~outcomes.ignored[order]]
    return _thresholds(outcomes.scores[order], outcomes.correct[order], int(np.sum(~outcomes.objects.ignored)), floor)


def point_numbers(point: Point | None) -> dict[str, Any] | None:
    """Convert a point to JSON values; the threshold keeps its digits, because it is to be used."""
    if point is None:
        return None
    return {name: value if name == "threshold" else round(value, 4) for name, value in point._asdict().items()}


def _thresholds(scores: np.ndarray, correct: np.ndarray, objects: int, floor: float) -> Thresholds:
    last = np.flatnonzero(np.diff(scores, append=-np.inf))  # equal scores are above a threshold together
    return Thresholds(objects, scores[last], np.cumsum(correct)[last], last + 1, floor)


def _below(scores: np.ndarray, place: int, floor: float) -> float:
    """Return a threshold between a score and the next lower one, that float32 keeps apart from both.

    It has as few decimals as the gap allows.
    """
    score = float(scores[place])
    lower = float(scores[place + 1]) if place + 1 < len(scores) else min(floor, score)
    middle = (score + lower) / 2
    for decimals in range(2, 8):
        rounded = round(middle, decimals)
        if lower <= float(np.float32(rounded)) < score and lower <= rounded < score:
            return rounded
    return min(lower, score)
