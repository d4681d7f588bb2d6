"""Images that are there twice, by content: a copy under another name is the same image.

A detector remembers images that it was trained on. Scores on the same images choose the wrong epoch, and promise more
than new images will give. Two copies with different boxes in one data set teach that the other's objects are
background.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfrcnn.data.checks import each_in_threads
from tfrcnn.data.embedded import image_status, open_bytes
from tfrcnn.data.example import Dataset, Example
from tfrcnn.data.faults import Fault, Report


class _Files(NamedTuple):
    """Image files on the disk.

    Attributes:
        sets: the examples of data sets.
        owners: [m] the set of each file.
        rows: [m] its position in the set.
        sizes: [m] in bytes.
        numbers: [m, 3] the same for all links to a file.
    """

    sets: tuple[Sequence[Example], ...]
    owners: np.ndarray
    rows: np.ndarray
    sizes: np.ndarray
    numbers: np.ndarray

    def example(self, i: int) -> Example:
        """Return the example of a file."""
        return self.sets[int(self.owners[i])][int(self.rows[i])]

    def of(self, mask: np.ndarray) -> _Files:
        """Return the files where a mask is true."""
        return _Files(self.sets, *(column[mask] for column in self[1:]))

    def joined(self, other: _Files) -> _Files:
        """Return the files of both: first these, then the other ones."""
        owners = np.concatenate([self.owners, len(self.sets) + other.owners])
        columns = (np.concatenate(pair) for pair in zip(self[2:], other[2:]))
        return _Files((*self.sets, *other.sets), owners, *columns)


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
    files = _files(train), _files(val)
    sizes = np.intersect1d(files[0].sizes, files[1].sizes)
    train_files, val_files = (part.of(np.isin(part.sizes, sizes)) for part in files)
    both = train_files.joined(val_files)
    contents = _contents(both)
    is_val = np.arange(len(contents)) >= len(train_files.sizes)
    common = np.intersect1d(contents[~is_val], contents[is_val])
    same = {contents[i]: i for i in np.flatnonzero(~is_val & np.isin(contents, common)).tolist()}
    copies = np.flatnonzero(is_val & np.isin(contents, common)).tolist()
    return [(both.example(i), both.example(same[contents[i]])) for i in copies]


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
    first = np.unique(contents, return_index=True)[1][contents]
    copies = np.flatnonzero(first != np.arange(len(first))).tolist()
    return [(files.example(i), files.example(first[i])) for i in copies]


def _files(dataset: Dataset) -> _Files:
    """Return the files of a data set that are still there."""
    rows, entries = array("q"), array("Q")
    for row, example in enumerate(dataset.examples):
        try:
            status = image_status(example.path)
        except OSError:
            continue
        rows.append(row)
        entries.extend((status.size, *status.number))
    columns = np.array(entries, np.uint64).reshape(-1, 4)
    owners = np.zeros(len(rows), np.intp)
    return _Files((dataset.examples,), owners, np.array(rows, np.intp), columns[:, 0], columns[:, 1:])


def _contents(files: _Files) -> np.ndarray:
    """Number the contents of files [m]: the same number 0, 1, ... for the same content.

    Only files of equal sizes are read, and each only once, however many links it has.
    """
    first, contents = np.unique(files.numbers, axis=0, return_index=True, return_inverse=True)[1:]
    contents = contents.reshape(-1)
    of_size, links = np.unique(files.sizes[first], return_inverse=True, return_counts=True)[1:]
    to_read = np.flatnonzero(links[of_size] > 1)
    digests = b"".join(
        each_in_threads(lambda i: _digest(files.example(i).path), first[to_read].tolist(), "comparing images")
    )
    words = np.frombuffer(digests, np.uint64).reshape(-1, 4)
    numbers = np.arange(len(first))
    numbers[to_read] = len(first) + np.unique(words, axis=0, return_inverse=True)[1].reshape(-1)
    return np.unique(numbers[contents], return_inverse=True)[1].reshape(-1)


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
    """Number the images [n] 0, 1, ..., by first appearance. Images of the same content have the same number.

    A file that cannot be read is the same as no other.
    """
    files = _files(dataset)
    groups = len(dataset) + np.arange(len(dataset))
    groups[files.rows] = _contents(files)
    first, inverse = np.unique(groups, return_index=True, return_inverse=True)[1:]
    ranks = np.empty(len(first), np.intp)
    ranks[np.argsort(first)] = np.arange(len(first))
    return ranks[inverse.reshape(-1)]
