"""The Pascal VOC metric, as the development kit defines it (VOCevaldet.m of VOC2007 and VOC2012).

The devkit's boxes are 1-based and inclusive, and its sides are xmax - xmin + 1. Ours are continuous: x1 = xmin - 1,
x2 = xmax. Both have the same widths,

    xmax - xmin + 1 = x2 - (x1 + 1) + 1 = x2 - x1,

and the same intersections, min(xmax, xmax') - max(xmin, xmin') + 1 = min(x2, x2') - max(x1, x1'). So the continuous IoU
here equals the devkit's IoU of the same boxes in its text files, [x1 + 1, y1 + 1, x2, y2].

Legend: N detections, M objects, K points of a curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from tfrcnn.config import Category
from tfrcnn.data.example import Dataset, ImageDetections
from tfrcnn.data.example_table import column_of, objects_of
from tfrcnn.errors import InputError
from tfrcnn.evaluation.inputs import align, joined
from tfrcnn.evaluation.result import ClassResult, Curve, Evaluation
from tfrcnn.overlap import pairwise_iou

VOCMetric = Literal["voc", "voc07"]
_MAX_PAIRS = 1 << 22  # of detections and objects at once; 8 bytes each, in a few arrays


def evaluate_voc(
    dataset: Dataset,
    detections: Sequence[ImageDetections],
    iou_threshold: float = 0.5,
    metric: VOCMetric = "voc",
) -> Evaluation:
    """Compute mean average precision as Pascal VOC does.

    A detection matches the object of its image and class that it overlaps most. It is correct if this IoU is at least
    `iou_threshold` and no detection of a higher score matches the object. Difficult objects and crowd regions are
    ignored, with the detections that match them.

    Args:
        dataset: images with ground truth.
        detections: at most one entry per image, in any order. An image without an entry has no detections.
        iou_threshold: lowest IoU of a correct detection, in (0, 1].
        metric: "voc" for the area under the curve (VOC 2010 and later), "voc07" for the mean precision at the eleven
            recalls 0, 0.1, ... 1.

    Returns:
        `headline` has mAP, the mean over the classes with objects. Each class has AP, the recall of all its
        detections, and a curve with one point per detection that counts.

    Raises:
        InputError: an argument is out of range, or the detections do not fit the data set; see
            `tfrcnn.evaluation.inputs.align`.
    """
    if metric not in ("voc", "voc07"):
        raise InputError(f"metric must be 'voc' or 'voc07', found {metric!r}")
    if not 0 < iou_threshold <= 1:
        raise InputError(f"iou_threshold must be in (0, 1], found {iou_threshold!r}")
    aligned = align(dataset, detections)
    labels = joined([image.labels for image in aligned], np.int64)
    scores = joined([image.scores for image in aligned], np.float64)
    object_labels = column_of(dataset.examples, "labels").astype(np.int64)
    ignored = ~objects_of(dataset.examples)
    counted = np.bincount(object_labels[~ignored], minlength=len(dataset.categories))
    ious, objects = _nearest_objects(dataset, aligned)
    objects = np.where(ious >= iou_threshold, objects, -1)
    rows = tuple(
        _class_result(category, scores[labels == label], objects[labels == label], ignored, int(counted[label]), metric)
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
    """Compute AP from a curve (VOCevaldet.m, VOCap.m).

    Let p(r) be the highest precision at recalls >= r, or 0 if there is none. "voc" is the integral of p over [0, 1],
    "voc07" the mean of p(0), p(0.1), ... p(1).

    Args:
        recall: [K] in [0, 1], ascending.
        precision: [K] in [0, 1], by recall.
        metric: "voc" or "voc07".

    Returns:
        AP in [0, 1].
    """
    ceiling = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    if metric == "voc07":
        # k / 10 rounds as recall = tp / npos does, so a recall of exactly 3/10 counts at 0.3. Steps of 0.1 would reach
        # 0.30000000000000004 and miss it.
        thresholds = np.arange(11) / 10
        return float(ceiling[np.searchsorted(recall, thresholds, side="left")].mean())
    return float(np.sum(np.diff(recall, prepend=0.0) * ceiling[:-1]))


def _nearest_objects(dataset: Dataset, detections: Sequence[ImageDetections]) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest IoU of each detection with an object of its class, and the number of this object."""
    ious, objects, first = [], [], 0
    for example, image in zip(dataset.examples, detections):
        count = len(example.boxes)
        step = max(_MAX_PAIRS // max(count, 1), 1)
        for rows in (slice(start, start + step) for start in range(0, len(image.boxes) if count else 0, step)):
            iou = pairwise_iou(image.boxes[rows], example.boxes)
            iou[image.labels[rows, None] != example.labels[None, :]] = -1.0
            ious.append(iou.max(axis=1))
            objects.append(first + iou.argmax(axis=1))
        if not count:
            ious.append(np.full(len(image.boxes), -1.0))
            objects.append(np.full(len(image.boxes), -1))
        first += count
    return joined(ious, np.float64), joined(objects, np.int64)


def _class_result(
    category: Category, scores: np.ndarray, objects: np.ndarray, ignored: np.ndarray, count: int, metric: VOCMetric
) -> ClassResult:
    """Evaluate one class.

    Args:
        category: the class.
        scores: [N] scores of its detections.
        objects: [N] object that each detection matches, -1 for none.
        ignored: [M] objects of the data set that do not count.
        count: objects of the class that count.
        metric: "voc" or "voc07".
    """
    order = np.argsort(-scores, kind="stable")
    ranked = objects[order]
    # A detection's object does not depend on other detections. So the devkit's loop over detections reduces to: the
    # first detection of an object is correct, the others are duplicates.
    correct = np.zeros(len(ranked), bool)
    correct[np.unique(ranked, return_index=True)[1]] = True
    correct &= ranked >= 0
    counts = ~np.append(ignored, False)[ranked]  # -1 reads the appended entry: a false alarm counts
    correct, ranked_scores = correct[counts], scores[order][counts]
    if count == 0:
        return ClassResult(category, {"AP": None, "recall": None}, 0, len(scores), None)
    true_positives = np.cumsum(correct)
    recall, precision = true_positives / count, true_positives / np.arange(1, len(correct) + 1)
    metrics: dict[str, float | None] = {
        "AP": average_precision(recall, precision, metric),
        "recall": float(recall[-1]) if len(recall) else 0.0,
    }
    return ClassResult(category, metrics, count, len(scores), Curve(recall, precision, ranked_scores))
