"""Evaluations and training runs for people: tables for the terminal, JSON, and figures.

Figures are drawn without pyplot, so nothing depends on a display or on a backend that the caller has set, and each
file is replaced whole.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfrcnn.data.example import Dataset, ImageDetections
from tfrcnn.evaluation.confusion import confusion_matrix
from tfrcnn.evaluation.proposals import ProposalEvaluation
from tfrcnn.evaluation.result import ClassResult, Curve, Evaluation
from tfrcnn.files import atomic

MEANING = {
    "AP": "mean over IoU 0.50, 0.55, ... 0.95",
    "AP50": "at IoU 0.50",
    "AP75": "at IoU 0.75",
    "APs": "small objects, area < 32^2 px",
    "APm": "medium objects",
    "APl": "large objects, area >= 96^2 px",
    "AR1": "recall with 1 detection an image",
    "AR10": "recall with 10 detections an image",
    "AR100": "recall with 100 detections an image",
    "ARs": "recall, small objects",
    "ARm": "recall, medium objects",
    "ARl": "recall, large objects",
    "mAP": "mean over the classes",
}
TITLE = {"coco": "COCO metric", "voc": "VOC metric (area under the curve)", "voc07": "VOC2007 metric (11 points)"}
RECALL_AT = (0.5, 0.7, 0.9)  # IoUs that a table of proposals has a column for
LONGEST_NAME = 30  # characters of a category name in a table

# Okabe and Ito's colours, which colour-blind readers can tell apart, without their yellow (unreadable on white).
COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
DASHES = ("-", "--", ":", "-.")
MOST_LABELLED = 10  # curves of more classes than this are drawn grey, but for the best and the worst
MOST_NUMBERED = 25  # a confusion matrix of more classes has no room for numbers


def render(evaluation: Evaluation) -> str:
    """The evaluation as text: headline numbers with their meaning, then a table of the classes.

    Numbers that are not defined are shown as "-".
    """
    counts = evaluation.counts
    ignored = f" and {counts['ignored']} ignored" if counts["ignored"] else ""
    title = TITLE[evaluation.metric] + ("" if evaluation.metric == "coco" else f" at IoU {evaluation.iou_threshold:g}")
    headline = [[name, _number(value), MEANING.get(name, "")] for name, value in evaluation.headline.items()]
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
                _shortened(row.category.name),
                *map(_number, row.metrics.values()),
                f"{row.ground_truth}",
                f"{row.detections}",
            ]
            for row in evaluation.per_class
        ]
        lines += ["", *_table([["class", *columns, "objects", "detections"], *rows], "l" + "r" * (len(columns) + 2))]
    return "\n".join(lines) + "\n"


def render_proposals(evaluation: ProposalEvaluation) -> str:
    """The evaluation of proposals as text: a row for each limit, recall at some IoUs, then AR by size.

    Numbers that are not defined are shown as "-".
    """
    counts = evaluation.counts
    ignored = f" and {counts['ignored']} ignored" if counts["ignored"] else ""
    shown = [(t, iou) for t, iou in enumerate(evaluation.iou_thresholds) if round(iou, 2) in RECALL_AT]
    rows = [["proposals", *(f"IoU {iou:.2f}" for _, iou in shown), "AR", "ARs", "ARm", "ARl"]]
    for k, limit in enumerate(evaluation.limits):
        recall = [None if evaluation.recall is None else evaluation.recall[k, t] for t, _ in shown]
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
    """Write `evaluation.to_dict()`, after the entries of `extra` (model, data, time, ...), as JSON.

    Raises:
        ValueError: an entry is not JSON (NaN is not); `path` is then left as it was.
    """
    text = json.dumps({**(extra or {}), **evaluation.to_dict()}, indent=2, ensure_ascii=False, allow_nan=False)
    # A list of numbers on one line; a line break within brackets is never inside a JSON string.
    text = re.sub(r"\[\n[-+.\deE,\s]+\]", lambda numbers: "".join(numbers[0].split()).replace(",", ", "), text)
    with atomic(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def plot_precision_recall(evaluation: Evaluation, path: str | Path) -> None:
    """Draw the precision-recall curves of the classes, at `evaluation.iou_threshold`.

    What is drawn is the best precision at this recall or a higher one, the curve that AP is the area under. Up to
    ten classes have a colour each; of more, the three best and three worst are named and the rest is grey.
    """
    curves = sorted(((row, row.curve) for row in evaluation.per_class if row.curve), key=_ap_at_curve, reverse=True)
    named = curves if len(curves) <= MOST_LABELLED else curves[:3] + curves[-3:]
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.add_subplot()
    for _, curve in curves[len(named) // 2 : -len(named) // 2] if len(curves) > len(named) else ():
        axes.plot(*_ceiling(curve), color="0.8", linewidth=0.8, drawstyle="steps-pre")
    for number, (row, curve) in enumerate(named):
        color, dash = COLORS[number % len(COLORS)], DASHES[number // len(COLORS)]
        label = f"{_shortened(row.category.name)}  {_ap_at_curve((row, curve)):.3f}"
        axes.plot(*_ceiling(curve), dash, color=color, label=label, drawstyle="steps-pre")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    axes.set_title(f"Precision and recall at IoU {evaluation.iou_threshold:g} ({evaluation.counts['images']} images)")
    axes.grid(color="0.92")
    if named:
        title = "class and AP" if len(named) == len(curves) else f"best and worst of {len(curves)}"
        axes.legend(title=title, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, alignment="left")
    else:
        _say(axes, "no class has an object to be found")
    _save(figure, path)


def plot_recall(evaluation: ProposalEvaluation, path: str | Path) -> None:
    """Draw recall against IoU, a curve for each limit of proposals: figure 4 of the paper."""
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.add_subplot()
    if evaluation.recall is None:
        _say(axes, "there is no object to be found")
    else:
        for number, (limit, recall) in enumerate(zip(evaluation.limits, evaluation.recall)):
            dash = DASHES[number // len(COLORS) % len(DASHES)]
            label = f"{limit}  {evaluation.average_recall[f'AR@{limit}']:.3f}"
            axes.plot(evaluation.iou_thresholds, recall, dash, color=COLORS[number % len(COLORS)], label=label)
        axes.legend(title="proposals and AR", frameon=False, alignment="left")
    axes.set(xlim=(0.5, 1), ylim=(0, 1.02), xlabel="IoU", ylabel="recall")
    axes.set_title(f"Recall of proposals ({evaluation.counts['images']} images)")
    axes.grid(color="0.92")
    _save(figure, path)


def plot_curves(history: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Draw a training run: losses above, average precision and recall on validation images below.

    Args:
        history: one row for each logged step or epoch. The abscissa is "step" where each row has one, else
            "epoch", else the row's number. Keys "loss" and "..._loss" are losses; AP, AP50, mAP, AR100, ...,
            also as "val_...", are metrics; others are not drawn. A row may lack any key, or have None or NaN.
            Where "phase" changes from row to row, lines are broken, and a dotted one is drawn across.
    """
    kinds = [("step", "step"), ("epoch", "epoch")]
    key, unit = next(((k, u) for k, u in kinds if history and all(k in row for row in history)), (None, "row"))
    position = [float(row[key]) if key else float(n) for n, row in enumerate(history, start=1)]
    names = list(dict.fromkeys(name for row in history for name in row))
    losses = [name for name in names if re.search(r"(^|_)loss$", name)]
    metrics = [name for name in names if re.fullmatch(r"(val_)?m?A[PR](\d+|[sml])?", name)]
    figure = Figure(figsize=(8, 7 if metrics else 4), layout="constrained")
    panels = figure.subplots(2 if metrics else 1, 1, sharex=True, squeeze=False)[:, 0]
    _draw_lines(panels[0], history, position, losses)
    panels[0].set(ylabel="loss (dimensionless)", title="Training")
    panels[0].set_ylim(bottom=0)
    if metrics:
        _draw_lines(panels[1], history, position, metrics, marker="o")
        panels[1].set(ylabel="AP or AR (fraction)", title="Validation", ylim=(0, 1))
    panels[-1].set_xlabel(unit)
    for last_of_phase in [x for x, row, following in zip(position, history, history[1:]) if _is_new(following, row)]:
        for panel in panels:
            panel.axvline(last_of_phase, color="0.5", linewidth=0.8, linestyle=":")
    _save(figure, path)


def _is_new(row: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether another phase begins with a row of a history."""
    return row.get("phase") != before.get("phase")


def plot_confusion(
    dataset: Dataset, detections: Sequence[ImageDetections], path: str | Path, iou: float = 0.5, score: float = 0.5
) -> None:
    """Draw `confusion_matrix`, each row coloured by its shares; the last column is missed, the last row false alarms.

    Raises:
        InputError: the detections do not fit the data set.
    """
    matrix = confusion_matrix(dataset, detections, iou, score)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    names = [_shortened(category.name) for category in dataset.categories]
    size = len(matrix)
    side = min(4.0 + 0.42 * size, 16.0)
    figure = Figure(figsize=(side + 1.0, side), layout="constrained")
    axes = figure.add_subplot()
    picture = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    figure.colorbar(picture, ax=axes, shrink=0.8, label="share of the row")
    font = min(9.0, 0.6 * 72 * 0.75 * side / size)  # 0.6 of a cell: three quarters of `side` inches hold them all
    axes.set_xticks(range(size), [*names, "(missed)"], rotation=60, ha="right", rotation_mode="anchor", fontsize=font)
    axes.set_yticks(range(size), [*names, "(no object)"], fontsize=font)
    axes.set(xlabel="detected as", ylabel="is")
    axes.set_title(f"Confusion at IoU {iou:g} and score {score:g} ({len(dataset)} images)")
    for boundary in (axes.axhline, axes.axvline):
        boundary(size - 1.5, color="0.5", linewidth=0.8)
    if size <= MOST_NUMBERED:
        for row, column in np.argwhere(matrix > 0):
            color = "white" if shares[row, column] > 0.6 else "black"
            axes.text(column, row, str(matrix[row, column]), ha="center", va="center", fontsize=font, color=color)
    _save(figure, path)


def _draw_lines(
    axes: Axes, history: Sequence[Mapping[str, Any]], position: list[float], names: list[str], marker: str = ""
) -> None:
    names = [name for name in names if any(_is_number(row.get(name)) for row in history)]
    for number, name in enumerate(names):
        rows = [(x, row) for x, row in zip(position, history) if _is_number(row.get(name))]
        color, dash = COLORS[number % len(COLORS)], DASHES[number // len(COLORS) % len(DASHES)]
        label: str | None = name
        for phase in dict.fromkeys(row.get("phase") for _, row in rows):
            points = [(x, row[name]) for x, row in rows if row.get("phase") == phase]
            x, y = np.array(points, np.float64).T
            window = len(y) // 50
            if window > 1:  # hundreds of noisy steps: the running mean over a fiftieth of them, on top of the noise
                axes.plot(x, y, color=color, linewidth=0.5, alpha=0.25)
                y = np.convolve(y, np.ones(window) / window, mode="valid")
                x = x[window - 1 :]
            axes.plot(x, y, dash, color=color, label=label, marker=marker, markersize=3)
            label = None  # one entry of the legend for all phases
    axes.grid(color="0.92")
    if names:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    else:
        _say(axes, "nothing logged")


def _say(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color="0.4")


def _save(figure: Figure, path: str | Path) -> None:
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _ceiling(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Recall from 0 on, and the best precision at each recall or a higher one."""
    precision = np.maximum.accumulate(curve.precision[::-1])[::-1]
    return np.append(0.0, curve.recall), np.append(precision.max(initial=0.0), precision)


def _ap_at_curve(entry: tuple[ClassResult, Curve]) -> float:
    """AP at the IoU of the curves: COCO's AP is a mean over several."""
    row = entry[0]
    value = row.metrics.get("AP50", row.metrics["AP"])
    return 0.0 if value is None else value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and math.isfinite(value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _table(rows: Sequence[Sequence[str]], align: str) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(align))]
    pads = [str.ljust if side == "l" else str.rjust for side in align]
    return ["  ".join(pad(cell, width) for pad, cell, width in zip(pads, row, widths)).rstrip() for row in rows]
