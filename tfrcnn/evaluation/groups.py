"""AP and recall of groups of objects: by size, by aspect ratio and by crowding.

In a group, objects of other groups are ignored with the detections that match them, as in COCO's APs, APm and APl. A
false positive counts in the group of its own box.

Legend: N detections, M objects.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from tfrcnn.evaluation.outcomes import Outcomes
from tfrcnn.evaluation.tide import mean_ap
from tfrcnn.overlap import pairwise_iou

# Name of the grouping: upper limits and names of the groups. A value is in the first group whose limit it is below.
GROUPS: dict[str, dict[str, float]] = {
    "size": {"small: area under 32² px": 32.0**2, "medium: under 96² px": 96.0**2, "large": np.inf},
    "aspect ratio": {
        "tall: width under 3/4 of height": 3 / 4,
        "square": 4 / 3,
        "wide: width over 4/3 of height": np.inf,
    },
    "crowding": {
        "apart: touches no other object": 1e-9,
        "touching: IoU with another under 0.2": 0.2,
        "crowded: IoU of 0.2 or more": np.inf,
    },
}


def group_numbers(outcomes: Outcomes) -> dict[str, list[dict[str, Any]]]:
    """Compute AP and recall of the groups of objects at the IoU of the outcomes.

    Returns:
        The groups by the name of the grouping: "name", "objects", "recall" of all detections and "ap", None without
        objects.

    Example:
        group_numbers(outcomes_of(dataset, detections))["crowding"]
    """
    objects = outcomes.objects
    crowding = _crowding(outcomes)
    # A false positive is as crowded as the object that it overlaps, and apart if it overlaps none.
    near = np.append(crowding, 0.0)[outcomes.targets]
    values = {
        "size": (objects.areas, _sides(outcomes.boxes).prod(axis=1)),
        "aspect ratio": (_ratio(objects.boxes), _ratio(outcomes.boxes)),
        "crowding": (crowding, near),
    }
    return {name: _rows(outcomes, name, *pair) for name, pair in values.items()}


def _rows(outcomes: Outcomes, name: str, of_objects: np.ndarray, of_detections: np.ndarray) -> list[dict[str, Any]]:
    objects, limits = outcomes.objects, list(GROUPS[name].values())
    object_groups = np.searchsorted(limits, of_objects, side="right")
    groups = np.searchsorted(limits, of_detections, side="right")
    hits = outcomes.correct
    groups[hits] = object_groups[outcomes.targets[hits]]
    rows = []
    for number, text in enumerate(GROUPS[name]):
        inside = (object_groups == number) & ~objects.ignored
        chosen = (groups == number) & ~outcomes.ignored
        # A class without objects in the group has no AP there; its false positives cannot lower any.
        positives = np.bincount(objects.labels[inside], minlength=outcomes.num_classes)
        chosen &= positives[outcomes.labels] > 0
        total = int(inside.sum())
        ap = mean_ap(outcomes.labels[chosen], outcomes.scores[chosen], hits[chosen], positives)
        recall = float(np.mean(objects.matches[inside] >= 0)) if total else None
        rows.append({"name": text, "objects": total, "recall": recall, "ap": ap})
    return rows


def _crowding(outcomes: Outcomes) -> np.ndarray:
    """Return [M], the highest IoU of each object with another object of its image; crowd regions do not count."""
    objects = outcomes.objects
    result = np.zeros(len(objects.images))
    ends = np.searchsorted(objects.images, np.arange(outcomes.num_images + 1))
    for start, end in pairwise(ends):
        if end - start > 1:
            boxes = objects.boxes[start:end]
            overlap = pairwise_iou(boxes, boxes)
            np.fill_diagonal(overlap, 0.0)
            overlap[:, objects.ignored[start:end]] = 0.0
            result[start:end] = overlap.max(axis=1)
    return result


def _sides(boxes: np.ndarray) -> np.ndarray:
    sides: np.ndarray = boxes[:, 2:] - boxes[:, :2]
    return sides


def _ratio(boxes: np.ndarray) -> np.ndarray:
    height, width = np.maximum(_sides(boxes), 1e-9).T
    ratio: np.ndarray = width / height
    return ratio
