"""The report on data: what is in a data set, drawn and counted, in one HTML file.

The doctor lists faults. This page shows them, and what no list of faults shows: how often each class occurs, where
boxes are and how well anchors fit them, which images are in two splits, and what training makes of the images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tfrcnn.config import DetectorConfig
from tfrcnn.config_base import check_whole_number
from tfrcnn.data.anchors import anchor_recall
from tfrcnn.data.doctor import examine
from tfrcnn.data.example import Example
from tfrcnn.data.near_duplicates import NearDuplicate, image_hashes, near_duplicates
from tfrcnn.data.overlap import copied_images, shared_faults, shared_images
from tfrcnn.data.read import read_dataset, read_validation
from tfrcnn.data.split import as_fraction, check_val_images, split_dataset, split_report
from tfrcnn.errors import InputError
from tfrcnn.files import atomic, check_path
from tfrcnn.models.build import anchor_strides
from tfrcnn.models.preset_table import Preset
from tfrcnn.models.presets import preset as preset_of
from tfrcnn.report import data_pictures
from tfrcnn.report.choose import IGNORED
from tfrcnn.report.numbers import GRID, IOUS, anchor_marks, anchor_numbers, bin_edges, class_numbers, split_numbers
from tfrcnn.report.page import render
from tfrcnn.report.pictures import NOTHING, Filter, Pair, Picture, filters
from tfrcnn.report.splits import Split
from tfrcnn.seeds import check_seed

DEFAULT_MODEL = "mobilenet_v2_fpn"
DEFAULT_PICTURES, MAX_PICTURES = 120, 1000
SUFFIXES = (".html", ".htm")
SIZE_TEXTS = {
    "tiny": "under 16 px",
    "small": "16 to 32 px",
    "medium": "32 to 96 px",
    "large": "over 96 px",
    IGNORED: "crowd or difficult",
    NOTHING: "no object",
}
SERIES = ("box_sizes", "box_ratios")  # the histograms
Pairs = list[tuple[Example, Example]]


def data_report(
    data: str,
    out: str | Path,
    val: str | float | None = None,
    images: str | Path | None = None,
    val_images: str | Path | None = None,
    preset: Preset | None = None,
    pictures: int = DEFAULT_PICTURES,
    seed: int = 0,
) -> dict[str, Any]:
    """Write a page about a data set: one HTML file, which loads nothing else.

    It shows counts by class and split, sizes and shapes of boxes with the anchors of a preset, where boxes are, images
    with their boxes, the doctor's faults with their images, images that are there twice or look the same, and pictures
    as training sees them.

    Args:
        data: as in `read_dataset`.
        out: file to write or replace; its name ends in .html.
        val: validation data, as `data`, to show next to it and to compare with it; or a fraction of `data` that is
            split off, for example 0.2, as `tfrcnn.train` does with the seed of the preset's training.
        images: as in `read_dataset`, for `data`.
        val_images: as in `read_dataset`, for `val`; None is `images` if `val` is one data set.
        preset: whose anchors to compare the boxes with, and whose training to show; None is "mobilenet_v2_fpn".
        pictures: images with boxes to show, in 0..1000; about 30 kB each.
        seed: of the choice of these images, at least 0.

    Returns:
        The numbers of the page, as JSON values. "refused" says whether the data set cannot be used; the page is
        written all the same.

    Raises:
        InputError: `data` or `val` is not a data set at all, or another argument cannot be used.

    Example:
        numbers = tfrcnn.data_report("cells/VOC@train", "report.html", val="cells/VOC@val")
        print(numbers["splits"]["data"]["recall_ceiling"])
    """
    out = check_path(out, "out")
    _check_arguments(out, pictures, seed)
    check_val_images(val, val_images)
    start = preset or preset_of(DEFAULT_MODEL)
    with atomic(out) as temporary:
        temporary.touch()  # a place that cannot be written ends here, not after the work
        splits, shared = _read(data, val, images, val_images, start.detector, start.training.seed)
        copies = copied_images(splits[0].dataset)
        near, near_shared = _near_duplicates(splits, copies, shared)
        numbers: dict[str, Any] = {
            "refused": any(split.report.refused for split in splits),
            "preset": start.detector.preset,
            "splits": {split.name: split_numbers(split) for split in splits},
            "classes": class_numbers(splits),
            "bins": bin_edges(),
            "anchors": anchor_numbers(start.detector.anchors),
            "copied_images": [_pair_numbers(*pair) for pair in copies],
            "near_duplicates": [_pair_numbers(*pair) for pair in near],
            "images_in_two_splits": [_pair_numbers(*pair) for pair in shared],
            "near_duplicates_in_two_splits": [_pair_numbers(*pair) for pair in near_shared],
        }
        shown = data_pictures.gallery(splits, pictures, seed)
        augmented, augmentations = data_pictures.augmented(splits[0], start)
        page = render(
            "data.html",
            numbers=numbers,
            pictures=shown,
            filters=_filters(splits, shown),
            classes_shown=len({item[0] for picture in shown for item in picture.items} - {NOTHING}),
            faults=data_pictures.fault_groups(splits, seed),
            shared_pairs=_pairs(splits[-1], splits[0], shared),
            near_shared_pairs=_pairs(splits[-1], splits[0], near_shared),
            copied_pairs=_pairs(splits[0], splits[0], copies),
            near_pairs=_pairs(splits[0], splits[0], near),
            series={key: {s.name: numbers["splits"][s.name][key] for s in splits} for key in SERIES},
            marks=anchor_marks(numbers["anchors"]),
            augmented=augmented,
            augmentations=augmentations,
            max_pairs=data_pictures.MAX_PAIRS,
            grid=GRID,
            ious=IOUS,
        )
        temporary.write_text(page, encoding="utf-8")
    return numbers


def _check_arguments(out: Path, pictures: int, seed: int) -> None:
    if out.suffix.lower() not in SUFFIXES:
        raise InputError(f"out: expected a file name that ends in .html, found {out}")
    if out.is_dir():
        raise InputError(f"out: expected a file to write, found the folder {out}")
    check_whole_number(pictures, "pictures", 0, MAX_PICTURES)
    check_seed(seed)


def _read(
    data: str,
    val: str | float | None,
    images: str | Path | None,
    val_images: str | Path | None,
    config: DetectorConfig,
    split_seed: int,
) -> tuple[list[Split], Pairs]:
    """Read and examine the splits; return them, and the validation images that are training images too."""
    dataset, report = read_dataset(data, images, config.categories or None)
    parts = [("data", dataset, report)]
    shared: Pairs = []
    if fraction := as_fraction(val):
        train, held_out = split_dataset(dataset, fraction, split_seed)
        reports = split_report(report, train, held_out)
        parts = [("data", train, reports[0]), ("val", held_out, reports[1])]
    elif val is not None:
        val_dataset, val_report = read_validation(val, images, val_images, dataset.categories)
        shared = shared_images(dataset, val_dataset)
        faults = (*val_report.faults, *shared_faults(dataset, shared))
        parts.append(("val", val_dataset, replace(val_report, faults=faults)))
    strides = anchor_strides(config)
    splits = [
        Split(name, dataset, examine(dataset, report, config, strides), anchor_recall(dataset, config, strides))
        for name, dataset, report in parts
    ]
    return splits, shared


def _near_duplicates(
    splits: Sequence[Split], copies: Pairs, shared: Pairs
) -> tuple[list[NearDuplicate], list[NearDuplicate]]:
    """Return near-duplicates within the first split, and between the second and the first."""
    copied, also_shared = ({example for example, _ in entries} for entries in (copies, shared))
    examples = [example for example in splits[0].dataset.examples if example not in copied]
    hashes = image_hashes(examples)
    near = near_duplicates(examples, hashes)
    if len(splits) == 1:
        return near, []
    others = [example for example in splits[1].dataset.examples if example not in also_shared]
    return near, near_duplicates(others, image_hashes(others), examples, hashes)


def _pair_numbers(image: Example, other: Example, distance: int = 0) -> dict[str, Any]:
    return {"image": str(image.path), "same_as": str(other.path), "distance": distance}


def _pairs(split: Split, other_split: Split, entries: Sequence[tuple[Any, ...]]) -> list[Pair]:
    """Draw pairs; the text of near-duplicates is how many bits of their hashes differ."""
    return data_pictures.pairs(
        [
            (split, image, other_split, other, f"{rest[0]} of 256 bits differ" if rest else "the same file content")
            for image, other, *rest in entries
        ]
    )


def _filters(splits: Sequence[Split], pictures: Sequence[Picture]) -> list[Filter]:
    classes = {str(label): category.name for label, category in enumerate(splits[0].dataset.categories)}
    kinds = {fault: fault for split in splits for fault in split.report.counts()}
    texts = {
        "Class": {**classes, NOTHING: "no object"},
        "Size in the network": SIZE_TEXTS,
        "Fault": {NOTHING: "no fault", **kinds},
        "Split": {split.name: split.name for split in splits},
    }
    return [entry for entry in filters(pictures, texts) if len(entry.choices) > 1]
