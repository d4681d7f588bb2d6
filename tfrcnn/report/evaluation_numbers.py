"""The numbers of a report on an evaluation, as JSON values.

Legend: N detections, M objects, E images, C classes.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from tfrcnn.data.example import Dataset, ImageDetections
from tfrcnn.evaluation.calibration import calibration
from tfrcnn.evaluation.confusion import confusion_matrix
from tfrcnn.evaluation.groups import group_numbers
from tfrcnn.evaluation.outcomes import ERRORS, IOU, MEANING, Outcomes, outcomes_of
from tfrcnn.evaluation.result import Evaluation
from tfrcnn.evaluation.thresholds import Thresholds, class_thresholds, point_numbers, pooled_thresholds
from tfrcnn.evaluation.tide import ErrorCosts, error_costs

MAX_IMAGES, MAX_CONFUSIONS = 100, 50  # in the lists of worst images and of confusions


@dataclass(frozen=True, eq=False)
class Judged:
    """The detections of one detector and what came of them.

    Attributes:
        name: of the detector.
        dataset: images with ground truth.
        detections: at most one entry per image.
        max_detections: the detections per image that take part.
        floor: the detector's own score threshold.
        class_floors: its own thresholds of single classes, by name.
    """

    name: str
    dataset: Dataset
    detections: Sequence[ImageDetections]
    max_detections: int
    floor: float = 0.0
    class_floors: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def outcomes(self) -> Outcomes:
        """The outcome of each detection and object."""
        return outcomes_of(self.dataset, self.detections, max_detections=self.max_detections)

    @cached_property
    def costs(self) -> ErrorCosts:
        """What each type of error costs."""
        return error_costs(self.outcomes)

    @cached_property
    def pooled(self) -> Thresholds:
        """The thresholds of all classes together."""
        return pooled_thresholds(self.outcomes, self.floor)

    @cached_property
    def per_class(self) -> list[Thresholds]:
        """The thresholds of each class."""
        floors = [self.class_floors.get(category.name, self.floor) for category in self.dataset.categories]
        return class_thresholds(self.outcomes, floors)

    @cached_property
    def common_threshold(self) -> float:
        """The threshold of the highest F1 over all classes; 0.5 if no detection is correct."""
        best = self.pooled.best()
        return 0.5 if best is None else best.threshold

    @cached_property
    def thresholds(self) -> np.ndarray:
        """[C], the threshold of the highest F1 of each class; the common one if none of its detections is correct."""
        points = [thresholds.best() for thresholds in self.per_class]
        return np.array([self.common_threshold if point is None else point.threshold for point in points])

    @cached_property
    def kept(self) -> np.ndarray:
        """[N] bool, the detections above the threshold of their class that count."""
        above: np.ndarray = self.outcomes.scores > np.append(self.thresholds, 0.0)[self.outcomes.labels]
        kept: np.ndarray = above & ~self.outcomes.ignored
        return kept

    @cached_property
    def false(self) -> np.ndarray:
        """[N] bool, the kept detections that are wrong."""
        false: np.ndarray = self.kept & ~self.outcomes.correct
        return false

    @cached_property
    def undetected(self) -> np.ndarray:
        """[M] bool, the objects without a correct detection above the threshold."""
        objects = self.outcomes.objects
        detected: np.ndarray = np.append(self.kept, False)[objects.matches]
        undetected: np.ndarray = ~objects.ignored & ~detected
        return undetected

    @cached_property
    def image_errors(self) -> np.ndarray:
        """[E, 2], false detections and undetected objects of each image."""
        size = self.outcomes.num_images
        false = np.bincount(self.outcomes.images[self.false], minlength=size)
        return np.stack([false, np.bincount(self.outcomes.objects.images[self.undetected], minlength=size)], axis=1)

    @cached_property
    def worst_images(self) -> np.ndarray:
        """Positions of the images with errors, most errors first, then the highest scores of false detections."""
        scores = np.bincount(
            self.outcomes.images[self.false], self.outcomes.scores[self.false], self.outcomes.num_images
        )
        order = np.lexsort((-scores, -self.image_errors.sum(axis=1)))
        worst: np.ndarray = order[self.image_errors[order].sum(axis=1) > 0]
        return worst


def report_numbers(judged: Judged, evaluation: Evaluation, min_precision: float, min_recall: float) -> dict[str, Any]:
    """Compute the numbers of the page.

    Args:
        judged: the detections.
        evaluation: of the same detections.
        min_precision: for which each class gets a threshold.
        min_recall: for which each class gets a threshold.
    """
    names = [category.name for category in judged.dataset.categories]
    return {
        "source": judged.dataset.source,
        "detector": judged.name,
        "iou": IOU,
        "min_precision": min_precision,
        "min_recall": min_recall,
        "metric": evaluation.metric,
        "headline": dict(evaluation.headline),
        "counts": dict(evaluation.counts),
        "errors": error_numbers(judged.costs),
        "all_classes": {
            **_points(judged.pooled, min_precision, min_recall),
            "curve": judged.pooled.curve(),
            "precision_at_recall": judged.pooled.precision_at_recall(),
        },
        "classes": _class_numbers(judged, evaluation, min_precision, min_recall),
        "common_score_threshold": judged.common_threshold,
        "score_threshold": {name: float(threshold) for name, threshold in zip(names, judged.thresholds)},
        "predict_option": _option(names, judged.thresholds),
        "confusions": _confusions(judged, names),
        "calibration": calibration(judged.outcomes),
        "groups": group_numbers(judged.outcomes),
        "worst_images": [
            {
                "image": str(judged.dataset.examples[number].path),
                "false_detections": int(judged.image_errors[number, 0]),
                "undetected_objects": int(judged.image_errors[number, 1]),
            }
            for number in judged.worst_images[:MAX_IMAGES].tolist()
        ],
    }


def error_numbers(costs: ErrorCosts) -> dict[str, Any]:
    """Convert TIDE's numbers to JSON values."""
    return {
        "ap": costs.ap,
        "types": {
            name: {"meaning": MEANING[name], "count": costs.counts[name], "cost": costs.costs[name]} for name in ERRORS
        },
        "false_positives_cost": costs.false_positives,
        "false_negatives_cost": costs.false_negatives,
    }


def _class_numbers(
    judged: Judged, evaluation: Evaluation, min_precision: float, min_recall: float
) -> list[dict[str, Any]]:
    outcomes, size = judged.outcomes, judged.outcomes.num_classes
    counted = ~outcomes.ignored
    errors = {
        name: np.bincount(outcomes.labels[counted & (outcomes.kinds == code)], minlength=size)
        for code, name in enumerate(ERRORS)
    }
    errors["miss"] = np.bincount(outcomes.objects.labels[outcomes.objects.missed], minlength=size)
    gaps = calibration(outcomes)["per_class"]
    return [
        {
            "name": row.category.name,
            "category_id": row.category.id,
            "objects": thresholds.objects,
            "detections": row.detections,
            **row.metrics,
            **_points(thresholds, min_precision, min_recall),
            "ece": gaps[label],
            "errors": {name: int(counts[label]) for name, counts in errors.items()},
            "curve": thresholds.curve(),
            "precision_at_recall": thresholds.precision_at_recall(),
        }
        for label, (row, thresholds) in enumerate(zip(evaluation.per_class, judged.per_class))
    ]


def _points(thresholds: Thresholds, min_precision: float, min_recall: float) -> dict[str, Any]:
    return {
        "best_f1": point_numbers(thresholds.best()),
        "at_precision": point_numbers(thresholds.at_precision(min_precision)),
        "at_recall": point_numbers(thresholds.at_recall(min_recall)),
    }


def _option(names: Sequence[str], thresholds: np.ndarray) -> str:
    """Write the thresholds as an option of `tfrcnn predict`, for a shell."""
    text = ",".join(f"{name}={threshold:.9g}" for name, threshold in zip(names, thresholds.tolist()))
    return f"--score-threshold {shlex.quote(text)}"


def _confusions(judged: Judged, names: Sequence[str]) -> dict[str, Any]:
    """Return the confusion matrix, and its most frequent confusions; the last row and column are the background."""
    matrix = confusion_matrix(judged.dataset, judged.detections, IOU, judged.common_threshold)
    off = np.array(matrix[:-1, :-1])
    np.fill_diagonal(off, 0)
    rows, columns = np.nonzero(off)
    order = np.argsort(-off[rows, columns], kind="stable")[:MAX_CONFUSIONS]
    return {
        "score_threshold": judged.common_threshold,
        "matrix": matrix.tolist(),
        "most_frequent": [
            {"object": names[row], "detected_as": names[column], "count": int(off[row, column])}
            for row, column in zip(rows[order].tolist(), columns[order].tolist())
        ],
    }
