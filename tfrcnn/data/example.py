"""Data sets and detections in memory: the contract between readers, training and evaluation.

Boxes are [y1, x1, y2, x2] in pixels of the ORIGINAL, upright image, continuous: a box covering the whole image is
[0, 0, height, width]. A category's id is the data set's number for it; its label is its position 0..C-1 among the data
set's categories.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tfrcnn.config import Category
from tfrcnn.detections import ImageDetections as ImageDetections
from tfrcnn.detections import ImageProposals as ImageProposals
from tfrcnn.errors import InputError

# The fields of `Example` with a row per box, and their types.
BOX_FIELDS = {
    "boxes": np.float32,
    "labels": np.int32,
    "crowd": np.bool_,
    "difficult": np.bool_,
    "area": np.float32,
    "annotation_ids": np.int64,
}


FINGERPRINTED = ("boxes", "labels", "crowd", "difficult")  # fields in a data set's fingerprint


class Columns(Protocol):
    """The fields of the examples of a data set, by row, see `tfrcnn.data.example_table`."""

    def value(self, name: str, row: int) -> Any:
        """Return a field of an example."""


@dataclass(frozen=True, eq=False)
class Example:
    """One image and its annotations; an image without boxes is a valid example (a negative).

    Attributes:
        image_id: unique in its data set (COCO's number, or the VOC file's stem).
        path: the image file.
        height: of the upright image that the boxes refer to, in pixels.
        width: of that image, in pixels.
        boxes: [N, 4] float32, yxyx pixels of that image.
        labels: [N] int32 in 0..C-1.
        crowd: [N] bool, COCO iscrowd: never a training target, ignored by the COCO metric.
        difficult: [N] bool, VOC difficult: never a training target, ignored by the VOC metrics.
        area: [N] float32 pixels^2, COCO's segmentation area if there is one, else the box's.
        orientation: EXIF orientation 1..8 that the decoder applies to the stored pixels; 1 is none.
        annotation_ids: [N] int64 COCO annotation ids, else 1, 2, ... over the data set.

    Example:
        for example in tfrcnn.load_dataset("cells/VOC@train").examples:
            print(example.path, len(example.boxes))
    """

    image_id: int | str
    path: Path
    height: int
    width: int
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    difficult: np.ndarray
    area: np.ndarray
    orientation: int
    annotation_ids: np.ndarray

    @classmethod
    def of_row(cls, columns: Columns, row: int) -> Example:
        """Return an example that reads its fields from columns when they are used."""
        example = cls.__new__(cls)
        example.__dict__["_row"] = columns, row
        return example

    if not TYPE_CHECKING:  # with it, a type checker would accept any name

        def __getattr__(self, name: str) -> Any:
            """Read a field from the columns."""
            row = self.__dict__.get("_row")
            if row is None or name not in self.__dataclass_fields__:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            value = self.__dict__[name] = row[0].value(name, row[1])
            return value

    def __eq__(self, other: object) -> bool:
        """Return whether both are the same example of the same data set."""
        row = self.__dict__.get("_row")
        is_same_row = isinstance(other, Example) and row is not None and row == other.__dict__.get("_row")
        return self is other or is_same_row

    def __hash__(self) -> int:
        return hash(self.__dict__.get("_row", id(self)))

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields, so that a copy in another process does not take the whole data set with it."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory: annotations only, pixels stay in their files.

    Attributes:
        source: the DATA argument that it was read from, for messages.
        categories: a category's position is its label.
        examples: in the order of the files. The readers return a table that makes an example when it is used.

    Example:
        dataset = tfrcnn.load_dataset("cells/instances.json")
        print(len(dataset), [category.name for category in dataset.categories])
    """

    source: str
    categories: tuple[Category, ...]
    examples: Sequence[Example]

    def __len__(self) -> int:
        return len(self.examples)

    def fingerprint(self) -> str:
        """Return the SHA-256 of all annotations, in order: the same for the same data set on another machine."""
        digest = hashlib.sha256(repr(self.categories).encode())
        content = getattr(self.examples, "content", None)  # of columns, without an object per example
        for image_id, name, height, width, boxes in content() if content else map(_content, self.examples):
            if isinstance(image_id, str):  # in joined data sets it may begin with a path
                image_id = image_id.replace("\\", "/").rpartition("/")[2]
            digest.update(repr((image_id, name, height, width)).encode() + boxes)
        return digest.hexdigest()


def _content(example: Example) -> tuple[int | str, str, int, int, bytes]:
    boxes = b"".join(np.ascontiguousarray(getattr(example, name)).tobytes() for name in FINGERPRINTED)
    return example.image_id, example.path.name, example.height, example.width, boxes


def check_dataset(dataset: Any, name: str = "dataset") -> None:
    """Raise InputError for anything but a `Dataset`; `name` is what the caller calls it."""
    if not isinstance(dataset, Dataset):
        raise InputError(f"{name} must be a Dataset of tfrcnn.load_dataset, found {type(dataset).__name__}")
