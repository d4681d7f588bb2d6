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
CHUNK = 256  # detections that are compared with all near ones at a time, so that memory stays small


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
    regions = shown[source]
    partners = _partners(boxes, regions, source, options.iou)
    objects: list[tuple[np.ndarray, float, int]] = []
    free = np.ones(len(scores), bool)
    for first in range(len(scores)):
        if not free[first]:
            continue
        free[first] = False
        members = partners[first]
        if not len(members) and options.merge == "nms":  # most detections: nothing to do
            objects.append((boxes[first], float(scores[first]), int(labels[first])))
            continue
        members = members[free[members]]
        free[members] = False
        rows = np.append(first, members)
        while cut[first] and len(members):  # pieces: the box around them may reach into further views
            left = np.flatnonzero(free)
            left = left[~np.isin(source[left], source[rows])]
            agrees = _agreement(_around(boxes[rows]), _around(regions[rows]), boxes[left], regions[left]) > options.iou
            members = left[agrees]
            free[members] = False
            rows = np.append(rows, members)
        best = rows[scores[rows].argmax()]
        objects.append((*_one_object(boxes, scores, source, cut, shown, rows, options), int(labels[best])))
    return objects


def _one_object(
    boxes: np.ndarray,
    scores: np.ndarray,
    source: np.ndarray,
    cut: np.ndarray,
    shown: np.ndarray,
    rows: np.ndarray,
    options: Views,
) -> tuple[np.ndarray, float]:
    """Return the box and the score of the object that these rows show, the best first."""
    box = _around(boxes[rows]) if cut[rows[0]] else boxes[rows[0]]
    if options.merge == "nms":
        return box, float(scores[rows].max())
    whole = rows[~cut[rows]]
    if len(whole):
        box = np.average(boxes[whole], axis=0, weights=scores[whole])
    best = [scores[rows[source[rows] == view]].max() for view in np.unique(source[rows])]
    views = np.all((shown[:, :2] <= box[:2]) & (shown[:, 2:] >= box[2:]), axis=1)
    return box, float(np.sum(best) / max(len(best), np.count_nonzero(views)))


def _partners(boxes: np.ndarray, regions: np.ndarray, source: np.ndarray, iou: float) -> list[np.ndarray]:
    """Return, for each detection, the detections of other views that agree with it, in ascending order."""
    pairs = [np.zeros((0, 2), int)]
    by_top = np.argsort(boxes[:, 0], kind="stable")
    for start in range(0, len(boxes), CHUNK):
        rows = by_top[start : start + CHUNK]
        top, bottom = boxes[rows[0], 0], boxes[rows, 2].max()
        near = by_top[(boxes[by_top, 0] < bottom) & (boxes[by_top, 2] > top)]
        meet = source[rows][:, None] != source[near]
        for side in (0, 1):  # rows, columns
            meet &= boxes[rows, side][:, None] < boxes[near, side + 2]
            meet &= boxes[rows, side + 2][:, None] > boxes[near, side]
        one, other = np.nonzero(meet)
        one, other = rows[one], near[other]
        agrees = _agreement(boxes[one], regions[one], boxes[other], regions[other]) > iou
        pairs.append(np.stack([one[agrees], other[agrees]], axis=1))
    both = np.concatenate(pairs)
    both = both[np.lexsort((both[:, 1], both[:, 0]))]
    return np.split(both[:, 1], np.searchsorted(both[:, 0], np.arange(1, len(boxes))))


def _agreement(boxes: np.ndarray, regions: np.ndarray, others: np.ndarray, other_regions: np.ndarray) -> np.ndarray:
    """Return the IoU of boxes [..., 4] with others [..., 4], inside the regions that both views show."""
    top_left = np.maximum(regions[..., :2], other_regions[..., :2])
    bottom_right = np.minimum(regions[..., 2:], other_regions[..., 2:])
    first, last = np.maximum(boxes[..., :2], top_left), np.minimum(boxes[..., 2:], bottom_right)
    other_first, other_last = np.maximum(others[..., :2], top_left), np.minimum(others[..., 2:], bottom_right)
    shared = _area(np.maximum(first, other_first), np.minimum(last, other_last))
    union = _area(first, last) + _area(other_first, other_last) - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(union), where=union > 0))


def _area(top_left: np.ndarray, bottom_right: np.ndarray) -> np.ndarray:
    sides = np.maximum(bottom_right - top_left, 0)
    return np.asarray(sides[..., 0] * sides[..., 1])


def _around(boxes: np.ndarray) -> np.ndarray:
    """Return the box around boxes [N, 4]."""
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])
