"""What every metric starts from: checked detections or proposals, one entry for each image, and IoU in float64.

Legend: N detections and M objects of one image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from tfrcnn.data.example import Dataset, ImageDetections, ImageProposals
from tfrcnn.errors import InputError

Found = TypeVar("Found", bound=ImageProposals)


def align(dataset: Dataset, detections: Sequence[ImageDetections]) -> list[ImageDetections]:
    """Detections in the order of `dataset.examples`, empty ones where an image has none.

    Raises:
        InputError: an image is unknown or given twice, lengths differ, a label is not one of the data set's, a
            score or coordinate is not finite, or a box is inverted.
    """
    by_image = _by_image(dataset, detections, "detections")
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32)
    ids = [example.image_id for example in dataset.examples]
    return [by_image.get(image_id) or ImageDetections(image_id, *nothing) for image_id in ids]


def align_proposals(dataset: Dataset, proposals: Sequence[ImageProposals]) -> list[ImageProposals]:
    """Proposals in the order of `dataset.examples`, empty ones where an image has none.

    Raises:
        InputError: as of `align`, labels apart.
    """
    by_image = _by_image(dataset, proposals, "proposals")
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    ids = [example.image_id for example in dataset.examples]
    return [by_image.get(image_id) or ImageProposals(image_id, *nothing) for image_id in ids]


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


def _by_image(dataset: Dataset, entries: Sequence[Found], what: str) -> dict[int | str, Found]:
    """The entries by their images' ids, checked."""
    known = {example.image_id for example in dataset.examples}
    by_image: dict[int | str, Found] = {}
    for found in entries:
        where = f"{what} for {dataset.source}: image_id {found.image_id!r}"
        if found.image_id not in known:
            raise InputError(f"{where}: expected an image of the data set, which has no such image")
        if found.image_id in by_image:
            raise InputError(f"{where}: expected one entry for each image, found two")
        _check(found, len(dataset.categories), where)
        by_image[found.image_id] = found
    return by_image


def _check(found: ImageProposals, num_classes: int, where: str) -> None:
    boxes, scores = found.boxes, found.scores
    labels = found.labels if isinstance(found, ImageDetections) else None
    shapes = {"scores": scores.shape} | ({} if labels is None else {"labels": labels.shape})
    if boxes.ndim != 2 or boxes.shape[1] != 4 or any(shape != boxes.shape[:1] for shape in shapes.values()):
        raise InputError(
            f"{where}: expected boxes [N, 4] and {' and '.join(f'{name} [N]' for name in shapes)}, "
            f"found {list(boxes.shape)} and {' and '.join(str(list(shape)) for shape in shapes.values())}"
        )
    _refuse(~np.isfinite(scores), scores, f"{where}: scores", "finite numbers")
    _refuse(np.any(~np.isfinite(boxes), axis=1), boxes, f"{where}: boxes", "finite numbers")
    _refuse(
        np.any(boxes[:, 2:] < boxes[:, :2], axis=1),
        boxes,
        f"{where}: boxes",
        "[y1, x1, y2, x2] with y2 >= y1, x2 >= x1",
    )
    if labels is not None:
        expected = f"labels in 0..{num_classes - 1}"
        _refuse(~np.isin(labels, np.arange(num_classes)), labels, f"{where}: labels", expected)


def _refuse(wrong: np.ndarray, values: np.ndarray, where: str, expected: str) -> None:
    if wrong.any():
        first = int(np.argmax(wrong))
        raise InputError(f"{where}[{first}]: expected {expected}, found {values[first].tolist()}")
