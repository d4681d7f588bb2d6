"""The Pascal VOC metric, as the development kit defines it (VOCevaldet.m of VOC2007 and VOC2012).

Coordinates. The devkit's boxes are 1-based and inclusive, and its sides are xmax - xmin + 1. Ours are continuous:
x1 = xmin - 1, x2 = xmax. Both have the same widths,

    xmax - xmin + 1 = x2 - (x1 + 1) + 1 = x2 - x1,

and the same intersections, min(xmax, xmax') - max(xmin, xmin') + 1 = min(x2, x2') - max(x1, x1'); so the plain
continuous IoU here is the devkit's IoU on our boxes written as its text files have them, [x1 + 1, y1 + 1, x2, y2].

Legend: N detections, M objects (of one image, or of one class where said).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from tfrcnn.config import Category
from tfrcnn.data.example import Dataset, ImageDetections
from tfrcnn.errors import InputError
from tfrcnn.evaluation.inputs import align, pairwise_iou
from tfrcnn.evaluation.result import ClassResult, Curve, Evaluation

VOCMetric = Literal["voc", "voc07"]


def evaluate_voc(
    dataset: Dataset,
    detections: Sequence[ImageDetections],
    iou_threshold: float = 0.5,
    metric: VOCMetric = "voc",
) -> Evaluation:
    """Mean average precision as Pascal VOC counts it.

    A detection goes to the object of its image and class with which its IoU is largest; it is right if that IoU is
    at least `iou_threshold` and no detection with a higher score took the object before. A detection that goes to
    a difficult object, or to a crowd region, is neither right nor wrong, and such objects are not to be found.

    Args:
        detections: at most one entry for each image, in any order; images without one have no detections.
        iou_threshold: in (0, 1].
        metric: "voc" is the area under the curve (VOC 2010 and later); "voc07" the mean precision at the eleven
            recalls 0, 0.1, ... 1.

    Returns:
        `headline` has mAP, the mean over the classes that have objects to be found; each class has AP and recall
        (over all its detections); curves are the devkit's, one point for each detection that counts.

    Raises:
        InputError: an argument is out of range, or the detections do not fit the data set (see
            `tfrcnn.evaluation.inputs.align`).
    """
    if metric not in ("voc", "voc07"):
        raise InputError(f"metric must be 'voc' or 'voc07', found {metric!r}")
    if not 0 < iou_threshold <= 1:
        raise InputError(f"iou_threshold must be in (0, 1], found {iou_threshold!r}")
    found = align(dataset, detections)
    labels = _joined([image.labels for image in found], np.int64)
    scores = _joined([image.scores for image in found], np.float64)
    object_labels = _joined([example.labels for example in dataset.examples], np.int64)
    ignored = _joined([example.difficult | example.crowd for example in dataset.examples], bool)
    wanted = np.bincount(object_labels[~ignored], minlength=len(dataset.categories))
    ious, objects = _nearest_objects(dataset, found)
    objects = np.where(ious >= iou_threshold, objects, -1)
    rows = tuple(
        _class_result(category, scores[labels == label], objects[labels == label], ignored, int(wanted[label]), metric)
        for label, category in enumerate(dataset.categories)
    )
    defined = [row.metrics["AP"] for row in rows if row.metrics["AP"] is not None]
    return Evaluation(
        metric=metric,
        iou_threshold=iou_threshold,
        headline={"mAP": float(np.mean(defined)) if defined else None},
        per_class=rows,
        counts={
            "images": len(dataset),
            "ground_truth": int(np.sum(~ignored)),
            "ignored": int(np.sum(ignored)),
            "detections": len(labels),
        },
    )


def average_precision(recall: np.ndarray, precision: np.ndarray, metric: VOCMetric) -> float:
    """AP of a curve whose points are in the order of descending scores.

    With p(r) = max of the precision at recalls >= r, 0 where there is none: "voc" is the integral of p over [0, 1],
    "voc07" the mean of p(0), p(0.1), ... p(1) (VOCevaldet.m, VOCap.m).

    Args:
        recall, precision: [K] in [0, 1], recall ascending.
    """
    ceiling = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    if metric == "voc07":
        # k / 10 is the double next to k tenths, as recall is to tp / npos: a recall of exactly 3/10 counts at 0.3,
        # which steps of 0.1 (0.30000000000000004) would miss.
        thresholds = np.arange(11) / 10
        return float(ceiling[np.searchsorted(recall, thresholds, side="left")].mean())
    return float(np.sum(np.diff(recall, prepend=0.0) * ceiling[:-1]))


def _joined(parts: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype)


def _nearest_objects(dataset: Dataset, found: Sequence[ImageDetections]) -> tuple[np.ndarray, np.ndarray]:
    """For each detection of the data set: its largest IoU with an object of its class, and that object's number."""
    ious, objects, first = [], [], 0
    for example, image in zip(dataset.examples, found):
        if len(example.boxes) and len(image.boxes):
            iou = pairwise_iou(image.boxes, example.boxes)
            iou = np.where(image.labels[:, None] == example.labels[None, :], iou, -1.0)
            ious.append(iou.max(axis=1))
            objects.append(first + iou.argmax(axis=1))
        else:
            ious.append(np.full(len(image.boxes), -1.0))
            objects.append(np.full(len(image.boxes), -1))
        first += len(example.boxes)
    return _joined(ious, np.float64), _joined(objects, np.int64)


def _class_result(
    category: Category, scores: np.ndarray, objects: np.ndarray, ignored: np.ndarray, wanted: int, metric: VOCMetric
) -> ClassResult:
    """One class, from its N scores and the objects [N] its detections go to (-1: none); `ignored` is by object."""
    order = np.argsort(-scores, kind="stable")
    ranked = objects[order]
    # Which object a detection goes to does not depend on the others, so the devkit's loop over detections comes
    # down to: the first of those that go to an object has it, the others are duplicates.
    right = np.zeros(len(ranked), bool)
    right[np.unique(ranked, return_index=True)[1]] = True
    right &= ranked >= 0
    counts = ~np.append(ignored, False)[ranked]  # -1 reads the appended entry: a detection of nothing counts
    right, ranked_scores = right[counts], scores[order][counts]
    if wanted == 0:
        return ClassResult(category, {"AP": None, "recall": None}, 0, len(scores), None)
    true_positives = np.cumsum(right)
    recall, precision = true_positives / wanted, true_positives / np.arange(1, len(right) + 1)
    metrics: dict[str, float | None] = {
        "AP": average_precision(recall, precision, metric),
        "recall": float(recall[-1]) if len(recall) else 0.0,
    }
    return ClassResult(category, metrics, wanted, len(scores), Curve(recall, precision, ranked_scores))
