"""Reads detections from a COCO result file."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from tfrcnn.data.example import Dataset, ImageDetections
from tfrcnn.errors import InputError
from tfrcnn.files import check_path, read_json


def read_coco_results(path: str | Path, dataset: Dataset) -> list[ImageDetections]:
    """Read detections from a COCO result file, as `tfrcnn.evaluation.coco.write_coco_results` writes it.

    Args:
        path: JSON file, [{"image_id", "category_id", "bbox": [x, y, width, height] in pixels, "score"}, ...], or an
            object with this list as "annotations".
        dataset: the images and the categories that the ids are of.

    Returns:
        One entry per image with detections, best first.

    Raises:
        InputError: the file cannot be read, or an entry does not fit the data set.

    Example:
        other = read_coco_results("detections.json", dataset)
    """
    check_path(path, "path")
    content = read_json(path)
    entries = content.get("annotations") if isinstance(content, dict) else content
    if not isinstance(entries, list):
        raise InputError(f"{path}: expected a list of detections, found {type(content).__name__}")
    images = {str(example.image_id): example.image_id for example in dataset.examples}
    labels = {category.id: label for label, category in enumerate(dataset.categories)}
    by_image: defaultdict[int | str, list[tuple[list[float], float, int]]] = defaultdict(list)
    for place, entry in enumerate(entries):
        where = f"{path}: detections[{place}]"
        if not isinstance(entry, dict):
            raise InputError(f"{where}: expected an object, found {type(entry).__name__}")
        image_id = images.get(str(entry.get("image_id")))
        if image_id is None:
            raise InputError(
                f"{where}.image_id: expected an image of {dataset.source}, found {entry.get('image_id')!r:.80}"
            )
        category = entry.get("category_id")
        if not isinstance(category, int) or category not in labels:
            raise InputError(f"{where}.category_id: expected a category of {dataset.source}, found {category!r:.80}")
        x, y, width, height = _numbers(entry.get("bbox"), 4, f"{where}.bbox", "[x, y, width, height]")
        (score,) = _numbers([entry.get("score")], 1, f"{where}.score", "a number")
        if width < 0 or height < 0:
            raise InputError(f"{where}.bbox: expected width and height of at least 0, found {width:g} and {height:g}")
        by_image[image_id].append(([y, x, y + height, x + width], score, labels[category]))
    return [_image(image_id, rows) for image_id, rows in by_image.items()]


def _numbers(values: Any, count: int, where: str, expected: str) -> list[float]:
    is_list = isinstance(values, list) and len(values) == count
    if not is_list or any(isinstance(v, bool) or not isinstance(v, int | float) or not abs(v) < 1e9 for v in values):
        raise InputError(f"{where}: expected {expected} of finite numbers, found {values!r:.80}")
    return [float(value) for value in values]


def _image(image_id: int | str, rows: list[tuple[list[float], float, int]]) -> ImageDetections:
    boxes, scores, labels = zip(*sorted(rows, key=lambda row: -row[1]))
    return ImageDetections(
        image_id, np.array(boxes, np.float32), np.array(scores, np.float32), np.array(labels, np.int32)
    )
