"""Converts data sets between formats: anything that `read_dataset` reads becomes COCO, VOC, YOLO or TFRecord."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from tfrcnn.data.example import Dataset
from tfrcnn.data.example_table import counts_of
from tfrcnn.data.faults import Report
from tfrcnn.data.headers import EXTENSIONS
from tfrcnn.data.image_copies import ImageCopies
from tfrcnn.data.read import read_dataset, read_validation
from tfrcnn.data.split import as_fraction, check_val_images, split_dataset
from tfrcnn.data.write_tfrecord import write_tfrecord
from tfrcnn.data.writers import Job, write_coco, write_voc, write_yolo
from tfrcnn.errors import InputError
from tfrcnn.files import atomic_folder, check_path

WRITERS: dict[str, Callable[[Job], None]] = {
    "coco": write_coco,
    "voc": write_voc,
    "yolo": write_yolo,
    "tfrecord": write_tfrecord,
}
# Formats that the tools of a target read; other images become PNGs.
_FORMATS = {
    "yolo": tuple(name for name in EXTENSIONS if name != "GIF"),
    "tfrecord": ("JPEG", "PNG"),
}


@dataclass(frozen=True)
class Conversion:
    """The result of `convert_dataset`.

    Attributes:
        data: DATA argument of each split, "train" and "val".
        counts: number of images and of boxes of each split.
        notes: lines that say what changed or is lost.

    Example:
        conversion = tfrcnn.convert_dataset("cells.json", "voc", "cells-voc")
        dataset = tfrcnn.load_dataset(conversion.data["train"])
    """

    data: dict[str, str]
    counts: dict[str, tuple[int, int]]
    notes: tuple[str, ...]


def convert_dataset(
    data: str,
    to: str,
    out: str | Path,
    val: str | float | None = None,
    images: str | Path | None = None,
    val_images: str | Path | None = None,
    shards: int | None = None,
    link: bool = False,
    progress: bool = False,
) -> Conversion:
    """Write a data set in another format, with its images.

    Images are copied byte for byte. An image with an EXIF orientation is turned and saved as PNG, since many tools
    ignore the orientation and would show the boxes elsewhere. So is an image of a format that the target cannot hold.

    Args:
        data: as in `read_dataset`; it becomes the split "train".
        to: "coco", "voc", "yolo" or "tfrecord".
        out: new folder. It appears when it is complete.
        val: validation data, which becomes the split "val"; its categories are matched by name. A fraction, for example
            0.2, splits that part of `data` off, as `split_dataset` does.
        images: folder of the images of `data`, as in `read_dataset`.
        val_images: folder of the images of `val`; None is `images` if `val` is one data set.
        shards: number of TFRecord files per split; None is one per 128 MiB.
        link: make hard links to the images where the disk allows them. A change of one file then changes both.
        progress: show a progress bar.

    Returns:
        The DATA arguments of the result, and what the format cannot hold.

    Raises:
        InputError: `out` exists, a data set cannot be used, or an image cannot be read.

    Example:
        tfrcnn.convert_dataset("cells/VOC@train", "yolo", "cells-yolo", val="cells/VOC@val")
    """
    if not isinstance(to, str) or to not in WRITERS:
        raise InputError(f"to: expected one of {', '.join(WRITERS)}, found {to!r}")
    if shards is not None and to != "tfrecord":
        raise InputError(f"shards: expected none for {to}, found {shards}; only tfrecord has shards")
    if os.path.lexists(check_path(out, "out")):
        raise InputError(f"{out} exists: expected a new folder")
    notes: list[str] = []
    splits = _read(data, val, images, val_images, notes)
    # A log file gets a line every half minute instead of ten a second.
    interval = 0.1 if sys.stderr.isatty() else 30.0
    count = sum(map(len, splits.values()))
    with (
        atomic_folder(out) as temporary,
        tqdm(total=count, desc="converting", unit="image", mininterval=interval, disable=not progress) as bar,
    ):
        copies = ImageCopies(_FORMATS.get(to, tuple(EXTENSIONS)), link, bar.update)
        job = Job(temporary, splits, copies, shards)
        WRITERS[to](job)
    arguments = {split: _join(Path(out), argument) for split, argument in job.data.items()}
    counts = {split: (len(dataset), _box_count(dataset)) for split, dataset in splits.items()}
    return Conversion(arguments, counts, tuple([*notes, *job.notes, *copies.notes]))


def _read(
    data: str,
    val: str | float | None,
    images: str | Path | None,
    val_images: str | Path | None,
    notes: list[str],
) -> dict[str, Dataset]:
    """Read the splits; see `convert_dataset`."""
    fraction = as_fraction(val)
    check_val_images(val, val_images)
    sets = {"train": read_dataset(data, images)}
    sets["train"][1].check()
    if fraction is None and val is not None:
        sets["val"] = read_validation(val, images, val_images, sets["train"][0].categories)
    splits: dict[str, Dataset] = {}
    for split, (dataset, report) in sets.items():
        report.check()
        if not dataset.examples:
            raise InputError(f"{dataset.source}: expected at least one image, found none")
        splits[split] = dataset
        notes += _changes(report)
    if fraction is not None:
        splits["train"], splits["val"] = split_dataset(splits["train"], fraction)
    return splits


def _changes(report: Report) -> list[str]:
    """Return a line for each kind of fault that changed the boxes while they were read."""
    actions = {fault.kind: fault.action for fault in report.faults}
    return [
        f"{report.source}: {count:,} x {kind}, {actions[kind]}; tfrcnn doctor lists them"
        for kind, count in report.counts().items()
        if actions[kind] in ("dropped", "clipped")
    ]


def _join(out: Path, argument: str) -> str:
    return f"{out}{argument}" if argument.startswith("@") else str(out / argument)


def _box_count(dataset: Dataset) -> int:
    return int(counts_of(dataset.examples).sum())
