"""Evaluates detections by the name of a metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from tfrcnn.config import DetectionConfig
from tfrcnn.data.example import Dataset, ImageDetections
from tfrcnn.errors import InputError, check_type
from tfrcnn.evaluation.coco import Engine, evaluate_coco
from tfrcnn.evaluation.limits import applied, per_class_limit
from tfrcnn.evaluation.result import Evaluation
from tfrcnn.evaluation.voc import evaluate_voc

Metric = Literal["coco", "voc", "voc07"]
METRICS: tuple[Metric, ...] = get_args(Metric)


def check_metric(metric: str) -> None:
    """Raise InputError for a metric that is not in `METRICS`."""
    if metric not in METRICS:
        raise InputError(f"metric must be one of {', '.join(METRICS)}, found {metric!r}")


def counted_objects(dataset: Dataset, metric: str) -> Dataset:
    """Return a data set whose difficult objects count as in a metric: COCO counts them, VOC ignores them.

    Args:
        dataset: images with ground truth.
        metric: of `METRICS`.

    Returns:
        The data set, for "coco" without the marks of difficult objects.

    Example:
        counted_objects(dataset, "coco")
    """
    check_metric(metric)
    if metric != "coco":
        return dataset
    return replace(dataset, examples=tuple(replace(e, difficult=np.zeros_like(e.difficult)) for e in dataset.examples))


def evaluate(
    dataset: Dataset,
    detections: Sequence[ImageDetections],
    metric: Metric = "coco",
    limits: DetectionConfig | None = None,
    engine: Engine = "pycocotools",
) -> Evaluation:
    """Compare detections with the ground truth of a data set.

    Args:
        dataset: images with ground truth.
        detections: at most one entry per image, in any order. An image without an entry has no detections.
        metric: "coco" for pycocotools' twelve numbers, "voc" for the area under the precision-recall curve at
            IoU 0.5, "voc07" for its mean at 11 recalls.
        limits: of the detector, `detector.config.detections`. The COCO metric judges 100 detections per image and
            class, or all that the detector returns if these are more. The result lists the limits.
        engine: of the COCO metric; "faster-coco-eval" computes the same numbers in less time, if it is installed.

    Returns:
        The numbers of the metric, overall and per class.

    Raises:
        InputError: the metric, an image or a label is unknown, or a box or score is not a finite number.

    Example:
        detections = predictor.detect_dataset(dataset)
        tfrcnn.evaluate(dataset, detections).headline["AP50"]
    """
    check_metric(metric)
    if limits is not None:
        check_type(limits, DetectionConfig, "limits", "detector.config.detections")
    if metric == "coco":
        evaluation = evaluate_coco(dataset, detections, per_class_limit(limits), engine)
    else:
        if engine != "pycocotools":
            raise InputError(f"engine: {engine} computes the COCO metric only, found the metric {metric!r}")
        evaluation = evaluate_voc(dataset, detections, metric=metric)
    return replace(evaluation, limits=applied(dataset, metric, limits))
