"""The limits that an evaluation applied: how many detections it judged, and of which scores.

COCO judges at most 100 detections per image and class, and a detector returns at most `max_detections` per image. So
images with more objects have a recall below 1, however good the detector is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfrcnn.categories import score_limits
from tfrcnn.config import Category, DetectionConfig
from tfrcnn.data.example import Dataset, ImageDetections
from tfrcnn.data.example_table import column_of, objects_of, owners_of

COCO_LIMIT = 100  # detections per image and class


def per_class_limit(detector: DetectionConfig | None) -> int:
    """Return how many detections per image and class the COCO metric judges: 100, or all that the detector returns."""
    return COCO_LIMIT if detector is None else max(COCO_LIMIT, detector.max_detections)


def applied(dataset: Dataset, metric: str, detector: DetectionConfig | None) -> dict[str, Any]:
    """List the limits of an evaluation.

    Args:
        dataset: images with ground truth.
        metric: "coco", "voc" or "voc07".
        detector: limits of the detector; None if they are unknown.

    Returns:
        "detections_per_image_and_class" of the COCO metric; "detections_per_image", "score_threshold" and
        "class_score_thresholds" of the detector; "objects_out_of_reach", how many objects the limits leave undetected
        at best. Each only if it applies.
    """
    limits: dict[str, Any] = {}
    if metric == "coco":
        limits["detections_per_image_and_class"] = per_class_limit(detector)
    if detector is not None:
        limits["detections_per_image"] = detector.max_detections
        limits["score_threshold"] = detector.score_threshold
        if detector.class_score_thresholds:
            limits["class_score_thresholds"] = dict(detector.class_score_thresholds)
    counted = ~column_of(dataset.examples, "crowd") if metric == "coco" else objects_of(dataset.examples)
    owners, labels = owners_of(dataset.examples)[counted], column_of(dataset.examples, "labels")[counted]
    classes = len(dataset.categories)
    images_and_classes, objects = np.unique(owners * classes + labels, return_counts=True)
    reach = np.minimum(objects, limits.get("detections_per_image_and_class", objects))
    of_images = np.bincount(images_and_classes // classes, reach)
    count = int(objects.sum() - np.minimum(of_images, limits.get("detections_per_image", of_images)).sum())
    return {**limits, "objects_out_of_reach": count} if count else limits


def limited(
    detections: Sequence[ImageDetections], limits: DetectionConfig, categories: Sequence[Category] = ()
) -> list[ImageDetections]:
    """Keep the detections of scores above the threshold, and the best of these, as a detector with these limits does.

    Args:
        detections: per image, best first.
        limits: the score thresholds and the number per image.
        categories: whose positions the labels are, for thresholds of single classes.
    """
    kept = []
    for image in detections:
        lowest = score_limits(image.labels, limits, categories)
        rows = np.flatnonzero(image.scores > lowest)[: limits.max_detections]
        kept.append(image[rows])
    return kept


def describe(limits: Mapping[str, Any]) -> str:
    """Write limits as text: one line, and one more if they leave objects undetected. Empty without limits."""
    parts = []
    if (count := limits.get("detections_per_image_and_class")) is not None:
        parts.append(f"at most {count:,} detections per image and class are judged")
    if (count := limits.get("detections_per_image")) is not None:
        parts.append(f"the detector returns at most {count:,} per image")
    if (score := limits.get("score_threshold")) is not None:
        of_classes = limits.get("class_score_thresholds", {}).items()
        of_classes = ", ".join(f"{name} {limit:g}" for name, limit in of_classes)
        parts.append(f"of scores above {score:g}" + (f" ({of_classes})" if of_classes else ""))
    text = f"Limits: {', '.join(parts)}.\n" if parts else ""
    if count := limits.get("objects_out_of_reach"):
        text += f"These limits leave {count:,} objects undetected at best: raise --max-detections.\n"
    return text
