"""Detects in the images and frames of a prediction, and describes the results."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from tfrcnn.data.example import ImageDetections
from tfrcnn.data.media import Source
from tfrcnn.drawing import draw_detections
from tfrcnn.errors import InputError
from tfrcnn.pixels import to_uint8
from tfrcnn.predicting.selection import Selection

if TYPE_CHECKING:
    from tfrcnn.inference import Predictor


class Best(NamedTuple):
    """The best detection in an image, of any score.

    Attributes:
        score: in [0, 1].
        name: of the category.
    """

    score: float
    name: str


@dataclass(frozen=True, eq=False)
class Prediction:
    """The result for one image or frame.

    Attributes:
        source: image file, or the name of another source, for example a web address.
        drawn: annotated copy; None if there is none.
        detections: detections, with the `image_id` of the result files.
        frame: number of the frame in its video; None for an image.
        best: the best detection of the chosen classes, also if its score is too low; None if there is no detection.
    """

    source: Path | str
    drawn: Path | None
    detections: ImageDetections
    frame: int | None = None
    best: Best | None = None


class Failure(NamedTuple):
    """A source that cannot be read, or that the detector fails on.

    Attributes:
        source: image file, or the name of another source.
        error: the reason.
    """

    source: Path | str
    error: InputError


class Input(NamedTuple):
    """An image to detect in.

    Attributes:
        image: [H, W, 3] RGB 0..255.
        image_id: of the result.
        name: for error messages.
    """

    image: np.ndarray
    image_id: int
    name: str


class Detected(NamedTuple):
    """The detections of an image.

    Attributes:
        detections: the selected ones.
        best: the best one of the chosen classes, of any score; None if there is none.
    """

    detections: ImageDetections
    best: Best | None


class Detecting:
    """Detects, keeps the selected detections, and describes them for the result files.

    Attributes:
        categories: categories of the detector; the position is the label.
    """

    def __init__(self, predictor: Predictor, selection: Selection) -> None:
        """
        Args:
            predictor: the detector.
            selection: scores and classes of the detections to keep.

        Raises:
            InputError: the detector does not have a class of the selection.
        """
        self.categories = predictor.categories
        self._predictor = predictor
        self._names = [category.name for category in self.categories]
        self._thresholds = selection.thresholds(self.categories)
        self._label_of = {category.id: label for label, category in enumerate(self.categories)}

    def detect(self, image: np.ndarray, image_id: int, name: str) -> Detected:
        """Detect in an image.

        Raises:
            InputError: the detector fails on the image; the message has its name.
        """
        try:
            return self._select(self._predictor.detect(image, image_id), image_id)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
        except Exception as error:  # runtimes raise exceptions of all kinds, for example if memory is too small
            reason = next(iter(str(error).splitlines()), "")
            raise InputError(f"{name}: the detector failed on this image: {type(error).__name__}: {reason}") from error

    def detect_batch(self, inputs: Sequence[Input]) -> Iterator[Detected | InputError]:
        """Detect in several images, together if they have one size and the detector can.

        Yields:
            The result of each image, or the reason why there is none.
        """
        for _, group in itertools.groupby(inputs, key=lambda one: one.image.shape):
            yield from self._detect_size(list(group))

    def _detect_size(self, inputs: list[Input]) -> Iterator[Detected | InputError]:
        detect_batch = getattr(self._predictor, "detect_batch", None)
        if detect_batch is not None and len(inputs) > 1:
            ids = [one.image_id for one in inputs]
            results = None
            with suppress(Exception):  # one image, or too little memory for all: each alone says which
                results = detect_batch([one.image for one in inputs], ids)
            if results is not None:
                yield from (self._select(*pair) for pair in zip(results, ids))
                return
        for one in inputs:
            try:
                yield self.detect(*one)
            except InputError as error:
                yield error

    def _select(self, detections: ImageDetections, image_id: int) -> Detected:
        scores, labels = detections.scores, detections.labels
        limits = self._thresholds[labels]
        chosen, sure = np.isfinite(limits), scores > limits
        # a result names its classes, and does not hold the image in memory
        selected = dataclasses.replace(detections[sure], image_id=image_id, categories=self.categories, pixels=None)
        if not chosen.any():
            return Detected(selected, None)
        top = int(np.argmax(np.where(chosen, scores, -1)))
        return Detected(selected, Best(float(scores[top]), self._names[labels[top]]))

    def draw(self, image: np.ndarray, detections: ImageDetections, long_side: int | None = None) -> Image.Image:
        """Draw detections on a copy of an image; see `draw_detections`."""
        return draw_detections(
            to_uint8(image), detections.boxes, detections.labels, detections.scores, self._names, long_side
        )

    def line(self, image: np.ndarray, detections: ImageDetections) -> dict[str, Any]:
        """Describe an image and its detections for `Results.add`."""
        return {"width": image.shape[1], "height": image.shape[0], "detections": detections.to_coco()}

    def read_line(self, line: dict[str, Any]) -> ImageDetections:
        """Return the detections of a line of `Results`."""
        rows = line["detections"]
        x, y, width, height = np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4).T
        return ImageDetections(
            line["id"],
            np.stack([y, x, y + height, x + width], axis=-1).astype(np.float32),
            np.array([row["score"] for row in rows], np.float32),
            np.array([self._label_of[row["category_id"]] for row in rows], np.int32),
            self.categories,
        )


def shown_name(source: Source) -> Path | str:
    """Return the path of an image file, or the name of another source."""
    return source.content if isinstance(source.content, Path) else source.name
