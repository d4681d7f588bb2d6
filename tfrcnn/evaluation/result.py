"""The result of an evaluation, the same type for every metric.

Legend: K points of a precision-recall curve. All numbers are fractions in [0, 1]. A number is None, `null` in JSON, if
there is no object to define it by.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfrcnn.config import Category


@dataclass(frozen=True, eq=False)
class Curve:
    """Precision against recall of one class, in ascending order of recall.

    Attributes:
        recall: [K] share of the objects that are detected.
        precision: [K] share of the detections that are correct.
        score: [K] lowest score of the detections that give this point; 0 if the recall is not reached.
    """

    recall: np.ndarray
    precision: np.ndarray
    score: np.ndarray


@dataclass(frozen=True, eq=False)
class ClassResult:
    """The result for one class.

    Attributes:
        category: the class.
        metrics: number by name. All classes of an evaluation have the same names, "AP" among them.
        ground_truth: number of objects, without those that the metric ignores.
        detections: number of detections of this class, at any score.
        curve: precision and recall at `Evaluation.iou_threshold`; None for a class without ground truth.
    """

    category: Category
    metrics: dict[str, float | None]
    ground_truth: int
    detections: int
    curve: Curve | None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The result for a whole data set.

    Attributes:
        metric: "coco", "voc" or "voc07".
        iou_threshold: lowest IoU of a correct detection in the curves, and in all numbers of a VOC metric.
        headline: number by name, in the usual order of the metric. Compare models by the first.
        per_class: one result per class, by label.
        counts: number of "images", "ground_truth" objects, "ignored" objects (crowd or difficult), "detections".
        limits: the limits that were applied, see `tfrcnn.evaluation.limits.applied`.

    Example:
        evaluation = tfrcnn.evaluate(dataset, detections, "voc")
        evaluation.headline["mAP"], evaluation.per_class[0].metrics["AP"]
    """

    metric: str
    iou_threshold: float
    headline: dict[str, float | None]
    per_class: tuple[ClassResult, ...]
    counts: dict[str, int]
    limits: dict[str, Any] = field(default_factory=dict)

    @property
    def primary(self) -> float | None:
        """The first headline number; training keeps the epoch with the highest one."""
        return next(iter(self.headline.values()))

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values. The points of curves are rounded to six decimals."""
        return {
            "metric": self.metric,
            "iou_threshold": self.iou_threshold,
            "headline": dict(self.headline),
            "counts": dict(self.counts),
            **({"limits": dict(self.limits)} if self.limits else {}),
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
