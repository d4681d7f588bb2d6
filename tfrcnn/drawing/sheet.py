"""Draws a detector's result on some images of a data set, on one sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tfrcnn.data.decode import read_image
from tfrcnn.data.example import Dataset
from tfrcnn.drawing.images import contact_sheet, draw_comparison

MAX_SHEET_IMAGES = 9


def draw_sheet(predictor: Any, dataset: Dataset, path: Path, score_threshold: float = 0.5) -> None:
    """Draw evenly spaced images of a data set with detections (solid) and ground truth (dashed).

    Args:
        predictor: detector with a method `detect`.
        dataset: images with ground truth.
        path: picture to write.
        score_threshold: detections of scores above it are drawn.
    """
    names = [category.name for category in dataset.categories]
    tiles = []
    for i in np.unique(np.linspace(0, len(dataset) - 1, MAX_SHEET_IMAGES).astype(int)):
        example = dataset.examples[i]
        image = read_image(example.path, example.orientation)
        tiles.append(draw_comparison(image, example, predictor.detect(image), names, score_threshold))
    contact_sheet(tiles, 3, path, title=f"Detections of scores above {score_threshold:g}; ground truth dashed")
