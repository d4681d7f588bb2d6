"""Which class is taken for which.

Legend: C classes, N detections and M objects of one image; index C is the background.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfrcnn.data.example import Dataset, Example, ImageDetections
from tfrcnn.evaluation.inputs import align, pairwise_iou


def confusion_matrix(
    dataset: Dataset, detections: Sequence[ImageDetections], iou: float = 0.5, score: float = 0.5
) -> np.ndarray:
    """Objects by their class and by the class they are detected as.

    A detection goes to the object with which its IoU is largest, of whatever class, and an object is taken by the
    detection with the highest score. Of those left over, detections are false alarms (row C) and objects are
    missed (column C). Crowd and difficult objects, and the detections that go to them, are left out.

    Args:
        iou: least IoU for a detection to go to an object, in (0, 1].
        score: detections with lower scores are left out.

    Returns:
        [C + 1, C + 1] int64: row = class of the object, column = class of the detection.

    Raises:
        InputError: the detections do not fit the data set.
    """
    size = len(dataset.categories) + 1
    pairs = [_pairs(e, found, iou, score, size - 1) for e, found in zip(dataset.examples, align(dataset, detections))]
    rows = np.concatenate([np.zeros(0, np.int64), *(true for true, _ in pairs)])
    columns = np.concatenate([np.zeros(0, np.int64), *(detected for _, detected in pairs)])
    return np.bincount(rows * size + columns, minlength=size * size).reshape(size, size)


def _pairs(
    example: Example, found: ImageDetections, iou: float, score: float, background: int
) -> tuple[np.ndarray, np.ndarray]:
    """The (row, column) of each object and false alarm of an image."""
    chosen = np.flatnonzero(found.scores >= score)
    chosen = chosen[np.argsort(-found.scores[chosen], kind="stable")]
    ignored = example.crowd | example.difficult
    target = np.full(len(chosen), -1)
    if len(chosen) and len(example.boxes):
        overlap = pairwise_iou(found.boxes[chosen], example.boxes)
        target = np.where(overlap.max(axis=1) >= iou, overlap.argmax(axis=1), -1)
    detected_as = np.full(len(example.boxes), background)
    taken, first = np.unique(target, return_index=True)  # first = the highest score, since they are sorted
    detected_as[taken[taken >= 0]] = found.labels[chosen[first[taken >= 0]]]
    is_first = np.isin(np.arange(len(chosen)), first[taken >= 0])
    false_alarm = ~is_first & ~np.append(ignored, False)[target]
    rows = np.append(example.labels[~ignored], np.full(false_alarm.sum(), background))
    columns = np.append(detected_as[~ignored], found.labels[chosen[false_alarm]])
    return rows.astype(np.int64), columns.astype(np.int64)
