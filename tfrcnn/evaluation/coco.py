"""The COCO metric, computed by pycocotools or faster-coco-eval.

Legend: T = 10 IoU thresholds, R = 101 recall thresholds, C classes, A = 4 area ranges, L = 3 limits of detections.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tfrcnn.data.example import Dataset, ImageDetections
from tfrcnn.errors import InputError
from tfrcnn.evaluation.coco_results import result_rows
from tfrcnn.evaluation.coco_results import to_coco_results as to_coco_results
from tfrcnn.evaluation.coco_results import write_coco_results as write_coco_results
from tfrcnn.evaluation.inputs import align, image_ranks
from tfrcnn.evaluation.limits import COCO_LIMIT
from tfrcnn.evaluation.result import ClassResult, Curve, Evaluation
from tfrcnn.installed import collector_paused
from tfrcnn.overlap import to_xywh

# pycocotools' twelve numbers, in its order. AP and AR are means over IoU .5:.05:.95, unless the name has an IoU.
# s, m, l: area < 32^2 <= area < 96^2 <= area. AR1, AR10, AR100: detections per image.
HEADLINE = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


Engine = Literal["pycocotools", "faster-coco-eval"]
ENGINES: tuple[Engine, ...] = get_args(Engine)


def evaluate_coco(
    dataset: Dataset,
    detections: Sequence[ImageDetections],
    max_detections: int = COCO_LIMIT,
    engine: Engine = "pycocotools",
) -> Evaluation:
    """Compute the twelve numbers of the COCO challenge, and AP per class.

    Crowd regions count as `iscrowd`, and `Example.area` decides the size of an object. COCO has no difficult objects:
    VOC's difficult objects count like any other.

    Args:
        dataset: images with ground truth.
        detections: at most one entry per image, in any order. An image without an entry has no detections.
        max_detections: the detections per image and class that take part, best first, at least 100. 100 is COCO's.
        engine: the package that computes the numbers. "faster-coco-eval" computes the same numbers in less time.

    Returns:
        `headline` has the names of `HEADLINE`, with `max_detections` in place of 100. Each class has AP, AP50 and
        AP75, and a curve at IoU 0.5 over the recalls 0, 0.01, ... 1.

    Raises:
        InputError: the detections do not fit the data set; see `tfrcnn.evaluation.inputs.align`.
        InputError: `max_detections` is below 100, or the engine is unknown or not installed.
    """
    if max_detections < COCO_LIMIT:
        raise InputError(f"max_detections: expected at least {COCO_LIMIT}, found {max_detections}")
    with collector_paused():
        return _evaluate(dataset, detections, max_detections, engine)


def _evaluate(
    dataset: Dataset, detections: Sequence[ImageDetections], max_detections: int, engine: Engine
) -> Evaluation:
    aligned = align(dataset, detections)
    image_ids = image_ranks(dataset)
    truths = _truths(dataset, image_ids)
    results = result_rows(aligned, image_ids, range(len(dataset.categories)))
    for result in results:  # in place, here and below: there may be millions
        result.update(area=result["bbox"][2] * result["bbox"][3], iscrowd=0)
    coco, coco_eval = _engine(engine)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports by printing
        indices = (_index(coco, image_ids, len(dataset.categories), entries) for entries in (truths, results))
        evaluator = coco_eval(*indices, "bbox")
        evaluator.params.maxDets = [1, 10, max_detections]
        evaluator.evaluate()
        evaluator.accumulate()
    crowd = sum(truth["iscrowd"] for truth in truths)
    return Evaluation(
        metric="coco",
        iou_threshold=0.5,
        headline=_headline(evaluator.eval["precision"], evaluator.eval["recall"], max_detections),
        per_class=_per_class(dataset, evaluator, truths, results),
        counts={
            "images": len(dataset),
            "ground_truth": len(truths) - crowd,
            "ignored": crowd,
            "detections": len(results),
        },
    )


def headline_names(max_detections: int) -> list[str]:
    """Return the names of the COCO metric's numbers, if it judges so many detections per image and class."""
    return [f"AR{max_detections}" if name == f"AR{COCO_LIMIT}" else name for name in HEADLINE]


def _headline(precision: np.ndarray, recall: np.ndarray, max_detections: int) -> dict[str, float | None]:
    """Compute the numbers of `COCOeval.summarize`, which has them for 100 detections only.

    Args:
        precision: [T, R, C, A, L], -1 where it is undefined.
        recall: [T, C, A, L], -1 where it is undefined.
        max_detections: the last of the limits.
    """
    parts = [precision[..., 0, -1], precision[0, ..., 0, -1], precision[5, ..., 0, -1]]
    parts += [precision[..., area, -1] for area in (1, 2, 3)]
    parts += [recall[..., 0, limit] for limit in (0, 1, 2)]
    parts += [recall[..., area, -1] for area in (1, 2, 3)]
    defined = [part[part > -1] for part in parts]
    return {
        name: float(np.mean(part)) if part.size else None for name, part in zip(headline_names(max_detections), defined)
    }


def _truths(dataset: Dataset, image_ids: Sequence[int]) -> list[dict[str, Any]]:
    return [
        {"image_id": image_id, "category_id": label, "bbox": box, "area": area, "iscrowd": int(crowd)}
        for image_id, example in zip(image_ids, dataset.examples)
        for box, label, area, crowd in zip(
            to_xywh(example.boxes), example.labels.tolist(), example.area.tolist(), example.crowd.tolist()
        )
    ]


def _engine(name: str) -> tuple[type[Any], type[Any]]:
    """Return the classes of an engine: the index of annotations, and the evaluator."""
    if name == "pycocotools":
        return COCO, COCOeval
    if name != "faster-coco-eval":
        raise InputError(f"engine: expected one of {', '.join(ENGINES)}, found {name!r}")
    try:
        import faster_coco_eval
    except ImportError as error:
        raise InputError("engine: faster-coco-eval is not installed; run pip install faster-coco-eval") from error
    return faster_coco_eval.COCO, faster_coco_eval.COCOeval_faster


def _index(coco_type: type[Any], image_ids: list[int], num_classes: int, annotations: list[dict[str, Any]]) -> Any:
    """Build a COCO object without a file. `COCO.loadRes` would refuse an empty list of results."""
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number  # from 1: pycocotools stores a match as the id of the box, and reads 0 as "none"
    coco = coco_type()
    coco.dataset = {
        "images": [{"id": i} for i in image_ids],
        "categories": [{"id": label} for label in range(num_classes)],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco


def _per_class(
    dataset: Dataset, evaluator: Any, truths: list[dict[str, Any]], results: list[dict[str, Any]]
) -> tuple[ClassResult, ...]:
    num_classes = len(dataset.categories)
    objects = np.bincount([t["category_id"] for t in truths if not t["iscrowd"]], minlength=num_classes)
    detections = np.bincount([r["category_id"] for r in results], minlength=num_classes)
    precision = evaluator.eval["precision"][:, :, :, 0, -1]  # [T, R, C]: all areas, all detections; -1 = no object
    scores = evaluator.eval["scores"][0, :, :, 0, -1]
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
            curve=Curve(evaluator.params.recThrs, precision[0, :, label], scores[:, label]) if objects[label] else None,
        )
        for label, category in enumerate(dataset.categories)
    )


def _defined(value: float) -> float | None:
    """Return None for pycocotools' -1, which means that there is no object to detect."""
    return None if value < 0 else float(value)
