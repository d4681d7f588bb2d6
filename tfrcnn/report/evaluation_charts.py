"""The charts of a report on an evaluation, as coordinates for its template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

WIDTH, HEIGHT = 500, 220  # of the field of a chart
MAX_CURVES = 100  # classes with curves in the page; the JSON has all
LEVELS = 6  # shades of a confusion matrix
ALL = "all classes"


class Series(NamedTuple):
    """The curves of a class.

    Attributes:
        name: of the class.
        confidence: the lines of precision, recall and F1 against confidence.
        recall: the line of precision against recall.
        values: precision, recall and F1 at the confidences 0, 0.01, ... 1, for the page's script.
        best: the confidence of the highest F1; None if there is none.
    """

    name: str
    confidence: list[str]
    recall: str
    values: list[str]
    best: float | None


def curves(numbers: dict[str, Any]) -> list[Series]:
    """Draw the curves of all classes together, then of each class, those with the most objects first."""
    classes = sorted(numbers["classes"], key=lambda row: -row["objects"])[:MAX_CURVES]
    entries = [(ALL, numbers["all_classes"]), *((row["name"], row) for row in classes if row["objects"])]
    result = []
    for name, row in entries:
        curve, best = row["curve"], row["best_f1"]
        values = [",".join("" if v is None else f"{v:g}" for v in curve[key]) for key in ("precision", "recall", "f1")]
        lines = [line(curve[key]) for key in ("precision", "recall", "f1")]
        result.append(
            Series(
                name,
                lines,
                line([value or None for value in row["precision_at_recall"]]),
                values,
                best and best["threshold"],
            )
        )
    return result


def line(values: Sequence[float | None]) -> str:
    """Write values in [0, 1] at equal distances as the points of an SVG line; None is left out."""
    step = WIDTH / max(1, len(values) - 1)
    points = ((step * place, HEIGHT * (1 - value)) for place, value in enumerate(values) if value is not None)
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def calibration(bins: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the bars of a calibration chart: "x", "width", "y", "height" and the "text" of each bin."""
    return [
        {
            "x": round(WIDTH * row["low"] + 2, 1),
            "width": round(WIDTH * (row["high"] - row["low"]) - 4, 1),
            "y": round(HEIGHT * (1 - row["precision"]), 1),
            "height": round(HEIGHT * row["precision"], 1),
            "text": f"{row['count']:,} detections, mean score {row['score']:.2f}, {row['precision']:.1%} correct",
        }
        for row in bins
        if row["count"]
    ]


def levels(matrix: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the shade 0..LEVELS - 1 of each cell of a confusion matrix: its share of its row."""
    counts = np.array(matrix, np.float64)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shades: list[list[int]] = np.ceil(np.sqrt(share) * (LEVELS - 1)).astype(int).tolist()
    return shades
