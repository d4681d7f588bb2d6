"""One door to all metrics, by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from tfrcnn.data.example import Dataset, ImageDetections
from tfrcnn.errors import InputError
from tfrcnn.evaluation.coco import evaluate_coco
from tfrcnn.evaluation.result import Evaluation
from tfrcnn.evaluation.voc import evaluate_voc

Metric = Literal["coco", "voc", "voc07"]
METRICS: tuple[Metric, ...] = get_args(Metric)


def evaluate(dataset: Dataset, detections: Sequence[ImageDetections], metric: Metric = "coco") -> Evaluation:
    """Judge detections of a data set.

    Args:
        metric: "coco" (pycocotools' twelve numbers), "voc" (area under the curve) or "voc07" (11 points), at IoU 0.5.

    Raises:
        InputError: an unknown metric; detections of unknown images or labels, or that are not numbers.
    """
    if metric not in METRICS:
        raise InputError(f"metric must be one of {', '.join(METRICS)}, found {metric!r}")
    if metric == "coco":
        return evaluate_coco(dataset, detections)
    return evaluate_voc(dataset, detections, metric=metric)
