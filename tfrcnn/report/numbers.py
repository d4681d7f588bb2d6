"""The numbers of a report on data, as JSON values: counts, sizes and shapes, anchors, positions, copies.

Legend: N boxes, C classes. Sizes and shapes are in pixels of the network's input, and leave out crowd and difficult
boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tfrcnn.boxes import base_anchors
from tfrcnn.config import AnchorConfig
from tfrcnn.report.splits import BoxColumns, Split

# Half octaves: each bin is wider than the one before by a factor of sqrt(2).
SIZE_LOG2 = np.arange(1, 11.25, 0.5)  # 2 to 2048 px
RATIO_LOG2 = np.arange(-4, 4.25, 0.5)  # 1:16 to 16:1
GRID = 24  # cells of the map of centres along each side
IOUS = (0.5, 0.6, 0.7, 0.8)


def split_numbers(split: Split) -> dict[str, Any]:
    """Return the doctor's summary and faults of a split, and the figures of its boxes."""
    boxes = split.boxes
    used = ~np.isnan(boxes.best_iou)
    sides = boxes.sides[used]
    logs = np.log2(np.maximum(sides, 1e-3))
    height, width = logs[:, 0], logs[:, 1]
    y, x = np.minimum((boxes.centres * GRID).astype(int), GRID - 1).T
    centres = np.zeros([GRID, GRID], int)
    np.add.at(centres, (y, x), 1)
    return {
        "source": split.dataset.source,
        "refused": split.report.refused,
        "summary": split.report.summary,
        "faults": split.report.counts(),
        "box_sizes": _histogram((height + width) / 2, SIZE_LOG2),
        "box_ratios": _histogram(height - width, RATIO_LOG2),
        "box_sides": _grid(height, width),
        "recall_ceiling": {str(iou): share(boxes.best_iou[used] >= iou) for iou in IOUS},
        "box_centres": centres.tolist(),
    }


def class_numbers(splits: Sequence[Split]) -> list[dict[str, Any]]:
    """Return, per class, its boxes and images in each split, and the recall ceiling of the first split's at IoU 0.5."""
    categories = splits[0].dataset.categories
    rows: list[dict[str, Any]] = [{"name": category.name, "splits": {}} for category in categories]
    for split in splits:
        boxes = split.boxes
        counts = np.bincount(boxes.labels, minlength=len(rows))
        images = np.bincount(np.unique(np.stack([boxes.labels, boxes.owners]), axis=1)[0], minlength=len(rows))
        for label, row in enumerate(rows):
            row["splits"][split.name] = {"boxes": int(counts[label]), "images": int(images[label])}
    ceilings = _ceilings(splits[0].boxes, len(rows))
    return [{**row, "recall_ceiling": ceiling} for row, ceiling in zip(rows, ceilings)]


def bin_edges() -> dict[str, list[float]]:
    """Return the edges of the bins: "box_sizes", which "box_sides" has on both axes, and "box_ratios"."""
    edges = {"box_sizes": SIZE_LOG2, "box_ratios": RATIO_LOG2}
    return {name: np.round(2.0**log2, 4).tolist() for name, log2 in edges.items()}


def anchor_numbers(config: AnchorConfig) -> list[list[float]]:
    """Return [height, width] of every anchor of a cell, over all levels."""
    bases = [base_anchors(config, level) for level in range(len(config.sizes))]
    sides: list[list[float]] = np.concatenate([base[:, 2:] - base[:, :2] for base in bases]).tolist()
    return sides


def anchor_marks(anchors: Sequence[Sequence[float]]) -> dict[str, list[Any]]:
    """Return where anchors are on the charts, in bins: "sizes", "ratios", and (width, height) as "sides"."""
    height, width = np.log2(np.array(anchors)).T
    sizes, ratios = _bins((height + width) / 2, SIZE_LOG2), _bins(height - width, RATIO_LOG2)
    sides = zip(_bins(width, SIZE_LOG2), _bins(height, SIZE_LOG2))
    return {"sizes": sorted(set(sizes)), "ratios": sorted(set(ratios)), "sides": list(sides)}


def share(mask: np.ndarray) -> float | None:
    """Return the share of true values; None if there are no values."""
    return float(mask.mean()) if len(mask) else None


def _ceilings(boxes: BoxColumns, classes: int) -> list[float | None]:
    used = ~np.isnan(boxes.best_iou)
    labels = boxes.labels[used]
    total = np.bincount(labels, minlength=classes)
    reached = np.bincount(labels[boxes.best_iou[used] >= IOUS[0]], minlength=classes)
    return [float(a / b) if b else None for a, b in zip(reached, total)]


def _histogram(values: np.ndarray, edges: np.ndarray) -> list[int]:
    """Count values between edges; the first and the last bin take what lies beyond them."""
    counts: list[int] = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0].tolist()
    return counts


def _bins(values: np.ndarray, edges: np.ndarray) -> list[float]:
    """Return positions among edges, in bins."""
    positions: list[float] = np.round(
        (np.clip(values, edges[0], edges[-1]) - edges[0]) / (edges[1] - edges[0]), 2
    ).tolist()
    return positions


def _grid(height: np.ndarray, width: np.ndarray) -> list[list[int]]:
    y, x = (np.clip(values, SIZE_LOG2[0], SIZE_LOG2[-1]) for values in (height, width))
    counts: list[list[int]] = np.histogram2d(y, x, bins=(SIZE_LOG2, SIZE_LOG2))[0].astype(int).tolist()
    return counts
