"""Images that are in two data sets, by content: a copy under another name is the same image.

A detector remembers images that it was trained on. Scores on the same images choose the wrong epoch, and promise more
than new images will give.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from tfrcnn.data.checks import in_threads
from tfrcnn.data.example import Dataset
from tfrcnn.data.faults import Fault, Report


class _File(NamedTuple):
    """A file on the disk; `number` is the same for all links to it."""

    path: Path
    size: int
    number: tuple[int, int]


def with_shared_images(train: Dataset, val: Dataset, report: Report) -> Report:
    """Add a fault for each validation image that is a training image too.

    Only files of equal sizes are read, and each only once, however many links it has.

    Args:
        train: the training data.
        val: the validation data.
        report: the report to add to.

    Returns:
        The report, with the faults.
    """
    train_files, val_files = _files(train), _files(val)
    numbers = {file.number: file.path for file in train_files}
    sizes = {file.size for file in train_files}
    unknown = [file for file in val_files if file.number not in numbers and file.size in sizes]
    same = _by_content([file for file in train_files if file.size in {other.size for other in unknown}], unknown)
    faults = []
    for file in val_files:
        path = numbers.get(file.number) or same.get(file.number)
        if path is not None:
            message = f"expected an image that is not in {train.source}, found the same as {path}"
            faults.append(Fault("image-in-two-splits", str(file.path), "", message))
    return replace(report, faults=(*report.faults, *faults))


def _files(dataset: Dataset) -> list[_File]:
    """Return the files of a data set that are still there."""
    files = []
    for example in dataset.examples:
        try:
            status = os.stat(example.path)
        except OSError:
            continue
        files.append(_File(example.path, status.st_size, (status.st_dev, status.st_ino)))
    return files


def _by_content(train: Sequence[_File], val: Sequence[_File]) -> dict[tuple[int, int], Path]:
    """Return the training image of the same content, by the number of the validation file."""
    files = {file.number: file for file in (*train, *val)}
    digests = dict(zip(files, in_threads(_digest, [file.path for file in files.values()], "comparing images")))
    paths = defaultdict(list)
    for file in train:
        paths[digests[file.number]].append(file.path)
    return {file.number: paths[digests[file.number]][0] for file in val if paths.get(digests[file.number])}


def _digest(path: Path) -> bytes:
    """Return the SHA-256 of a file; random bytes if it cannot be read, which equal no other."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return os.urandom(32)
