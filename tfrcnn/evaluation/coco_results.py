"""COCO result files. Imports no pycocotools, so that a prediction needs none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfrcnn.data.example import Dataset, ImageDetections
from tfrcnn.evaluation.inputs import align
from tfrcnn.files import atomic
from tfrcnn.overlap import to_xywh


def to_coco_results(dataset: Dataset, detections: Sequence[ImageDetections]) -> list[dict[str, Any]]:
    """Convert detections to COCO's result format, with the image ids and category ids of the data set.

    Args:
        dataset: images of the detections.
        detections: at most one entry per image, in any order.

    Returns:
        [{"image_id", "category_id", "bbox": [x, y, width, height] in pixels, "score"}, ...] in the order of the
        data set's images. Numbers are not rounded.

    Raises:
        InputError: the detections do not fit the data set.
    """
    image_ids = [example.image_id for example in dataset.examples]
    return result_rows(align(dataset, detections), image_ids, [category.id for category in dataset.categories])


def write_coco_results(path: str | Path, dataset: Dataset, detections: Sequence[ImageDetections]) -> None:
    """Write detections as a COCO result file; an existing file is replaced only when the new one is complete.

    Args:
        path: JSON file to write or replace.
        dataset: images of the detections.
        detections: at most one entry per image, in any order.

    Raises:
        InputError: the detections do not fit the data set. `path` keeps its content.

    Example:
        write_coco_results("detections.json", dataset, predictor.detect_dataset(dataset))
    """
    results = to_coco_results(dataset, detections)
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(results), encoding="utf-8")


def result_rows(
    detections: Sequence[ImageDetections], image_ids: Sequence[int | str], category_ids: Sequence[int]
) -> list[dict[str, Any]]:
    return [
        {"image_id": image_id, "category_id": category_ids[label], "bbox": box, "score": score}
        for image_id, image in zip(image_ids, detections)
        for box, score, label in zip(to_xywh(image.boxes), image.scores.tolist(), image.labels.tolist())
    ]
