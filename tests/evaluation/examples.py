"""Images with ground truth, and detections in them, for all tests of metrics. Boxes are [y1, x1, y2, x2]."""

from pathlib import Path
from typing import Any

import numpy as np

from tfrcnn.data.example import Example, ImageDetections


def example(
    image_id: int | str,
    boxes: Any,
    labels: Any = None,
    crowd: Any = None,
    difficult: Any = None,
    area: Any = None,
) -> Example:
    """Make an image; without `labels` every object is of class 0."""
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    flags = np.zeros(len(boxes), bool)
    return Example(
        image_id=image_id,
        path=Path(f"{image_id}.png"),
        height=100,
        width=100,
        boxes=boxes,
        labels=np.zeros(len(boxes), np.int32) if labels is None else np.asarray(labels, np.int32),
        crowd=flags if crowd is None else np.asarray(crowd, bool),
        difficult=flags if difficult is None else np.asarray(difficult, bool),
        area=np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) if area is None else np.asarray(area, np.float32),
        orientation=1,
        annotation_ids=np.arange(len(boxes)),
    )


def detected(image_id: int | str, boxes: Any, scores: Any, labels: Any = None) -> ImageDetections:
    """Make detections; without `labels` every one is of class 0."""
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    labels = np.zeros(len(boxes), np.int32) if labels is None else np.asarray(labels, np.int32)
    return ImageDetections(image_id, boxes, np.asarray(scores, np.float32), labels)
