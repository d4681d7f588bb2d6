"""The COCO metric, by pycocotools itself, and COCO result files.

Legend: T = 10 IoU thresholds, R = 101 recall thresholds, C classes, A = 4 area ranges, L = 3 limits of detections.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tfrcnn.data.example import Dataset, ImageDetections
from tfrcnn.evaluation.inputs import align
from tfrcnn.evaluation.result import ClassResult, Curve, Evaluation
from tfrcnn.files import atomic

# pycocotools' twelve, in its order: AP and AR over IoU .5:.05:.95 unless said, by area (S < 32^2 <= M < 96^2 <= L)
# and by the number of detections allowed in an image.
HEADLINE = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def evaluate_coco(dataset: Dataset, detections: Sequence[ImageDetections]) -> Evaluation:
    """The twelve numbers of the COCO challenge, and AP of each class.

    pycocotools is given our boxes and no file. Crowd regions are `iscrowd`; the size classes go by `Example.area`;
    VOC's `difficult` means nothing to this metric, such an object is one to be found. At most 100 detections an
    image and class take part.

    Args:
        detections: at most one entry for each image, in any order; images without one have no detections.

    Returns:
        `headline` has the names of `HEADLINE`; each class has AP, AP50 and AP75; curves are at IoU 0.5, over the
        recalls 0, 0.01, ... 1.

    Raises:
        InputError: the detections do not fit the data set (see `tfrcnn.evaluation.inputs.align`).
    """
    found = align(dataset, detections)
    image_ids = _ranks(dataset)
    truths = _truths(dataset, image_ids)
    results = _results(found, image_ids, range(len(dataset.categories)))
    judge = _judge(image_ids, len(dataset.categories), truths, results)
    crowd = sum(truth["iscrowd"] for truth in truths)
    return Evaluation(
        metric="coco",
        iou_threshold=0.5,
        headline={name: _defined(value) for name, value in zip(HEADLINE, judge.stats)},
        per_class=_per_class(dataset, judge, truths, results),
        counts={
            "images": len(dataset),
            "ground_truth": len(truths) - crowd,
            "ignored": crowd,
            "detections": len(results),
        },
    )


def to_coco_results(dataset: Dataset, detections: Sequence[ImageDetections]) -> list[dict[str, Any]]:
    """Detections in COCO's result format, with the data set's own image ids and category ids.

    Returns:
        [{"image_id", "category_id", "bbox": [x, y, width, height] in pixels, "score"}, ...] in the order of the
        data set's images; nothing is rounded.

    Raises:
        InputError: the detections do not fit the data set.
    """
    image_ids = [example.image_id for example in dataset.examples]
    return _results(align(dataset, detections), image_ids, [category.id for category in dataset.categories])


def write_coco_results(path: str | Path, dataset: Dataset, detections: Sequence[ImageDetections]) -> None:
    """Write `to_coco_results` as JSON, replacing `path` whole.

    Raises:
        InputError: the detections do not fit the data set; `path` is then left as it was.
    """
    results = to_coco_results(dataset, detections)
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(results), encoding="utf-8")


def _ranks(dataset: Dataset) -> list[int]:
    """Image ids for pycocotools, which wants numbers: each image's place in the order of the data set's own ids, by
    which pycocotools breaks ties of scores between images."""
    ids = [example.image_id for example in dataset.examples]
    ranks = {image_id: rank for rank, image_id in enumerate(sorted(ids, key=lambda i: (isinstance(i, str), i)))}
    return [ranks[image_id] for image_id in ids]


def _judge(
    image_ids: list[int], num_classes: int, truths: list[dict[str, Any]], results: list[dict[str, Any]]
) -> COCOeval:
    boxes = [result | {"area": result["bbox"][2] * result["bbox"][3], "iscrowd": 0} for result in results]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports by printing
        judge = COCOeval(_index(image_ids, num_classes, truths), _index(image_ids, num_classes, boxes), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return judge


def _results(
    found: Sequence[ImageDetections], image_ids: Sequence[int | str], category_ids: Sequence[int]
) -> list[dict[str, Any]]:
    return [
        {"image_id": image_id, "category_id": category_ids[label], "bbox": box, "score": score}
        for image_id, image in zip(image_ids, found)
        for box, score, label in zip(_xywh(image.boxes), image.scores.tolist(), image.labels.tolist())
    ]


def _truths(dataset: Dataset, image_ids: Sequence[int]) -> list[dict[str, Any]]:
    return [
        {"image_id": image_id, "category_id": label, "bbox": box, "area": area, "iscrowd": int(crowd)}
        for image_id, example in zip(image_ids, dataset.examples)
        for box, label, area, crowd in zip(
            _xywh(example.boxes), example.labels.tolist(), example.area.tolist(), example.crowd.tolist()
        )
    ]


def _xywh(boxes: np.ndarray) -> list[list[float]]:
    """yxyx [N, 4] -> xywh; float64, so that x + width is x2 again."""
    y1, x1, y2, x2 = boxes.astype(np.float64).T
    return np.stack([x1, y1, x2 - x1, y2 - y1], axis=-1).tolist()


def _index(image_ids: list[int], num_classes: int, annotations: list[dict[str, Any]]) -> COCO:
    """A COCO object without a file; `COCO.loadRes` would refuse an empty list of results."""
    coco = COCO()
    coco.dataset = {
        "images": [{"id": i} for i in image_ids],
        "categories": [{"id": label} for label in range(num_classes)],
        # From 1: pycocotools notes the match of a box by its id, and reads 0 as "none".
        "annotations": [annotation | {"id": number} for number, annotation in enumerate(annotations, start=1)],
    }
    coco.createIndex()
    return coco


def _per_class(
    dataset: Dataset, judge: COCOeval, truths: list[dict[str, Any]], results: list[dict[str, Any]]
) -> tuple[ClassResult, ...]:
    num_classes = len(dataset.categories)
    objects = np.bincount([t["category_id"] for t in truths if not t["iscrowd"]], minlength=num_classes)
    detections = np.bincount([r["category_id"] for r in results], minlength=num_classes)
    precision = judge.eval["precision"][:, :, :, 0, -1]  # [T, R, C]: all areas, 100 detections; -1 = no object
    scores = judge.eval["scores"][0, :, :, 0, -1]
    return tuple(
        ClassResult(
            category=category,
            metrics={
                "AP": _defined(precision[:, :, label].mean()),
                "AP50": _defined(precision[0, :, label].mean()),
                "AP75": _defined(precision[5, :, label].mean()),
            },
            ground_truth=int(objects[label]),
            detections=int(detections[label]),
            curve=Curve(judge.params.recThrs, precision[0, :, label], scores[:, label]) if objects[label] else None,
        )
        for label, category in enumerate(dataset.categories)
    )


def _defined(value: float) -> float | None:
    """pycocotools says -1 where there is no object to be found."""
    return None if value < 0 else float(value)
