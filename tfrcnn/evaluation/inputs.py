"""The inputs of every metric: checked detections or proposals, one entry per image, and IoU in float64.

Legend: N detections and M objects of one image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from tfrcnn.config import Category
from tfrcnn.data.example import Dataset, ImageDetections, ImageProposals, check_dataset
from tfrcnn.errors import InputError

Entry = TypeVar("Entry", bound=ImageProposals)


def align(dataset: Dataset, detections: Sequence[ImageDetections]) -> list[ImageDetections]:
    """Check detections and put them in the order of `dataset.examples`; an image without an entry gets an empty one.

    Raises:
        InputError: an image is unknown or has two entries, lengths differ, a label is out of range or of another class,
            a score or coordinate is not finite, or a box is inverted.
    """
    empty = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32)
    return _align(dataset, detections, "detections", lambda image_id: ImageDetections(image_id, *empty))


def align_proposals(dataset: Dataset, proposals: Sequence[ImageProposals]) -> list[ImageProposals]:
    """Do the same for proposals, which have no labels; see `align`."""
    empty = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    return _align(dataset, proposals, "proposals", lambda image_id: ImageProposals(image_id, *empty))


def best(detections: ImageDetections, count: int) -> ImageDetections:
    """Return the best detections of an image in the order of their scores, at most `count`; ties stay in order."""
    return detections[np.argsort(-detections.scores, kind="stable")[:count]]


def joined(parts: list[np.ndarray], dtype: type) -> np.ndarray:
    """Concatenate arrays [N] of images, of which there may be none."""
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype)


def relabelled(
    detections: Sequence[ImageDetections], categories: Sequence[Category], target: Sequence[Category], source: str
) -> list[ImageDetections]:
    """Give detections the labels of another list of categories, by name.

    Args:
        detections: of a detector.
        categories: of the detector.
        target: the categories whose positions become the labels.
        source: the detector, for the message.

    Raises:
        InputError: a class of the detector is not in `target`.
    """
    places = {category.name: label for label, category in enumerate(target)}
    if unknown := [category.name for category in categories if category.name not in places]:
        raise InputError(f"{source}: expected classes among {', '.join(places)}, found {unknown[0]!r}")
    labels = np.array([places[category.name] for category in categories], np.int32)
    return [replace(image, labels=labels[image.labels], categories=tuple(target)) for image in detections]


def image_ranks(dataset: Dataset) -> list[int]:
    """Number the images for pycocotools, which needs integer ids.

    The numbers keep the order of the data set's ids, because pycocotools breaks ties of scores by image id.
    """
    ids = [example.image_id for example in dataset.examples]
    ranks = {image_id: rank for rank, image_id in enumerate(sorted(ids, key=lambda i: (isinstance(i, str), i)))}
    return [ranks[image_id] for image_id in ids]


def _align(dataset: Dataset, entries: Sequence[Entry], what: str, empty: Callable[[int | str], Entry]) -> list[Entry]:
    check_dataset(dataset)
    kind = type(empty(""))
    if not isinstance(entries, Iterable):
        raise InputError(f"{what} must be a list of {kind.__name__}, found {type(entries).__name__}")
    ids = [example.image_id for example in dataset.examples]
    known, by_image = set(ids), {}
    for entry in entries:
        if not isinstance(entry, kind):
            raise InputError(f"{what} must be a list of {kind.__name__}, found {type(entry).__name__} in it")
        where = f"{what} for {dataset.source}: image_id {entry.image_id!r}"
        if entry.image_id not in known:
            raise InputError(f"{where}: expected an image of the data set, which has no such image")
        if entry.image_id in by_image:
            raise InputError(f"{where}: expected one entry per image, found two")
        _check_names(entry, dataset, where)
        _check(entry, len(dataset.categories), where)
        by_image[entry.image_id] = entry
    return [by_image.get(image_id) or empty(image_id) for image_id in ids]


def _check_names(entry: ImageProposals, dataset: Dataset, where: str) -> None:
    """Raise InputError if labels mean other classes than in the data set, or its classes in another order."""
    actual = [category.name for category in getattr(entry, "categories", ())]
    expected = [category.name for category in dataset.categories]
    if actual and actual != expected:
        raise InputError(
            f"{where}: expected the classes {', '.join(expected)}, found {', '.join(actual)}: load the data set with "
            "categories=predictor.categories"
        )


def _check(entry: ImageProposals, num_classes: int, where: str) -> None:
    boxes, scores = entry.boxes, entry.scores
    labels = entry.labels if isinstance(entry, ImageDetections) else None
    if not all(isinstance(values, np.ndarray) for values in (boxes, scores, *([] if labels is None else [labels]))):
        raise InputError(f"{where}: expected NumPy arrays of boxes, scores and labels, found other types")
    shapes = {"scores": scores.shape} | ({} if labels is None else {"labels": labels.shape})
    if boxes.ndim != 2 or boxes.shape[1] != 4 or any(shape != boxes.shape[:1] for shape in shapes.values()):
        raise InputError(
            f"{where}: expected boxes [N, 4] and {' and '.join(f'{name} [N]' for name in shapes)}, "
            f"found {list(boxes.shape)} and {' and '.join(str(list(shape)) for shape in shapes.values())}"
        )
    _refuse(~np.isfinite(scores), scores, f"{where}: scores", "finite numbers")
    _refuse(np.any(~np.isfinite(boxes), axis=1), boxes, f"{where}: boxes", "finite numbers")
    _refuse(
        np.any(boxes[:, 2:] < boxes[:, :2], axis=1),
        boxes,
        f"{where}: boxes",
        "[y1, x1, y2, x2] with y2 >= y1, x2 >= x1",
    )
    if labels is not None:
        expected = f"labels in 0..{num_classes - 1}"
        _refuse(~np.isin(labels, np.arange(num_classes)), labels, f"{where}: labels", expected)


def _refuse(wrong: np.ndarray, values: np.ndarray, where: str, expected: str) -> None:
    if wrong.any():
        first = int(np.argmax(wrong))
        raise InputError(f"{where}[{first}]: expected {expected}, found {values[first].tolist()}")
