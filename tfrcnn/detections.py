"""The result of a detector for one image: its boxes, scores and labels, and what can be done with them.

Boxes are [y1, x1, y2, x2] in pixels of the original, upright image. Importing this module imports neither TensorFlow
nor any library that a single method needs.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from tfrcnn.categories import check_score, find_labels, lowest_scores
from tfrcnn.config import Category
from tfrcnn.errors import InputError
from tfrcnn.overlap import to_xywh
from tfrcnn.pixels import to_rgb, to_uint8

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, eq=False)
class ImageProposals:
    """The proposals of an RPN in one image.

    Attributes:
        image_id: of the example.
        boxes: [N, 4] float32, yxyx pixels of the original upright image.
        scores: [N] float32 objectness in [0, 1], descending.

    Example:
        proposals = tfrcnn.Predictor(detector).propose_dataset(dataset)
        print(proposals[0].boxes[:10])
    """

    image_id: int | str
    boxes: np.ndarray
    scores: np.ndarray


class Detection(NamedTuple):
    """One detection.

    Attributes:
        box: (y1, x1, y2, x2) in pixels of the original upright image.
        score: in [0, 1].
        label: in 0..C-1.
        name: the category's name; the label as text if the categories are unknown.

    Example:
        for box, score, label, name in detections:
            print(name, round(score, 2), box)
    """

    box: tuple[float, float, float, float]
    score: float
    label: int
    name: str


@dataclass(frozen=True, eq=False)
class ImageDetections(ImageProposals):
    """The detections of a detector in one image, best first.

    `len` counts them and iteration yields each as a `Detection`. `detections[0]` is one `Detection`; a slice, a boolean
    mask or a list of positions gives fewer `ImageDetections`. A notebook shows the picture with a table.

    Attributes:
        image_id: of the example.
        boxes: [N, 4] float32, yxyx pixels of the original upright image.
        scores: [N] float32 in [0, 1], descending.
        labels: [N] int32 in 0..C-1.
        categories: the detector's categories; the position is the label. Empty if they are unknown.
        size: (height, width) of the image in pixels; None if it is unknown.
        pixels: [H, W, 3] RGB of the image, or a function that reads them; None if they are unknown. A detection in a
            file reads the file again. `dataclasses.replace(detections, pixels=None)` releases an array.
        best_rejected: the best detection below the score threshold of `filter` or of the predictor; None if there is
            none.

    Example:
        detections = tfrcnn.Predictor("runs/cells").detect("picture.jpg")
        sure = detections.filter(score=0.5, classes=["RBC", "WBC"])
        sure.plot().save("drawn.png")
        for box, score, label, name in sure:
            print(name, score, box)
    """

    labels: np.ndarray
    categories: tuple[Category, ...] = ()
    size: tuple[int, int] | None = None
    pixels: np.ndarray | Callable[[], np.ndarray] | None = field(default=None, repr=False)
    best_rejected: Detection | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Detection]:
        rows = zip(self.boxes.tolist(), self.scores.tolist(), self.labels.tolist(), self.names)
        return (Detection(tuple(box), score, label, name) for box, score, label, name in rows)

    @overload
    def __getitem__(self, key: int) -> Detection: ...
    @overload
    def __getitem__(self, key: Any) -> ImageDetections: ...
    def __getitem__(self, key: Any) -> Detection | ImageDetections:
        if isinstance(key, Integral) and not isinstance(key, bool):
            position = range(len(self))[int(key)]  # an IndexError outside, which also ends loops
            return next(iter(self[position : position + 1]))
        if not isinstance(key, slice):
            key = np.asarray(key)
            key = key.astype(np.intp) if key.size == 0 else key
            if key.ndim != 1 or key.dtype.kind not in "bui":
                raise TypeError("detections take a position, a slice, a mask [N] or positions [M] as their index")
        boxes, scores, labels = self.boxes[key], self.scores[key], self.labels[key]
        return dataclasses.replace(self, boxes=boxes, scores=scores, labels=labels, best_rejected=None)

    def __str__(self) -> str:
        """Return one line: the number of detections by class, or the best score that the threshold rejected."""
        if len(self):
            counts = {name: self.names.count(name) for name in dict.fromkeys(self.names)}
            parts = ", ".join(f"{count} {name}" for name, count in counts.items())
            return f"{len(self)} detection{'s' if len(self) > 1 else ''}: {parts}"
        best = self.best_rejected
        if best is None:
            return "no detections"
        return f"no detection passes the score threshold; the best score is {best.score:.3g} ({best.name})"

    @property
    def names(self) -> list[str]:
        """Names [N] of the detections' categories; the labels as text if the categories are unknown."""
        return [self.categories[label].name if self.categories else str(label) for label in self.labels.tolist()]

    def filter(self, score: float | Mapping[Any, float] | None = None, classes: Any = None) -> ImageDetections:
        """Keep the detections of some scores and classes.

        Args:
            score: keeps the scores above this number, in [0, 1]; or one number for each class as
                {name or label: score}, which keeps all detections of classes that it leaves out. None keeps all.
            classes: names or labels to keep, one or several; None keeps all.

        Returns:
            The rest, in the same order. `best_rejected` has the best score that was too low.

        Raises:
            InputError: a score is out of range, or a class is unknown; the message lists the nearest names.

        Example:
            detections.filter(score=0.5, classes="dog")
            detections.filter(score={"cat": 0.3, "dog": 0.6})
        """
        chosen, rejected = self, [] if self.best_rejected is None else [self.best_rejected]
        if classes is not None:
            labels = find_labels(classes, self._require_categories("filter"))
            chosen = self[np.isin(self.labels, labels)]
            rejected = [one for one in rejected if one.label in labels]
        if score is not None:
            high = chosen.scores > chosen._limits(score)
            rejected += chosen[~high]
            chosen = chosen[high]
        return dataclasses.replace(chosen, best_rejected=max(rejected, key=lambda one: one.score, default=None))

    def plot(self, image: Any = None, long_side: int | None = None) -> Image.Image:
        """Draw the detections on their picture.

        Args:
            image: [H, W, 3] uint8 RGB or an RGB picture to draw on; None takes `pixels`.
            long_side: longer side of the result in pixels. None keeps the picture's size, and enlarges a small one.

        Returns:
            A new PIL image, which notebooks display.

        Raises:
            InputError: the result has no picture and none is passed, or the picture has another size.

        Example:
            tfrcnn.Predictor("runs/cells").detect("picture.jpg").plot().save("drawn.png")
        """
        from tfrcnn.drawing.images import draw_detections, readable_side

        picture = self._picture() if image is None else to_uint8(to_rgb(image))
        size = picture.shape[:2]
        if self.size not in (None, size):
            raise InputError(f"plot: image must have the size of the detections' image, {self.size}, found {size}")
        count = int(self.labels.max(initial=-1)) + 1
        names = [category.name for category in self.categories] or [str(label) for label in range(count)]
        side = readable_side(*size) if long_side is None else long_side
        return draw_detections(picture, self.boxes, self.labels, self.scores, names, side)

    def to_coco(self) -> list[dict[str, Any]]:
        """Convert the detections to COCO's result format.

        Returns:
            One {"image_id", "category_id", "bbox": [x, y, width, height] in pixels, "score"} per detection. Numbers
            are not rounded.

        Raises:
            InputError: the categories are unknown.

        Example:
            json.dumps([row for detections in results for row in detections.to_coco()])
        """
        ids = [category.id for category in self._require_categories("to_coco")]
        return [
            {"image_id": _plain(self.image_id), "category_id": ids[label], "bbox": box, "score": score}
            for box, label, score in zip(to_xywh(self.boxes), self.labels.tolist(), self.scores.tolist())
        ]

    def to_json(self) -> str:
        """Convert the detections to one line of JSON.

        Returns:
            {"image_id", "height", "width", "detections": [{"box": [y1, x1, y2, x2], "score", "label", "name"}, ...]};
            height and width are null if the size is unknown.

        Example:
            for detections in results:
                file.write(detections.to_json() + "\\n")
        """
        height, width = self.size or (None, None)
        image = {"image_id": _plain(self.image_id), "height": height, "width": width}
        return json.dumps({**image, "detections": [one._asdict() for one in self]})

    def to_dataframe(self) -> Any:
        """Convert the detections to a pandas DataFrame.

        Returns:
            One row per detection, with the columns image_id, name, label, score, y1, x1, y2 and x2.

        Raises:
            InputError: pandas is not installed.

        Example:
            pandas.concat([detections.to_dataframe() for detections in results]).to_csv("detections.csv")
        """
        sides = dict(zip(("y1", "x1", "y2", "x2"), self.boxes.T))
        columns = {"name": self.names, "label": self.labels, "score": self.scores, **sides}
        frame = _imported("pandas", "to_dataframe").DataFrame(columns)
        frame.insert(0, "image_id", _plain(self.image_id))
        return frame

    def to_supervision(self) -> Any:
        """Convert the detections to `supervision.Detections`, for its trackers, zones and annotators.

        Returns:
            xyxy, confidence and class_id (the labels), with the names in `data["class_name"]`.

        Raises:
            InputError: supervision is not installed.

        Example:
            tracked = trackers.ByteTrackTracker().update(detections.to_supervision())
        """
        return _imported("supervision", "to_supervision").Detections(
            xyxy=self.boxes[:, [1, 0, 3, 2]].astype(np.float32),
            confidence=self.scores.astype(np.float32),
            class_id=self.labels.astype(int),
            data={"class_name": np.array(self.names, str)},
        )

    def _repr_html_(self) -> str:
        from tfrcnn.drawing.html import detections_html

        return detections_html(self)

    def _picture(self) -> np.ndarray:
        if self.pixels is None:
            raise InputError("plot: the detections have no picture: pass it, plot(image)")
        return to_uint8(self.pixels() if callable(self.pixels) else self.pixels)

    def _limits(self, score: float | Mapping[Any, float]) -> np.ndarray:
        """Return the lowest score [N] of each detection."""
        if not isinstance(score, Mapping):
            return np.full(len(self), check_score(score), self.scores.dtype)
        lowest = lowest_scores(score, self._require_categories("filter"))
        return np.array([lowest[label] for label in self.labels.tolist()], self.scores.dtype)

    def _require_categories(self, method: str) -> tuple[Category, ...]:
        if not self.categories:
            raise InputError(f"{method}: the categories are unknown: pass ImageDetections(..., categories=...)")
        return self.categories


def _imported(package: str, method: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise InputError(f"{method} needs {package}, which is not installed: pip install {package}") from error


def _plain(image_id: Any) -> int | str:
    """Return an image's id as JSON has it: NumPy's numbers become Python's."""
    return int(image_id) if isinstance(image_id, Integral) else str(image_id)
