"""How well a detector's anchors fit the objects of a data set, as the network sees both.

Legend: N objects without crowds and difficult ones, E images, L anchor levels, k anchors per cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tfrcnn.boxes import base_anchors
from tfrcnn.config import AnchorConfig, DetectorConfig, ImageConfig
from tfrcnn.data.example import Dataset
from tfrcnn.data.example_table import column_of, counts_of, objects_of, owners_of
from tfrcnn.data.faults import Fault
from tfrcnn.errors import InputError
from tfrcnn.images import padded_size, resized_size

# An object with a lower best IoU trains the RPN only by the rule that each object gets its best anchor; that anchor
# would otherwise be background (paper section 3.1.2).
POOR_IOU = 0.3
CEILINGS = (0.5, 0.7)  # the IoUs of recall ceilings in reports
_BOXES_AT_ONCE = 1 << 16


class Objects(NamedTuple):
    """The objects of a data set in the network's input.

    Attributes:
        examples: [N] index into the data set's examples.
        rows: [N] index into that example's boxes.
        boxes: [N, 4] yxyx, in pixels of the network's input.
        inputs: [N, 2] (N_h, N_w), size of the network's input, in pixels.
    """

    examples: np.ndarray
    rows: np.ndarray
    boxes: np.ndarray
    inputs: np.ndarray

    @property
    def sides(self) -> np.ndarray:
        """Heights and widths [N, 2], in pixels of the network's input."""
        sides: np.ndarray = self.boxes[:, 2:] - self.boxes[:, :2]
        return sides

    def part(self, chosen: np.ndarray) -> Objects:
        """Return some of the objects, by their positions or a mask."""
        return Objects(*(column[chosen] for column in self))


class BestAnchors(NamedTuple):
    """The best anchor of each object.

    Attributes:
        iou: [N] IoU with it, in [0, 1].
        level: [N] its level.
        shape: [N] its position 0..k-1 among the anchors of its cell, in the order of `tfrcnn.boxes.base_anchors`.
    """

    iou: np.ndarray
    level: np.ndarray
    shape: np.ndarray


@dataclass(frozen=True, eq=False)
class AnchorRecall:
    """How well anchors fit the objects of a data set, without crowds and difficult objects.

    Attributes:
        examples: [N] index into the data set's examples.
        rows: [N] index into that example's boxes.
        sides: [N, 2] (height, width) in pixels of the network input.
        best_iou: [N] IoU with the best of all anchors, in [0, 1].
        smallest_area: of an anchor, in pixels^2 of the network input.
    """

    examples: np.ndarray
    rows: np.ndarray
    sides: np.ndarray
    best_iou: np.ndarray
    smallest_area: float

    def recall(self, iou: float) -> float:
        """Return the share of objects with an anchor of at least this IoU; NaN if there are no objects.

        Proposals reach it if the RPN chooses perfectly and moves no box.
        """
        return float((self.best_iou >= iou).mean()) if len(self.best_iou) else float("nan")

    def faults(self, dataset: Dataset) -> list[Fault]:
        """List the objects that no anchor meets with an IoU of `POOR_IOU`."""
        faults = []
        too_small = self.sides.prod(axis=1) < self.smallest_area
        for n in np.flatnonzero(self.best_iou < POOR_IOU):
            example, row = dataset.examples[self.examples[n]], self.rows[n]
            y1, x1, y2, x2 = example.boxes[row]
            kind = "object-too-small" if too_small[n] else "object-unlike-anchors"
            message = (
                f"expected an anchor of IoU {POOR_IOU} or more, found {self.best_iou[n]:.2f}: "
                f"{dataset.categories[example.labels[row]].name} of {x2 - x1:.4g} x {y2 - y1:.4g} px, "
                f"in the network {self.sides[n, 1]:.4g} x {self.sides[n, 0]:.4g} px"
            )
            box = (float(y1), float(x1), float(y2), float(x2))
            faults.append(Fault(kind, str(example.path), f"box {row}", message, box=box))
        return faults

    def summary(self) -> dict[str, Any]:
        """Return recall ceilings, and number and size (root of the area, network pixels) of objects without anchor."""
        if not len(self.best_iou):
            return {}
        summary: dict[str, Any] = {"recall_ceiling_of_anchors": ceilings(self.best_iou)}
        poor = np.sqrt(self.sides[self.best_iou < POOR_IOU].prod(axis=-1))
        if len(poor):
            sizes = {"smallest px": float(poor.min()), "largest px": float(poor.max())}
            summary[f"objects_without_anchor_of_IoU_{POOR_IOU}"] = {"count": len(poor), **sizes}
        return summary


def ceilings(best_iou: np.ndarray) -> dict[str, float]:
    """Return the share of objects [N] that reach each IoU of `CEILINGS`, by its name in a report."""
    return {f"IoU {iou}": float((best_iou >= iou).mean()) for iou in CEILINGS}


def anchor_recall(dataset: Dataset, config: DetectorConfig, strides: tuple[int, ...]) -> AnchorRecall:
    """Compute the best IoU of each object with any anchor, as the network sees both.

    Args:
        dataset: its boxes in pixels of the original images.
        config: `image` and `anchors` are used.
        strides: of the feature maps, one per anchor level, in pixels of the network input.

    Raises:
        InputError: there is not one stride per level.
    """
    objects = network_objects(dataset, config.image)
    best = best_anchors(objects, config.anchors, strides)
    bases = [base_anchors(config.anchors, level) for level in range(len(strides))]
    return AnchorRecall(
        examples=objects.examples,
        rows=objects.rows,
        sides=objects.sides,
        best_iou=best.iou,
        smallest_area=float(min((base[:, 2:] - base[:, :2]).prod(axis=1).min() for base in bases)),
    )


def network_objects(dataset: Dataset, config: ImageConfig) -> Objects:
    """Scale the objects of a data set to the network's input, by the detector's rule for images."""
    examples = dataset.examples
    objects = np.flatnonzero(objects_of(examples))
    owners, counts = owners_of(examples), counts_of(examples)
    starts = np.cumsum(counts) - counts
    scales, inputs = _network_frames(dataset, config)
    owners = owners[objects]
    return Objects(
        examples=owners,
        rows=objects - starts[owners],
        boxes=column_of(examples, "boxes")[objects] * np.tile(scales, 2)[owners],
        inputs=inputs[owners],
    )


def best_anchors(objects: Objects, anchors: AnchorConfig, strides: tuple[int, ...]) -> BestAnchors:
    """Find the best of all anchors for each object.

    The anchors are `tfrcnn.boxes.grid_anchors` on feature maps of ceil(N_h / stride) x ceil(N_w / stride) cells.
    Anchors that cross the image's edge count.

    An anchor and a box overlap by oy * ox. Each factor falls as the centres part along its axis, and the IoU rises
    with the product. So only the anchor in the nearest cell can be the best of its shape, and the work is N * k per
    level instead of N times all anchors.

    Args:
        objects: in the network's input.
        anchors: of the detector.
        strides: as in `anchor_recall`.

    Raises:
        InputError: there is not one stride per level.
    """
    levels, count = len(anchors.sizes), len(objects.boxes)
    if len(strides) != levels:
        raise InputError(f"strides: expected {levels}, one per level of anchors, found {len(strides)}")
    best = BestAnchors(np.zeros(count), np.zeros(count, np.intp), np.zeros(count, np.intp))
    bases = [base_anchors(anchors, level).astype(np.float64) for level in range(levels)]
    for start in range(0, count, _BOXES_AT_ONCE):
        chunk = slice(start, start + _BOXES_AT_ONCE)
        for level, (base, stride) in enumerate(zip(bases, strides)):
            iou = _ious(objects.boxes[chunk], objects.inputs[chunk], base, stride, anchors)
            shape = iou.argmax(axis=1)
            iou = iou[np.arange(len(iou)), shape]
            better = iou > best.iou[chunk]
            for column, values in zip(best, (iou, level, shape)):
                column[chunk] = np.where(better, values, column[chunk])
    return best


def _ious(boxes: np.ndarray, inputs: np.ndarray, base: np.ndarray, stride: int, anchors: AnchorConfig) -> np.ndarray:
    """Compute the IoU [n, k] of boxes [n, 4] with the nearest anchor of each shape of one level's base [k, 4]."""
    grids = -(-inputs // stride)
    steps = np.where(anchors.nominal_strides, stride, inputs // grids)[:, None, :]
    offset = anchors.offset
    top_left, bottom_right = boxes[:, None, :2], boxes[:, None, 2:]
    from_cell = (base[:, :2] + base[:, 2:]) / 2
    cells = np.rint(((top_left + bottom_right) / 2 - from_cell) / steps - offset)  # [n, k, 2]
    centers = (np.clip(cells, 0, grids[:, None, :] - 1) + offset) * steps
    overlap_sides = np.minimum(bottom_right, centers + base[:, 2:]) - np.maximum(top_left, centers + base[:, :2])
    overlap = np.maximum(overlap_sides, 0).prod(axis=-1)
    areas = (bottom_right - top_left).prod(axis=-1) + (base[:, 2:] - base[:, :2]).prod(axis=-1)
    ious: np.ndarray = overlap / (areas - overlap)
    return ious


def _network_frames(dataset: Dataset, config: ImageConfig) -> tuple[np.ndarray, np.ndarray]:
    """Return, per image, (h / H, w / W) of its resizing [E, 2] and (N_h, N_w) of the network input [E, 2]."""
    sides = [column_of(dataset.examples, name) for name in ("height", "width")]
    sizes = np.stack(sides, axis=1).astype(np.int32)
    unique, inverse = np.unique(sizes, axis=0, return_inverse=True)
    resized = [resized_size(size, config) for size in unique]
    padded = np.array([padded_size(size, config).numpy() for size in resized], np.int64).reshape(-1, 2)
    scales = np.array([size.numpy() for size in resized], np.float64).reshape(-1, 2) / unique
    return scales[inverse.reshape(-1)], padded[inverse.reshape(-1)]
