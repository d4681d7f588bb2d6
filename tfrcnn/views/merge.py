"""Make one list of the detections in several views of a picture.

Two detections of different views are the same object if their boxes agree where both views look: clipped to the region
that both views show, their IoU is above the threshold. For two whole boxes this is the usual IoU. The border of a tile
cuts an object in two: the pieces agree in the strip that both tiles show, and a piece agrees with the whole object.

Detections of one view are never merged: the detector did that.

Legend: N detections. A box is yxyx in pixels of the picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfrcnn.data.example import ImageDetections
from tfrcnn.views.plan import View, Views

# A box that ends this near to the border of a view, as a share of the view's side, may go on beyond it.
BORDER = 0.02


def merge(
    views: Sequence[View], detections: Sequence[ImageDetections], size: tuple[int, int], options: Views
) -> ImageDetections:
    """Merge the detections in the views of one picture.

    Whole boxes come first: the best one stays, and others of its object go ("nms") or are averaged with it ("fusion").
    Pieces that are left belong to objects that no view shows whole. The pieces of one object are joined to the box
    around them. The score is the best of the object, or with "fusion" the mean over the views that show its box whole.

    Args:
        views: the views.
        detections: of each view, boxes in pixels of the picture.
        size: (height, width) of the picture.
        options: merge, iou and class_agnostic.

    Returns:
        The detections, best first, clipped to the picture; the image_id of the first view.

    Example:
        merge(views, [predictor.detect(view.pixels(picture)) for view in views], picture.shape[:2], Views(tiles=640))
    """
    counts = [len(one.scores) for one in detections]
    boxes = np.concatenate([np.reshape(one.boxes, (-1, 4)) for one in detections]).astype(np.float64)
    scores = np.concatenate([one.scores for one in detections]).astype(np.float64)
    labels = np.concatenate([one.labels for one in detections]).astype(np.int32)
    limits = np.tile(np.array(size, np.float64), 2)
    shown = np.array([view[:4] for view in views], np.float64)
    boxes, shown = np.clip(boxes, 0, limits), np.clip(shown, 0, limits)
    source = np.repeat(np.arange(len(views)), counts)
    inside = np.all(boxes[:, 2:] > boxes[:, :2], axis=1)
    boxes, scores, labels, source = boxes[inside], scores[inside], labels[inside], source[inside]
    cut = _is_cut(boxes, shown[source], limits)
    order = np.lexsort((-scores, cut))  # whole boxes first, each kind from the best
    groups = np.zeros_like(labels) if options.class_agnostic else labels
    kept: list[tuple[np.ndarray, float, int]] = []
    for group in np.unique(groups):
        rows = order[groups[order] == group]
        kept += _objects(boxes[rows], scores[rows], labels[rows], source[rows], cut[rows], shown, options)
    kept.sort(key=lambda one: -one[1])
    return ImageDetections(
        detections[0].image_id,
        np.array([box for box, _, _ in kept], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in kept], np.float32),
        np.array([label for _, _, label in kept], np.int32),
    )


def _is_cut(boxes: np.ndarray, shown: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Return which boxes [N, 4] end at a border of what their views show [N, 4] that is not the picture's."""
    margin = np.tile(BORDER * (shown[:, 2:] - shown[:, :2]), 2)
    picture = np.concatenate([np.zeros(2), limits[:2]])
    ends: np.ndarray = (np.abs(boxes - shown) <= margin) & (shown != picture)
    return np.asarray(ends.any(axis=1))


def _objects(
    boxes: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    source: np.ndarray,
    cut: np.ndarray,
    shown: np.ndarray,
    options: Views,
) -> list[tuple[np.ndarray, float, int]]:
    """Return box, score and label of each object; detections in the order in which they become objects."""
    objects = []
    left = np.arange(len(scores))
    while len(left):
        first, left = left[0], left[1:]
        box, region, members = boxes[first], shown[source[first]], [np.array([first])]
        while len(left):
            agrees = _agreement(box, region, boxes[left], shown[source[left]]) > options.iou
            agrees &= ~np.isin(source[left], source[np.concatenate(members)])
            if not agrees.any():
                break
            members.append(left[agrees])
            left = left[~agrees]
            if not cut[first]:
                break
            pieces = np.concatenate(members)
            box, region = _around(boxes[pieces]), _around(shown[source[pieces]])
        rows = np.concatenate(members)
        whole = rows[~cut[rows]]
        if options.merge == "fusion" and len(whole):
            box = np.average(boxes[whole], axis=0, weights=scores[whole])
        score = float(scores[rows].max())
        if options.merge == "fusion":
            best = [scores[rows[source[rows] == view]].max() for view in np.unique(source[rows])]
            views = (shown[:, :2] <= box[:2]).all(axis=1) & (shown[:, 2:] >= box[2:]).all(axis=1)
            score = float(np.sum(best) / max(len(best), np.count_nonzero(views)))
        objects.append((box, score, int(labels[rows[scores[rows].argmax()]])))
    return objects


def _agreement(box: np.ndarray, region: np.ndarray, boxes: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Return the IoU [N] of a box with boxes [N, 4], inside the region that both views show."""
    top_left, bottom_right = np.maximum(region[:2], regions[:, :2]), np.minimum(region[2:], regions[:, 2:])

    def clipped(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        first = np.maximum(values[..., :2], top_left)
        last = np.minimum(values[..., 2:], bottom_right)
        return first, last, np.maximum(last - first, 0).prod(axis=1)

    first, last, area = clipped(box)
    others_first, others_last, others_area = clipped(boxes)
    shared = np.maximum(np.minimum(last, others_last) - np.maximum(first, others_first), 0).prod(axis=1)
    union = area + others_area - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(union), where=union > 0))


def _around(boxes: np.ndarray) -> np.ndarray:
    """Return the box around boxes [N, 4]."""
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])
