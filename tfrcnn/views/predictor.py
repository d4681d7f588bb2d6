"""A predictor that looks at several views of each picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tqdm import tqdm

from tfrcnn.data.example import Dataset, ImageDetections
from tfrcnn.data.inputs import each_image, read_input, source_of
from tfrcnn.files import digest_of
from tfrcnn.views.merge import merge
from tfrcnn.views.plan import Views
from tfrcnn.views.region import Region

MARGIN = 0.1  # around a region's bounds, as a share of their sides: objects at its border are seen whole
PATIENCE = 2.0  # seconds of one picture before its own progress is shown
WORTHWHILE = 0.8  # a picture is cropped to a region's bounds if they have less than this share of its area


class ViewPredictor:
    """Lets a detector look at tiles, mirror images and other scales of each picture, or at a part of it.

    A single view returns the detector's own detections.

    Attributes:
        predictor: the detector.
        categories: its categories; the position is the label.

    Example:
        tiled = tfrcnn.ViewPredictor(tfrcnn.Predictor(detector), tfrcnn.Views(tiles=640))
        detections = tiled.detect("aerial.jpg")
    """

    def __init__(
        self, predictor: Any, views: Views | None = None, region: Region | None = None, progress: bool = False
    ) -> None:
        """
        Args:
            predictor: anything with `detect(image, image_id)` and `categories`: a `Predictor` or an exported file.
            views: the views; None looks at the whole picture once.
            region: detections whose centre lies outside are dropped. If it is a small part of the picture, the detector
                looks at that part only and sees it larger.
            progress: show a bar on a terminal while a picture with many views takes longer than `PATIENCE`.
        """
        self.predictor = predictor
        self.categories = predictor.categories
        self.views = Views() if views is None else views
        self.region = region
        self._progress = progress

    @property
    def digest(self) -> str:
        """A checksum of the detector, the views and the region: the same for predictors that detect the same."""
        region = None if self.region is None else self.region.digest
        return digest_of([getattr(self.predictor, "digest", None), self.views.to_dict(), region])

    def detect(self, image: Any, image_id: int | str = "") -> ImageDetections:
        """Detect objects in one image; arguments and result as `Predictor.detect`."""
        picture, image_id = read_input(image, image_id)
        return self._detect(picture, image_id, source_of(image, picture))

    def _detect(
        self, picture: np.ndarray, image_id: int | str, source: np.ndarray | Callable[[], np.ndarray]
    ) -> ImageDetections:
        height, width = picture.shape[:2]
        views = self.views.of(*self._part(height, width))
        detections = []
        for view in tqdm(
            views, "views", unit="view", disable=None if self._progress else True, leave=False, delay=PATIENCE
        ):
            seen = self.predictor.detect(view.pixels(picture), image_id)
            detections.append(ImageDetections(image_id, view.to_picture(seen.boxes), seen.scores, seen.labels))
        merged = merge(views, detections, (height, width), self.views) if len(views) > 1 else detections[0]
        boxes, scores, labels = merged.boxes, merged.scores, merged.labels
        result = ImageDetections(image_id, boxes, scores, labels, self.categories, (height, width), source)
        return result if self.region is None else result[self.region.contains(boxes, height, width)]

    def detect_dataset(self, dataset: Dataset, batch_size: int = 1, progress: bool = False) -> list[ImageDetections]:
        """Detect objects in every image of a data set, one after another; arguments as `Predictor.detect_dataset`."""
        return [self._detect(read(), image_id, read) for read, image_id in each_image(dataset, progress)]

    def _part(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Return height, width, top and left of the part of a picture to look at."""
        if self.region is None:
            return height, width, 0, 0
        top, left, bottom, right = self.region.bounds(height, width)
        margin_y, margin_x = int(np.ceil(MARGIN * (bottom - top))), int(np.ceil(MARGIN * (right - left)))
        top, left = max(top - margin_y, 0), max(left - margin_x, 0)
        bottom, right = min(bottom + margin_y, height), min(right + margin_x, width)
        if (bottom - top) * (right - left) >= WORTHWHILE * height * width:
            return height, width, 0, 0
        return bottom - top, right - left, top, left
