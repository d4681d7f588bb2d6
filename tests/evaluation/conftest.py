"""Data sets and detections for the tests of errors: the golden set, and random ones with ties and crowds."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tfrcnn.config import Category
from tfrcnn.data.example import Dataset, ImageDetections

from .examples import detected, example

Pair = tuple[Dataset, list[ImageDetections]]


def random_pair(seed: int, images: int = 12, classes: int = 3, difficult: bool = False) -> Pair:
    """Return a data set with crowds, empty images and a class without objects, and detections with equal scores."""
    rng = np.random.default_rng(seed)
    examples, detections = [], []
    for number in range(images):
        count = int(rng.integers(0, 7))
        corner = rng.integers(0, 60, (count, 2))
        boxes = np.concatenate([corner, corner + rng.integers(4, 40, (count, 2))], axis=1).astype(np.float64)
        labels = rng.integers(0, classes, count)
        flags = rng.random((2, count)) < 0.15
        examples.append(example(number, boxes, labels, flags[0], flags[1] & difficult))
        near = np.repeat(boxes, 2, axis=0) + rng.integers(-6, 7, (2 * count, 4))
        near = np.concatenate([near, rng.integers(0, 50, (3, 4))])
        near = np.concatenate([np.minimum(near[:, :2], near[:, 2:]), np.maximum(near[:, :2], near[:, 2:]) + 1], axis=1)
        guess = np.append(np.repeat(labels, 2), rng.integers(0, classes, 3))
        guess = np.where(rng.random(len(guess)) < 0.2, rng.integers(0, classes + 1, len(guess)), guess)
        if rng.random() < 0.9:
            scores = np.sort(rng.integers(1, 10, len(near)) / 10)[::-1]
            detections.append(detected(number, near, scores, guess))
    categories = tuple(Category(10 + label, f"class {label}") for label in range(classes + 1))
    return Dataset("random", categories, tuple(examples)), detections


@pytest.fixture(scope="session")
def random_pairs() -> Callable[..., Pair]:
    """Return the function that makes a random data set and its detections."""
    return random_pair


@pytest.fixture(scope="session")
def golden(data_root: Path) -> Pair:
    """Return 100 images of COCO with 830 objects, and 734 detections."""
    folder = data_root / "eval_golden/review_object_detection_metrics_tests/test_coco_eval"
    truth = json.loads((folder / "gts/sampled_gts_bbox_area.json").read_text(encoding="utf-8"))
    results = json.loads((folder / "dets/sampled_bbox_results.json").read_text(encoding="utf-8"))["annotations"]
    labels = {category["id"]: label for label, category in enumerate(truth["categories"])}

    def columns(rows: list[dict], image_id: int) -> tuple[list[dict], np.ndarray, list[int]]:
        rows = [row for row in rows if row["image_id"] == image_id]
        x, y, w, h = np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4).T
        return rows, np.stack([y, x, y + h, x + w], axis=1), [labels[row["category_id"]] for row in rows]

    examples, detections = [], []
    for image in truth["images"]:
        rows, boxes, classes = columns(truth["annotations"], image["id"])
        examples.append(example(image["id"], boxes, classes, [row["iscrowd"] for row in rows]))
        rows, boxes, classes = columns(results, image["id"])
        detections.append(detected(image["id"], boxes, [row["score"] for row in rows], classes))
    categories = tuple(Category(category["id"], category["name"]) for category in truth["categories"])
    return Dataset("golden", categories, tuple(examples)), detections
