"""What every metric starts from: checked detections, one entry for each image, and the IoU of boxes in float64.

Legend: N detections and M objects of one image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfrcnn.data.example import Dataset, ImageDetections
from tfrcnn.errors import InputError


def align(dataset: Dataset, detections: Sequence[ImageDetections]) -> list[ImageDetections]:
    """Detections in the order of `dataset.examples`, empty ones where an image has none.

    Raises:
        InputError: an image is unknown or given twice, lengths differ, a label is not one of the data set's, a
            score or coordinate is not finite, or a box is inverted.
    """
    known = {example.image_id for example in dataset.examples}
    by_image: dict[int | str, ImageDetections] = {}
    for found in detections:
        where = f"detections for {dataset.source}: image_id {found.image_id!r}"
        if found.image_id not in known:
            raise InputError(f"{where}: expected an image of the data set, which has no such image")
        if found.image_id in by_image:
            raise InputError(f"{where}: expected one entry for each image, found two")
        _check(found, len(dataset.categories), where)
        by_image[found.image_id] = found
    return [by_image.get(example.image_id) or _nothing(example.image_id) for example in dataset.examples]


def pairwise_iou(boxes_a: np.ndarray, boxes_b: np.ndarray) -> np.ndarray:
    """Intersection over union, [N, 4] and [M, 4] yxyx -> [N, M] float64; 0 where the union is empty.

    `tfrcnn.boxes.iou` is float32 in TensorFlow's graph; a metric compares with thresholds that real boxes can meet
    exactly, and must not depend on a device.
    """
    a, b = np.asarray(boxes_a, np.float64), np.asarray(boxes_b, np.float64)
    top_left = np.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    overlap = np.prod(np.maximum(bottom_right - top_left, 0.0), axis=-1)
    area_a, area_b = np.prod(a[:, 2:] - a[:, :2], axis=-1), np.prod(b[:, 2:] - b[:, :2], axis=-1)
    union = area_a[:, None] + area_b[None, :] - overlap
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)


def _nothing(image_id: int | str) -> ImageDetections:
    return ImageDetections(image_id, np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32))


def _check(found: ImageDetections, num_classes: int, where: str) -> None:
    boxes, scores, labels = found.boxes, found.scores, found.labels
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1] or labels.shape != boxes.shape[:1]:
        raise InputError(
            f"{where}: expected boxes [N, 4], scores [N] and labels [N], "
            f"found {list(boxes.shape)}, {list(scores.shape)} and {list(labels.shape)}"
        )
    _refuse(~np.isfinite(scores), scores, f"{where}: scores", "finite numbers")
    _refuse(np.any(~np.isfinite(boxes), axis=1), boxes, f"{where}: boxes", "finite numbers")
    _refuse(
        np.any(boxes[:, 2:] < boxes[:, :2], axis=1),
        boxes,
        f"{where}: boxes",
        "[y1, x1, y2, x2] with y2 >= y1, x2 >= x1",
    )
    _refuse(~np.isin(labels, np.arange(num_classes)), labels, f"{where}: labels", f"labels in 0..{num_classes - 1}")


def _refuse(wrong: np.ndarray, values: np.ndarray, where: str, expected: str) -> None:
    if wrong.any():
        first = int(np.argmax(wrong))
        raise InputError(f"{where}[{first}]: expected {expected}, found {values[first].tolist()}")
