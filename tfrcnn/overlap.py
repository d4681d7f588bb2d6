"""Boxes in NumPy, for metrics, pictures and files of results; `tfrcnn.boxes` has them in TensorFlow.

Legend: N detections and M objects of one image.
"""

from __future__ import annotations

import numpy as np


def to_xywh(boxes: np.ndarray) -> list[list[float]]:
    """Convert boxes to COCO's [x, y, width, height], in float64 so that x + width is exactly x2.

    Args:
        boxes: [N, 4] yxyx.
    """
    y1, x1, y2, x2 = boxes.astype(np.float64).T
    rows: list[list[float]] = np.stack([x1, y1, x2 - x1, y2 - y1], axis=-1).tolist()
    return rows


def pairwise_iou(boxes_a: np.ndarray, boxes_b: np.ndarray) -> np.ndarray:
    """Compute the intersection over union of all pairs in float64.

    Real boxes can meet a metric's threshold exactly, so its result must not depend on float32 or on a device, as
    `tfrcnn.boxes.iou` does.

    Args:
        boxes_a: [N, 4] yxyx.
        boxes_b: [M, 4] yxyx.

    Returns:
        [N, M] float64 in [0, 1]; 0 for an empty union.
    """
    a, b = np.asarray(boxes_a, np.float64), np.asarray(boxes_b, np.float64)
    overlap = _common(a, b, 0)  # in place: images of thousands of objects have millions of pairs
    overlap *= _common(a, b, 1)
    area_a, area_b = np.prod(a[:, 2:] - a[:, :2], axis=-1), np.prod(b[:, 2:] - b[:, :2], axis=-1)
    union = area_a[:, None] + area_b[None, :]
    union -= overlap
    is_empty = ~(union > 0)
    np.divide(overlap, union, out=overlap, where=~is_empty)
    overlap[is_empty] = 0
    return overlap


def _common(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
    """Return the length that boxes [N, 4] and [M, 4] have in common along y (0) or x (1), as [N, M]."""
    length = np.minimum(a[:, None, 2 + axis], b[None, :, 2 + axis])
    length -= np.maximum(a[:, None, axis], b[None, :, axis])
    common: np.ndarray = np.maximum(length, 0.0, out=length)
    return common
