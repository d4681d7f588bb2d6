"""The confusion matrix of detections.

Legend: C classes, N detections and M objects of one image; index C is the background.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfrcnn.data.example import Dataset, Example, ImageDetections
from tfrcnn.evaluation.inputs import align
from tfrcnn.overlap import pairwise_iou


def confusion_matrix(
    dataset: Dataset, detections: Sequence[ImageDetections], iou: float = 0.5, score: float = 0.5
) -> np.ndarray:
    """Count objects by their class and by the class they are detected as.

    A detection matches the object of any class that it overlaps most, and an object keeps its match of the highest
    score. Unmatched objects are missed (column C). Row C has the false alarms: detections that match no object, and
    duplicates, whose object has a better detection. Crowd and difficult objects are ignored, with the detections that
    match them.

    Args:
        dataset: images with ground truth.
        detections: at most one entry per image, in any order.
        iou: lowest IoU of a match, in (0, 1].
        score: detections of higher scores count, in [0, 1).

    Returns:
        [C + 1, C + 1] int64: row = class of the object, column = class of the detection.

    Raises:
        InputError: the detections do not fit the data set.
    """
    size = len(dataset.categories) + 1
    images = zip(dataset.examples, align(dataset, detections))
    pairs = [_pairs(example, image, iou, score, size - 1) for example, image in images]
    rows = np.concatenate([np.zeros(0, np.int64), *(true for true, _ in pairs)])
    columns = np.concatenate([np.zeros(0, np.int64), *(detected for _, detected in pairs)])
    return np.bincount(rows * size + columns, minlength=size * size).reshape(size, size)


def _pairs(
    example: Example, image: ImageDetections, iou: float, score: float, background: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and columns of the objects and false alarms of one image."""
    chosen = np.flatnonzero(image.scores > score)
    chosen = chosen[np.argsort(-image.scores[chosen], kind="stable")]
    ignored = example.crowd | example.difficult
    target = np.full(len(chosen), -1)
    if len(chosen) and len(example.boxes):
        overlap = pairwise_iou(image.boxes[chosen], example.boxes)
        target = np.where(overlap.max(axis=1) >= iou, overlap.argmax(axis=1), -1)
    detected_as = np.full(len(example.boxes), background)
    matched, first = np.unique(target, return_index=True)  # scores descend: the first is the highest
    detected_as[matched[matched >= 0]] = image.labels[chosen[first[matched >= 0]]]
    is_first = np.isin(np.arange(len(chosen)), first[matched >= 0])
    false_alarm = ~is_first & ~np.append(ignored, False)[target]
    rows = np.append(example.labels[~ignored], np.full(false_alarm.sum(), background))
    columns = np.append(detected_as[~ignored], image.labels[chosen[false_alarm]])
    return rows.astype(np.int64), columns.astype(np.int64)
