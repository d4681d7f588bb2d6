"""Faults that no single entry shows: files and boxes listed twice, objects that nothing learns from or can return.

Legend: N boxes of the whole data set.
"""

from __future__ import annotations

import os

import numpy as np

from tfrcnn.data.checks import BOXES_AT_ONCE, Parsed
from tfrcnn.data.example import Dataset
from tfrcnn.data.example_table import column_of, owners_of
from tfrcnn.data.faults import Fault
from tfrcnn.data.image_table import OpenedTable

MIN_BOXES = 5  # fewer may look like corners by chance
MIN_BEYOND = 0.1  # share of boxes that leave their images


def check_consistency(parsed: Parsed, opened: OpenedTable, boxes: np.ndarray, keep: np.ndarray) -> list[Fault]:
    """Report everything that entries show only together.

    Args:
        parsed: the annotations.
        opened: the file of each image.
        boxes: [N, 4] in pixels.
        keep: [N] bool, the boxes that can be used.
    """
    repeated = check_repeated_boxes(parsed, opened, boxes, keep)
    return [
        *check_files(parsed, opened),
        *check_unit(parsed, opened, boxes, keep),
        *check_corners(parsed, opened),
        *repeated,
        *check_targets(parsed, keep),
    ]


def check_unit(parsed: Parsed, opened: OpenedTable, boxes: np.ndarray, keep: np.ndarray) -> list[Fault]:
    """Report boxes that all lie within the first pixel: fractions of the image in place of pixels.

    Args:
        parsed: the annotations.
        opened: the file of each image.
        boxes: [N, 4] in pixels.
        keep: [N] bool, the boxes that can be used.
    """
    if not keep.any() or boxes[keep].max() > 1 or opened.sizes.max(initial=0) <= 1:
        return []
    record = parsed.boxes[int(np.argmax(keep))]
    where = parsed.box_field.format(record.place)
    message = f"expected pixels, found {parsed.show_box(*record.yxyx)}, and no larger number in any box"
    return [Fault("boxes-in-fractions", parsed.images[record.image].file, where, message)]


def check_corners(parsed: Parsed, opened: OpenedTable) -> list[Fault]:
    """Report COCO boxes that make sense as two corners only: as [x, y, width, height], many leave their images.

    Args:
        parsed: the annotations.
        opened: the file of each image.
    """
    if not parsed.box_field.endswith(".bbox"):
        return []
    owners = parsed.boxes.images
    rows: np.ndarray = np.flatnonzero(opened.usable[owners])
    if len(rows) < MIN_BOXES:
        return []
    limits = opened.sizes[owners[rows]] + 1.0  # a pixel for rounding
    yxyx = parsed.boxes.yxyx[rows]
    first, ends = yxyx[:, :2], yxyx[:, 2:]
    with np.errstate(invalid="ignore"):  # of endless numbers
        second = ends - first  # as written: width and height, or the other corner
    beyond = (ends > limits).any(axis=1)
    if beyond.mean() < MIN_BEYOND or not ((second > first) & (second <= limits)).all():
        return []
    record = parsed.boxes[int(rows[np.argmax(beyond)])]
    where = parsed.box_field.format(record.place)
    message = (
        f"expected [x, y, width, height], found {parsed.show_box(*record.yxyx)}, which fits as two corners, as all do"
    )
    return [Fault("boxes-as-corners", parsed.images[record.image].file, where, message)]


def check_names(dataset: Dataset) -> list[Fault]:
    """Report categories whose names differ only in case or spaces: one class, written in two ways."""
    faults = []
    first: dict[str, str] = {}
    for category in dataset.categories:
        before = first.setdefault(" ".join(category.name.casefold().split()), category.name)
        if before != category.name:
            message = f"expected one spelling of each class, found {category.name!r} and {before!r}"
            faults.append(Fault("similar-categories", dataset.source, f"category {category.name!r}", message))
    return faults


def check_files(parsed: Parsed, opened: OpenedTable) -> list[Fault]:
    """Find files that are listed as several images: each then lacks the objects of the others."""
    faults = []
    first: dict[str, int] = {}
    hashes = np.fromiter((0 if image is None else hash(os.path.normpath(image.path)) for image in opened), np.int64)
    values, counts = np.unique(hashes, return_counts=True)
    for number in np.flatnonzero(np.isin(hashes, values[counts > 1])).tolist():  # few; paths take much memory
        record, image = parsed.images[number], opened[number]
        if image is not None:
            before = first.setdefault(os.path.normpath(image.path), number)
            if before != number:
                message = (
                    f"expected each file once, found {image.path} for image {parsed.images[before].image_id!r} too"
                )
                faults.append(Fault("duplicate-image-file", record.file, record.name_field, message))
    return faults


def check_repeated_boxes(parsed: Parsed, opened: OpenedTable, boxes: np.ndarray, keep: np.ndarray) -> list[Fault]:
    """Find boxes that are annotated twice: same image, same label, same coordinates. One fault per image.

    Args:
        parsed: the annotations.
        opened: the file of each image.
        boxes: [N, 4] in pixels.
        keep: [N] bool, the boxes that can be used.
    """
    rows = np.flatnonzero(keep)
    if not len(rows):
        return []
    repeated = _repeated(parsed, rows)
    images = parsed.boxes.images[repeated]
    faults = []
    for first, count in zip(*np.unique(images, return_index=True, return_counts=True)[1:]):
        row = repeated[first]
        record = parsed.boxes[row]
        more = f" (and {count - 1:,} more of this image)" if count > 1 else ""
        message = f"expected each object once, found {parsed.show_box(*record.yxyx)} again{more}"
        file, where = parsed.images[record.image].file, parsed.box_field.format(record.place)
        image = opened[record.image]
        path = "" if image is None else str(image.path)
        faults.append(Fault("duplicate-box", file, where, message, path, tuple(boxes[row].tolist())))
    return faults


def _repeated(parsed: Parsed, rows: np.ndarray) -> np.ndarray:
    """Return the rows [r], of some rows of the boxes, that repeat an earlier one, in ascending order."""
    owners, labels = parsed.boxes.images, parsed.boxes.labels
    pieces = [rows]
    if (np.diff(owners[rows]) >= 0).all():  # image by image: then pieces of whole images can be compared
        pieces = np.split(rows, np.searchsorted(owners[rows], owners[rows[BOXES_AT_ONCE::BOXES_AT_ONCE]]))
    repeated = []
    for piece in pieces:
        if len(piece):
            yxyx = parsed.boxes.yxyx_of(slice(int(piece.min()), int(piece.max()) + 1))[piece - piece.min()]
            keys = np.column_stack([yxyx, owners[piece], labels[piece]])
            order = np.lexsort(keys.T)
            same = (keys[order][1:] == keys[order][:-1]).all(axis=1)
            repeated.append(piece[order[1:][same]])
    return np.sort(np.concatenate(repeated))


def check_targets(parsed: Parsed, keep: np.ndarray) -> list[Fault]:
    """Report boxes of which none is a target: all are crowd or difficult.

    A box that is lost has its own fault, and may have been the target: then nothing is reported.
    """
    lost = not keep.all() or any(fault.action == "refused" for fault in parsed.faults)
    if lost or not parsed.boxes or not (parsed.boxes.crowd | parsed.boxes.difficult).all():
        return []
    message = f"expected a box that is neither crowd nor difficult, found none among {len(parsed.boxes):,}"
    return [Fault("nothing-to-learn", parsed.images[0].file, "", message)]


def check_counts(dataset: Dataset, max_detections: int) -> list[Fault]:
    """Find images with more objects than a detector returns.

    Args:
        dataset: the data.
        max_detections: boxes that the detector returns per image.
    """
    faults = []
    objects = ~column_of(dataset.examples, "crowd")
    counts = np.bincount(owners_of(dataset.examples)[objects], minlength=len(dataset))
    for position in np.flatnonzero(counts > max_detections).tolist():
        message = f"expected at most {max_detections:,} boxes, all that a detector returns, found {counts[position]:,}"
        faults.append(Fault("too-many-objects", str(dataset.examples[position].path), "", message))
    return faults
