"""Tables and JSON of evaluations. `tfrcnn.drawing` has their figures."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfrcnn.deprecation import moved
from tfrcnn.evaluation.limits import describe
from tfrcnn.evaluation.proposals import ProposalEvaluation
from tfrcnn.evaluation.result import Evaluation
from tfrcnn.files import atomic
from tfrcnn.printable import printable, shorten

MEANING = {
    "AP": "mean over IoU 0.50, 0.55, ... 0.95",
    "AP50": "at IoU 0.50",
    "AP75": "at IoU 0.75",
    "APs": "small objects, area < 32^2 px",
    "APm": "medium objects",
    "APl": "large objects, area >= 96^2 px",
    "ARs": "recall, small objects",
    "ARm": "recall, medium objects",
    "ARl": "recall, large objects",
    "mAP": "mean over the classes",
}
TITLE = {"coco": "COCO metric", "voc": "VOC metric (area under the curve)", "voc07": "VOC2007 metric (11 points)"}
RECALL_AT = (0.5, 0.7, 0.9)  # IoUs of the columns in a table of proposals
MAX_NAME = 30  # characters of a category name in a table or a legend

FIGURES = ("plot_confusion", "plot_curves", "plot_precision_recall", "plot_recall")
__getattr__ = moved(__name__, dict.fromkeys(FIGURES, "tfrcnn.drawing"))


def render(evaluation: Evaluation) -> str:
    """Write an evaluation as text: headline numbers with their meaning, a table of the classes, and the limits.

    Undefined numbers are written as "-".

    Example:
        print(render(tfrcnn.evaluate(dataset, detections)))
    """
    counts = evaluation.counts
    ignored = f" and {counts['ignored']} ignored" if counts["ignored"] else ""
    title = TITLE[evaluation.metric] + ("" if evaluation.metric == "coco" else f" at IoU {evaluation.iou_threshold:g}")
    headline = [[name, _number(value), _meaning(name)] for name, value in evaluation.headline.items()]
    lines = [
        f"{title}: {counts['images']} images, {counts['ground_truth']} objects{ignored}, "
        f"{counts['detections']} detections",
        "",
        *_table(headline, "lrl"),
    ]
    if evaluation.per_class:
        columns = list(evaluation.per_class[0].metrics)
        rows = [
            [
                short_name(row.category.name),
                *map(_number, row.metrics.values()),
                f"{row.ground_truth}",
                f"{row.detections}",
            ]
            for row in evaluation.per_class
        ]
        lines += ["", *_table([["class", *columns, "objects", "detections"], *rows], "l" + "r" * (len(columns) + 2))]
    limits = describe(evaluation.limits)
    return "\n".join(lines) + "\n" + (f"\n{limits}" if limits else "")


def render_proposals(evaluation: ProposalEvaluation) -> str:
    """Write an evaluation of proposals as text: a row per limit with its recall at some IoUs and AR by size.

    Undefined numbers are written as "-".

    Example:
        print(render_proposals(tfrcnn.evaluate_proposals(dataset, predictor.propose_dataset(dataset))))
    """
    counts = evaluation.counts
    ignored = f" and {counts['ignored']} ignored" if counts["ignored"] else ""
    columns = [(t, iou) for t, iou in enumerate(evaluation.iou_thresholds) if round(iou, 2) in RECALL_AT]
    rows = [["proposals", *(f"IoU {iou:.2f}" for _, iou in columns), "AR", "ARs", "ARm", "ARl"]]
    for k, limit in enumerate(evaluation.limits):
        recall = [None if evaluation.recall is None else evaluation.recall[k, t] for t, _ in columns]
        average = [evaluation.average_recall[f"AR{size}@{limit}"] for size in ("", "s", "m", "l")]
        rows.append([f"{limit}", *map(_number, (*recall, *average))])
    lines = [
        f"Recall of proposals: {counts['images']} images, {counts['ground_truth']} objects{ignored}, "
        f"{counts['proposals']} proposals",
        "",
        *_table(rows, "r" * len(rows[0])),
        "",
        "AR is the mean recall over IoU 0.50, 0.55, ... 0.95; s, m, l: area < 32^2 px, between, >= 96^2 px.",
    ]
    return "\n".join(lines) + "\n"


def write_json(
    path: str | Path, evaluation: Evaluation | ProposalEvaluation, extra: Mapping[str, Any] | None = None
) -> None:
    """Write an evaluation as JSON; an existing file is replaced only when the new one is complete.

    Args:
        path: file to write or replace.
        evaluation: its `to_dict()` is written.
        extra: entries to write first, for example model, data and time.

    Raises:
        ValueError: a value is not JSON, for example NaN. `path` keeps its content.

    Example:
        write_json("metrics.json", tfrcnn.evaluate(dataset, detections), {"model": "runs/cells"})
    """
    text = json.dumps({**(extra or {}), **evaluation.to_dict()}, indent=2, ensure_ascii=False, allow_nan=False)
    # Put lists of numbers on one line; JSON strings hold no line breaks.
    text = re.sub(r"\[\n[-+.\deE,\s]+\]", lambda numbers: "".join(numbers[0].split()).replace(",", ", "), text)
    with atomic(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")  # a lone surrogate


def _meaning(name: str) -> str:
    if count := re.fullmatch(r"AR(\d+)", name):
        return f"recall with {count[1]} detection{'s' if count[1] != '1' else ''} per image"
    return MEANING.get(name, "")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def short_name(name: str) -> str:
    """Shorten a category name to the width of a column or of a legend; an ellipsis marks the cut."""
    return shorten(printable(name), MAX_NAME, "…")


def _table(rows: Sequence[Sequence[str]], align: str) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(align))]
    pads = [str.ljust if side == "l" else str.rjust for side in align]
    return ["  ".join(pad(cell, width) for pad, cell, width in zip(pads, row, widths)).rstrip() for row in rows]
