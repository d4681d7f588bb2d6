"""Images that are there twice, by content: a copy under another name is the same image.

A detector remembers images that it was trained on. Scores on the same images choose the wrong epoch, and promise more
than new images will give. Two copies with different boxes in one data set teach that the other's objects are
background.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfrcnn.data.checks import in_threads
from tfrcnn.data.embedded import image_status, open_bytes
from tfrcnn.data.example import Dataset, Example
from tfrcnn.data.faults import Fault, Report

Content = tuple[int, int, int] | bytes  # the number of a file, or the digest of one that may have copies


class _File(NamedTuple):
    """An image on the disk; `number` is the same for all links to its file."""

    example: Example
    size: int
    number: tuple[int, int, int]


def with_shared_images(train: Dataset, val: Dataset, report: Report) -> Report:
    """Add a fault for each validation image that is a training image too.

    Args:
        train: the training data.
        val: the validation data.
        report: the report to add to.

    Returns:
        The report, with the faults.
    """
    return replace(report, faults=(*report.faults, *shared_faults(train, shared_images(train, val))))


def shared_faults(train: Dataset, shared: Sequence[tuple[Example, Example]]) -> list[Fault]:
    """Return a fault for each of `shared_images`."""
    faults = []
    for example, same in shared:
        message = f"expected an image that is not in {train.source}, found the same as {same.path}"
        faults.append(Fault("image-in-two-splits", str(example.path), "", message))
    return faults


def shared_images(train: Dataset, val: Dataset) -> list[tuple[Example, Example]]:
    """Return each validation image that is a training image too, with that training image."""
    train_files, val_files = _files(train), _files(val)
    sizes = {file.size for file in train_files} & {file.size for file in val_files}
    train_files, val_files = ([file for file in files if file.size in sizes] for files in (train_files, val_files))
    contents = _contents([*train_files, *val_files])
    same = {contents[file.number]: file.example for file in train_files}
    return [(file.example, same[content]) for file in val_files if (content := contents[file.number]) in same]


def check_copies(dataset: Dataset) -> list[Fault]:
    """Report images that are there twice with different boxes."""
    faults = []
    for example, before in copied_images(dataset):
        if not _same_boxes(before, example):
            message = f"expected the boxes of {before.path}, which is the same image, found others"
            faults.append(Fault("copied-image", str(example.path), "", message))
    return faults


def copied_images(dataset: Dataset) -> list[tuple[Example, Example]]:
    """Return each image that is a copy of an earlier one, with the first of the same content."""
    files = _files(dataset)
    contents = _contents(files)
    first: dict[Content, Example] = {}
    pairs = [(file.example, first.setdefault(contents[file.number], file.example)) for file in files]
    return [(example, before) for example, before in pairs if example is not before]


def _files(dataset: Dataset) -> list[_File]:
    """Return the files of a data set that are still there."""
    files = []
    for example in dataset.examples:
        try:
            status = image_status(example.path)
        except OSError:
            continue
        files.append(_File(example, *status))
    return files


def _contents(files: Sequence[_File]) -> dict[tuple[int, int, int], Content]:
    """Return what is the same for files of the same content, by their numbers.

    Only files of equal sizes are read, and each only once, however many links it has.
    """
    by_size: defaultdict[int, dict[tuple[int, int, int], Path]] = defaultdict(dict)
    for file in files:
        by_size[file.size][file.number] = file.example.path
    contents: dict[tuple[int, int, int], Content] = {file.number: file.number for file in files}
    to_read = {number: path for paths in by_size.values() if len(paths) > 1 for number, path in paths.items()}
    contents.update(zip(to_read, in_threads(_digest, list(to_read.values()), "comparing images")))
    return contents


def _digest(path: Path) -> bytes:
    """Return the SHA-256 of a file; random bytes, which equal no others, if it cannot be read."""
    try:
        with open_bytes(path) as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return os.urandom(32)


def _same_boxes(one: Example, other: Example) -> bool:
    """Compare boxes and labels in any order."""
    if one.boxes.shape != other.boxes.shape:
        return False
    rows = [sorted(np.column_stack([example.boxes, example.labels]).tolist()) for example in (one, other)]
    return rows[0] == rows[1]


def content_groups(dataset: Dataset) -> np.ndarray:
    """Number the images [n] so that those of the same content have the same number 0, 1, ...

    A file that cannot be read is the same as no other.
    """
    files = _files(dataset)
    contents = _contents(files)
    content_of = {id(file.example): contents[file.number] for file in files}
    numbers: dict[Content | int, int] = {}
    groups = [numbers.setdefault(content_of.get(id(e), id(e)), len(numbers)) for e in dataset.examples]
    return np.array(groups, np.intp)
