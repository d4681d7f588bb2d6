"""The doctor: every fault of a data set in one report, with its statistics and the objects that anchors can reach.

Reading a data set (`tfrcnn.data.read`) already collects the faults of annotations and file headers. The doctor adds
the slow checks: it decodes each image, and compares each box with all anchors of a detector.

With a detector, `diagnose` also fits its anchors to the objects (`tfrcnn.data.anchor_fit`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tfrcnn.config import Category, DetectorConfig
from tfrcnn.config_base import check_whole_number
from tfrcnn.data.anchor_fit import check_shapes, fit_anchors
from tfrcnn.data.anchors import anchor_recall
from tfrcnn.data.checks import each_in_threads
from tfrcnn.data.consistency import check_counts
from tfrcnn.data.decode import decode_file
from tfrcnn.data.example import Dataset
from tfrcnn.data.example_table import column_of, counts_of, taken
from tfrcnn.data.faults import Fault, Report
from tfrcnn.data.headers import BadImageError
from tfrcnn.data.overlap import check_copies, with_shared_images
from tfrcnn.data.read import read_dataset, read_validation, used_labels
from tfrcnn.data.split import check_val_images
from tfrcnn.errors import InputError
from tfrcnn.seeds import check_seed

COCO_MAX_DETECTIONS = 100  # per image and class, where no detector says how many it returns


def diagnose(
    data: str,
    images: str | Path | None = None,
    config: DetectorConfig | None = None,
    strides: tuple[int, ...] | None = None,
    categories: Sequence[Category] | None = None,
    val: str | None = None,
    val_images: str | Path | None = None,
    images_to_check: int | None = None,
    seed: int = 0,
) -> Report:
    """Report everything that is wrong with a data set, and its statistics.

    Args:
        data: as in `read_dataset`.
        images: as in `read_dataset`.
        config: a detector whose anchors to compare the objects with, and to fit to them.
        strides: of that detector's anchor levels (`FasterRCNN.level_strides`).
        categories: as in `read_dataset`.
        val: validation data, as `data`; images that are in both are a fault, and so is all that refuses them.
        val_images: folder of the images of `val`; None is `images` if `val` is one data set.
        images_to_check: how many images to decode, at least 1, drawn at random; None decodes all. The annotations and
            headers of all images are read in any case.
        seed: of the draw, at least 0.

    Returns:
        The report; `report.refused` says whether the data set can be used.

    Raises:
        InputError: `data` is not a data set at all, only one of config and strides is passed, or `images_to_check` or
            `seed` is out of range.

    Example:
        report = tfrcnn.diagnose("cells/VOC@train", config=detector.config, strides=detector.level_strides)
        print(report.render())
    """
    if (config is None) != (strides is None):
        raise InputError("strides: expected config and strides together, found one of them")
    if images_to_check is not None:
        check_whole_number(images_to_check, "images_to_check")
    check_seed(seed)
    check_val_images(val, val_images)
    dataset, report = read_dataset(data, images, categories)
    report = examine(dataset, report, config, strides, images_to_check, seed)
    if config is not None and strides is not None and "recall_ceiling_of_anchors" in report.summary:
        fit = fit_anchors(dataset, config, strides)
        report = replace(report, summary={**report.summary, **fit.summary()})
    if val is None:
        return report
    val_dataset, val_report = read_validation(val, images, val_images, dataset.categories)
    refused = [fault for fault in val_report.faults if fault.action == "refused"]
    return with_shared_images(dataset, val_dataset, replace(report, faults=(*report.faults, *refused)))


def examine(
    dataset: Dataset,
    report: Report,
    config: DetectorConfig | None = None,
    strides: tuple[int, ...] | None = None,
    images_to_check: int | None = None,
    seed: int = 0,
) -> Report:
    """Add the doctor's checks to the report on a data set that has been read; see `diagnose`."""
    examples, summary = dataset.examples, {**report.summary}
    if images_to_check is not None and images_to_check < len(examples):
        drawn = np.random.default_rng(seed).choice(len(examples), images_to_check, replace=False)
        summary["images_decoded"] = {"drawn": images_to_check, "of": len(examples), "seed": seed}
        examples = taken(examples, np.sort(drawn))
    decoded = each_in_threads(lambda example: _decode(example.path), examples, "decoding images")
    faults = [fault for fault in decoded if fault]
    faults += check_copies(dataset)
    faults += check_counts(dataset, config.detections.max_detections if config else COCO_MAX_DETECTIONS)
    summary.update(_statistics(dataset))
    if config is not None and strides is not None:
        recall = anchor_recall(dataset, config, strides)
        faults += recall.faults(dataset)
        summary.update(recall.summary())
        faults += check_shapes(dataset, config, strides)
    return Report(report.source, (*report.faults, *faults), summary)


def _decode(path: Path) -> Fault | None:
    try:
        decode_file(path)
    except BadImageError as error:
        return Fault(error.kind, str(path), "", str(error))
    return None


def _statistics(dataset: Dataset) -> dict[str, Any]:
    if not len(dataset):
        return {}
    labels, boxes = used_labels(dataset), column_of(dataset.examples, "boxes")
    statistics: dict[str, Any] = {
        "boxes_by_category": {c.name: labels[label] for label, c in enumerate(dataset.categories)},
        "boxes_per_image": _quantiles(counts_of(dataset.examples)),
        "image_height_px": _quantiles(column_of(dataset.examples, "height")),
        "image_width_px": _quantiles(column_of(dataset.examples, "width")),
    }
    if len(boxes):
        sides = boxes[:, 2:] - boxes[:, :2]
        statistics["box_height_px"] = _quantiles(sides[:, 0])
        statistics["box_width_px"] = _quantiles(sides[:, 1])
        statistics["box_size_px"] = _quantiles(np.sqrt(sides.prod(axis=1)))
    return statistics


def _quantiles(values: np.ndarray) -> dict[str, float]:
    shares = {"min": 0.0, "5%": 0.05, "25%": 0.25, "median": 0.5, "75%": 0.75, "95%": 0.95, "max": 1.0}
    return {name: float(np.quantile(values, share)) for name, share in shares.items()}
