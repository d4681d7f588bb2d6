"""Draws the figures of training runs and evaluations, and writes them to files.

Figures are drawn without pyplot: they need no display and leave the caller's backend alone. An existing file is
replaced only when the new one is complete.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrcnn.data.example import Dataset, ImageDetections
from tfrcnn.drawing.fonts import figure_name, figure_text
from tfrcnn.drawing.palette import line_style
from tfrcnn.evaluation.confusion import confusion_matrix
from tfrcnn.evaluation.proposals import ProposalEvaluation
from tfrcnn.evaluation.report import short_name
from tfrcnn.evaluation.result import ClassResult, Curve, Evaluation
from tfrcnn.files import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_COLORED = 10  # of more curves, only the best and the worst are coloured
MAX_NUMBERED = 25  # classes of a confusion matrix whose cells have room for numbers
PANEL = (8, 5.5)  # width and height in inches
OUTSIDE: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}  # a legend to the right of the axes


def plot_precision_recall(evaluation: Evaluation, path: str | Path) -> None:
    """Draw precision against recall per class, at `evaluation.iou_threshold`.

    Precision is the best at the same or a higher recall: AP is the area under this curve. Up to ten classes have a
    colour each. If there are more, the three best and the three worst are coloured, and the others are grey.

    Args:
        evaluation: result of `tfrcnn.evaluate`.
        path: image file to write or replace.

    Example:
        plot_precision_recall(tfrcnn.evaluate(dataset, detections), "precision_recall.png")
    """
    curves = sorted(((row, row.curve) for row in evaluation.per_class if row.curve), key=_ap, reverse=True)
    named = curves if len(curves) <= MAX_COLORED else curves[:3] + curves[-3:]
    figure, (axes,) = _panels(PANEL)
    for _, curve in curves[3:-3] if len(curves) > MAX_COLORED else ():
        axes.plot(*_ceiling(curve), color="0.8", linewidth=0.8, drawstyle="steps-pre")
    for number, (row, curve) in enumerate(named):
        label = f"{figure_name(short_name(row.category.name))}  {_ap((row, curve)):.3f}"
        axes.plot(*_ceiling(curve), **line_style(number), label=label, drawstyle="steps-pre")
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    axes.set_title(f"Precision and recall at IoU {evaluation.iou_threshold:g} ({evaluation.counts['images']} images)")
    if named:
        title = "class and AP" if len(named) == len(curves) else f"best and worst of {len(curves)}"
        axes.legend(title=title, frameon=False, alignment="left", **OUTSIDE)
    else:
        _note(axes, "no class has an object to be found")
    _save(figure, path)


def plot_recall(evaluation: ProposalEvaluation, path: str | Path) -> None:
    """Draw recall of proposals against IoU, one curve per number of proposals (figure 4 of the paper).

    Args:
        evaluation: result of `tfrcnn.evaluate_proposals`.
        path: image file to write or replace.

    Example:
        plot_recall(tfrcnn.evaluate_proposals(dataset, predictor.propose_dataset(dataset)), "recall.png")
    """
    figure, (axes,) = _panels(PANEL)
    if evaluation.recall is None:
        _note(axes, "there is no object to be found")
    else:
        for number, (limit, recall) in enumerate(zip(evaluation.limits, evaluation.recall)):
            label = f"{limit}  {evaluation.average_recall[f'AR@{limit}']:.3f}"
            axes.plot(evaluation.iou_thresholds, recall, **line_style(number), label=label)
        axes.legend(title="proposals and AR", frameon=False, alignment="left")
    axes.set(xlim=(0.5, 1), ylim=(0, 1.02), xlabel="IoU", ylabel="recall")
    axes.set_title(f"Recall of proposals ({evaluation.counts['images']} images)")
    _save(figure, path)


def plot_curves(history: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Draw the losses of a training run and, below them, its AP and AR on validation images.

    Args:
        history: one row per logged step or epoch, for example `Run.history`. The x axis is "step" if all rows have
            it, else "epoch", else the row's number. Keys "loss" and "..._loss" are losses; AP, AP50, mAP, AR100,
            ..., also as "val_...", are metrics; other keys are ignored. Values may be missing, None or NaN.
            A new value of "phase" breaks the lines and is marked by a dotted line.
        path: image file to write or replace.

    Example:
        plot_curves(run.history, "curves.png")
    """
    key = next((key for key in ("step", "epoch") if history and all(key in row for row in history)), None)
    position = [float(row[key]) if key else float(n) for n, row in enumerate(history, start=1)]
    names = list(dict.fromkeys(name for row in history for name in row))
    losses = [name for name in names if re.search(r"(^|_)loss$", name)]
    metrics = [name for name in names if re.fullmatch(r"(val_)?m?A[PR](\d+|[sml])?", name)]
    figure, panels = _panels((8, 7 if metrics else 4), 2 if metrics else 1)
    _draw_lines(panels[0], history, position, losses)
    panels[0].set(ylabel="loss (dimensionless)", title="Training")
    panels[0].set_ylim(bottom=0)
    if metrics:
        _draw_lines(panels[1], history, position, metrics, marker="o")
        panels[1].set(ylabel="AP or AR (fraction)", title="Validation", ylim=(0, 1))
    panels[-1].set_xlabel(key or "row")
    for last_of_phase, row, following in zip(position, history, history[1:]):
        if row.get("phase") != following.get("phase"):
            for panel in panels:
                panel.axvline(last_of_phase, color="0.5", linewidth=0.8, linestyle=":")
    _save(figure, path)


def plot_learning_rates(
    rates: Sequence[float], losses: Sequence[float], suggestion: float | None, path: str | Path
) -> None:
    """Draw the loss over the learning rate, and mark the suggested rate.

    Args:
        rates: increasing.
        losses: one per rate.
        suggestion: a rate, or None.
        path: image file to write or replace.
    """
    figure, (axes,) = _panels((8, 4))
    axes.plot(rates, losses)
    axes.set(xscale="log", xlabel="learning rate (for 16 images)", ylabel="loss, smoothed (dimensionless)")
    axes.set_ylim(0, 2 * losses[0])  # what diverges would flatten the rest
    if suggestion is not None:
        axes.axvline(suggestion, color="0.5", linewidth=0.8, linestyle=":", label=f"suggestion {suggestion:.2g}")
        axes.legend()
    _save(figure, path)


def plot_confusion(
    dataset: Dataset, detections: Sequence[ImageDetections], path: str | Path, iou: float = 0.5, score: float = 0.5
) -> None:
    """Draw the confusion matrix of detections; a cell's colour is its share of the row.

    The last column counts missed objects, the last row false alarms.

    Args:
        dataset: images with ground truth.
        detections: at most one entry per image, in any order.
        path: image file to write or replace.
        iou: lowest IoU of a detection with its object, in (0, 1].
        score: detections of higher scores count.

    Raises:
        InputError: the detections do not fit the data set.

    Example:
        plot_confusion(dataset, predictor.detect_dataset(dataset), "confusion.png")
    """
    matrix = confusion_matrix(dataset, detections, iou, score)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    names = [figure_name(short_name(category.name)) for category in dataset.categories]
    size = len(matrix)
    side = min(4.0 + 0.42 * size, 16.0)
    figure, (axes,) = _panels((side + 1.0, side), grid=False)
    picture = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    figure.colorbar(picture, ax=axes, shrink=0.8, label="share of the row")
    font = min(9.0, 0.6 * 72 * 0.75 * side / size)  # 0.6 of a cell; the cells fill three quarters of `side` inches
    axes.set_xticks(range(size), [*names, "(missed)"], rotation=60, ha="right", rotation_mode="anchor", fontsize=font)
    axes.set_yticks(range(size), [*names, "(no object)"], fontsize=font)
    axes.set(xlabel="detected as", ylabel="is")
    axes.set_title(f"Confusion at IoU {iou:g} and score {score:g} ({len(dataset)} images)")
    for draw_boundary in (axes.axhline, axes.axvline):
        draw_boundary(size - 1.5, color="0.5", linewidth=0.8)
    if size <= MAX_NUMBERED:
        for row, column in np.argwhere(matrix > 0):
            color = "white" if shares[row, column] > 0.6 else "black"
            axes.text(column, row, str(matrix[row, column]), ha="center", va="center", fontsize=font, color=color)
    _save(figure, path)


def _panels(size: tuple[float, float], count: int = 1, grid: bool = True) -> tuple[Figure, list[Axes]]:
    """Make a figure of `size` inches with axes below each other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    panels = list(figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0])
    for axes in panels if grid else ():
        axes.grid(color="0.92")
    return figure, panels


def _save(figure: Figure, path: str | Path) -> None:
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _draw_lines(
    axes: Axes, history: Sequence[Mapping[str, Any]], position: list[float], names: list[str], marker: str = ""
) -> None:
    names = [name for name in names if any(_is_number(row.get(name)) for row in history)]
    for number, name in enumerate(names):
        rows = [(x, row) for x, row in zip(position, history) if _is_number(row.get(name))]
        style = line_style(number)
        label: str | None = figure_text(name)
        for phase in dict.fromkeys(row.get("phase") for _, row in rows):
            points = [(x, row[name]) for x, row in rows if row.get("phase") == phase]
            x, y = np.array(points, np.float64).T
            window = len(y) // 50
            if window > 1:  # hundreds of noisy steps: draw their running mean over the noise
                axes.plot(x, y, color=style["color"], linewidth=0.5, alpha=0.25)
                y = np.convolve(y, np.ones(window) / window, mode="valid")
                x = x[window - 1 :]
            axes.plot(x, y, **style, label=label, marker=marker, markersize=3)
            label = None  # one entry in the legend for all phases
    if names:
        axes.legend(frameon=False, **OUTSIDE)
    else:
        _note(axes, "nothing logged")


def _note(axes: Axes, text: str) -> None:
    """Write a line in the middle of empty axes."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color="0.4")


def _ceiling(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Return recall from 0 on, and the best precision at the same or a higher recall."""
    precision = np.maximum.accumulate(curve.precision[::-1])[::-1]
    return np.append(0.0, curve.recall), np.append(precision.max(initial=0.0), precision)


def _ap(entry: tuple[ClassResult, Curve]) -> float:
    """Return AP at the IoU of the curve: COCO's "AP" is a mean over several."""
    row = entry[0]
    value = row.metrics.get("AP50", row.metrics["AP"])
    return 0.0 if value is None else value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and math.isfinite(value)
