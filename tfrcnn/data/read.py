"""Read a data set of any format into memory, and report on it.

DATA is a file or folder of any of `tfrcnn.data.formats.FORMATS`, "FOLDER@split" where there are several splits, or
several of these joined by a plus. See `tfrcnn.data.data_format` to add a format.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrcnn.config import Category, as_categories
from tfrcnn.data.box_table import BoxTable
from tfrcnn.data.checks import Parsed, check_boxes, check_images
from tfrcnn.data.consistency import check_consistency, check_names
from tfrcnn.data.example import Dataset
from tfrcnn.data.example_table import ExampleColumns, ExampleTable, column_of, counts_of
from tfrcnn.data.faults import Fault, Report
from tfrcnn.data.formats import choose, data_text, holds_images, place_of
from tfrcnn.data.image_table import ImageTable, OpenedTable
from tfrcnn.data.join import PLUS, join, parts_of, val_folder
from tfrcnn.data.media import is_address
from tfrcnn.data.remote import local_folder
from tfrcnn.data.sources import nfc
from tfrcnn.errors import InputError, renamed_arguments
from tfrcnn.files import check_path


def read_dataset(
    data: str, images: str | Path | None = None, categories: Sequence[Category] | None = None
) -> tuple[Dataset, Report]:
    """Read a data set and report everything that is wrong with it.

    Args:
        data: `path/instances.json` (COCO), `path/VOCroot@split` (Pascal VOC), `path/data.yaml` (YOLO), or the folder as
            an annotation tool exported it. `FOLDER@split` chooses a split, `yolo:FOLDER` a format. Several data sets
            are joined by "+" and must have the first one's categories, see `tfrcnn.data.join`. A path may be an address
            (`s3://bucket/cells@train`), see `tfrcnn.data.remote`.
        images: folder of the images; None is where the format has them. Not for several data sets.
        categories: of a detector; labels are then positions among these, matched by name, since ids may differ
            between data sets. It is a fault if the data set uses another name.

    Returns:
        dataset: without what cannot be used.
        report: every fault; it may be `refused`.

    Raises:
        InputError: `data` is not a data set at all; `images` is not a folder, or is passed with several data sets or
            with a format that holds its images.

    Example:
        dataset, report = tfrcnn.read_dataset("cells/VOC@train")
        print(report.render())
    """
    data = data_text(data)
    if categories is not None:
        categories = as_categories(categories)
    parts = parts_of(data)
    if len(parts) > 1:
        if images is not None:
            raise InputError(f"images: expected none with several data sets joined by {PLUS}, found {images}")
        sets = [read_dataset(parts[0], None, categories)]
        sets += [read_dataset(part, None, sets[0][0].categories) for part in parts[1:]]
        return join(data, sets)
    if not isinstance(images, str | os.PathLike | None):
        raise InputError(f"images: expected a folder, found {type(images).__name__}")
    folder = None if images is None else check_path(images, "images")
    if is_address(str(images)):
        folder = local_folder(str(images), whole=not place_of(data).path.lower().endswith(".json"))
    if folder is not None and not folder.is_dir():
        raise InputError(f"images: expected a folder, found {'a file' if folder.exists() else 'nothing'} at {folder}")
    if folder is not None and holds_images(data):
        raise InputError(f"images: expected none, because {data} holds its images, found the folder {folder}")
    parsed = choose(data)(folder)
    if not isinstance(parsed.images, ImageTable):  # a format may return a list
        parsed.images = ImageTable(parsed.images)
    opened, image_faults = check_images(parsed.images)
    boxes, keep, box_faults, rounded = check_boxes(parsed, opened)
    examples = _examples(parsed, opened, boxes, keep)
    dataset = Dataset(data, parsed.categories, examples)
    faults = [*parsed.faults, *image_faults, *box_faults, *check_consistency(parsed, opened, boxes, keep)]
    used = used_labels(dataset)
    faults += check_names(dataset)
    faults += [_without_boxes(data, c) for label, c in enumerate(dataset.categories) if not used[label]]
    if categories is not None:
        dataset, unknown = _relabel(dataset, examples, tuple(categories), used)
        faults += unknown
    summary = {**summary_of(dataset), **parsed.summary, "boxes_clipped_by_less_than_1_px": rounded}
    summary["boxes"] = used.total()  # also those of unknown categories
    return dataset, Report(data, tuple(faults), summary)


def read_validation(
    val: Any, images: str | Path | None, val_images: str | Path | None, categories: Sequence[Category] | None
) -> tuple[Dataset, Report]:
    """Read validation data, see `read_dataset`; an error names the arguments of this function.

    Args:
        val: the validation data, text or a path.
        images: folder of the training images.
        val_images: folder of the validation images; None is `images` if `val` is one data set.
        categories: of the training data.
    """
    with renamed_arguments(data="val"):
        val = data_text(val)
    folder = val_folder(val, images, val_images)
    with renamed_arguments(data="val", images="images" if folder == images else "val_images"):
        if folder is not None and folder == images and len(parts_of(val)) == 1 and holds_images(val):
            folder = None  # the training images'
        return read_dataset(val, folder, categories)


def summary_of(dataset: Dataset) -> dict[str, int]:
    """Count the images, boxes and categories of a data set."""
    return {
        "images": len(dataset),
        "images_without_boxes": int((counts_of(dataset.examples) == 0).sum()),
        "boxes": used_labels(dataset).total(),
        "categories": len(dataset.categories),
        "crowd": int(column_of(dataset.examples, "crowd").sum()),
        "difficult": int(column_of(dataset.examples, "difficult").sum()),
    }


def used_labels(dataset: Dataset) -> Counter[int]:
    """Count the boxes of each label."""
    labels, counts = np.unique(column_of(dataset.examples, "labels"), return_counts=True)
    return Counter(dict(zip(labels.tolist(), counts.tolist())))


def load_dataset(data: str, images: str | Path | None = None, categories: Sequence[Category] | None = None) -> Dataset:
    """Read a data set, and raise if it cannot be used.

    Args:
        data: as in `read_dataset`.
        images: as in `read_dataset`.
        categories: as in `read_dataset`.

    Returns:
        The data set.

    Raises:
        InputError: `data` is not a data set, or a fault is refused; the message is then the whole report.

    Example:
        train = tfrcnn.load_dataset("cells/VOC@train")
        val = tfrcnn.load_dataset("cells/VOC@val", categories=train.categories)
    """
    dataset, report = read_dataset(data, images, categories)
    report.check()
    return dataset


def _examples(parsed: Parsed, opened: OpenedTable, boxes: np.ndarray, keep: np.ndarray) -> ExampleTable:
    """Return the usable images with their kept boxes, in the order of the files."""
    owners = parsed.boxes.images
    kept = np.flatnonzero(keep & opened.usable[owners])
    kept = kept[np.argsort(owners[kept], kind="stable")]
    columns = ExampleColumns(
        ids=parsed.images.ids,
        paths=parsed.images.paths,
        path_rows=opened.path_rows,
        sizes=opened.sizes,
        orientations=opened.orientations,
        splits=np.searchsorted(owners[kept], np.arange(len(opened) + 1)),
        boxes=_columns(parsed.boxes, kept, boxes[kept]),
    )
    return ExampleTable(columns, np.flatnonzero(opened.usable))


def _columns(records: BoxTable, kept: np.ndarray, boxes: np.ndarray) -> dict[str, np.ndarray]:
    """Return the fields of `Example` that have one row per box, over the whole data set.

    Args:
        records: the boxes as annotated.
        kept: [n] the records to use, in this order.
        boxes: [n, 4] float32, of the kept records.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    # COCO's metric takes an object's size from its area. Some tools write 0, which no box has.
    areas = records.areas[kept].astype(np.float32)
    ids = records.annotation_ids(kept)
    return {
        "boxes": boxes,
        "labels": records.labels[kept].astype(np.int32),
        "crowd": records.crowd[kept],
        "difficult": records.difficult[kept],
        "area": np.where(areas > 0, areas, sides[:, 0] * sides[:, 1]),
        "annotation_ids": np.arange(1, len(kept) + 1) if ids is None else ids,
    }


def _relabel(
    dataset: Dataset, examples: ExampleTable, categories: tuple[Category, ...], used: Counter[int]
) -> tuple[Dataset, list[Fault]]:
    """Make labels positions among `categories`; drop boxes of other categories, with one fault per category."""
    labels = {nfc(category.name): label for label, category in enumerate(categories)}
    mapping = np.array([labels.get(nfc(category.name), -1) for category in dataset.categories], np.int32)
    expected = f"expected one of {', '.join(category.name for category in categories)}"
    faults = [
        Fault("unknown-category", dataset.source, "", f"{expected}, found {category.name!r} ({used[label]:,} boxes)")
        for label, category in enumerate(dataset.categories)
        if mapping[label] < 0 and used[label]
    ]
    return Dataset(dataset.source, categories, examples.relabelled(mapping)), faults


def _without_boxes(data: str, category: Category) -> Fault:
    return Fault("category-without-boxes", data, f"category {category.name!r}", "expected at least 1 box, found 0")
