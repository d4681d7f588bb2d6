"""What an evaluation says, in one form for every metric.

Legend: K points of a precision-recall curve. All numbers are fractions in [0, 1]; None where a number is not
defined (no object to be found), which is `null` in JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfrcnn.config import Category


@dataclass(frozen=True, eq=False)
class Curve:
    """Precision against recall of one class, recall ascending.

    Attributes:
        recall: [K] share of the objects that are found.
        precision: [K] share of the detections that are right.
        score: [K] the lowest score among the detections that give this point; 0 where the recall is not reached.
    """

    recall: np.ndarray
    precision: np.ndarray
    score: np.ndarray


@dataclass(frozen=True, eq=False)
class ClassResult:
    """One class.

    Attributes:
        category: whose row this is.
        metrics: number by name, the same names for each class of an evaluation; "AP" is always among them.
        ground_truth: objects to be found, without those that the metric ignores.
        detections: of this class, at any score.
        curve: at `Evaluation.iou_threshold`; None for a class without ground truth.
    """

    category: Category
    metrics: dict[str, float | None]
    ground_truth: int
    detections: int
    curve: Curve | None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Detections of a whole data set, judged.

    Attributes:
        metric: "coco", "voc" or "voc07".
        iou_threshold: from which a box counts as found in the curves (and in all of a VOC metric).
        headline: number by name, in the order in which the metric is reported; the first is the one to compare
            models by.
        per_class: position = label.
        counts: "images", "ground_truth" (to be found), "ignored" (crowd, or difficult), "detections".
    """

    metric: str
    iou_threshold: float
    headline: dict[str, float | None]
    per_class: tuple[ClassResult, ...]
    counts: dict[str, int]

    @property
    def primary(self) -> float | None:
        """The first of the headline numbers, by which the best checkpoint is chosen."""
        return next(iter(self.headline.values()))

    def to_dict(self) -> dict[str, Any]:
        """The evaluation as JSON values; the points of curves are rounded to six decimals."""
        return {
            "metric": self.metric,
            "iou_threshold": self.iou_threshold,
            "headline": dict(self.headline),
            "counts": dict(self.counts),
            "per_class": [_class_to_dict(row) for row in self.per_class],
        }


def _class_to_dict(row: ClassResult) -> dict[str, Any]:
    curve = None
    if row.curve is not None:
        points = {"recall": row.curve.recall, "precision": row.curve.precision, "score": row.curve.score}
        curve = {name: np.round(values.astype(np.float64), 6).tolist() for name, values in points.items()}
    return {
        "category_id": row.category.id,
        "name": row.category.name,
        **row.metrics,
        "ground_truth": row.ground_truth,
        "detections": row.detections,
        "curve": curve,
    }
