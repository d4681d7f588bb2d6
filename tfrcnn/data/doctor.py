"""The doctor: every fault of a data set in one report, with its statistics and the objects that anchors can reach.

Reading a data set (`tfrcnn.data.read`) already collects the faults of annotations and file headers. The doctor adds
the slow checks: it decodes each image, and compares each box with all anchors of a detector.

Legend: N boxes of the whole data set, E images, k anchors per cell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfrcnn.boxes import base_anchors
from tfrcnn.config import AnchorConfig, Category, DetectorConfig, ImageConfig
from tfrcnn.data.checks import in_threads
from tfrcnn.data.consistency import check_counts
from tfrcnn.data.decode import decode_file
from tfrcnn.data.example import Dataset
from tfrcnn.data.faults import Fault, Report
from tfrcnn.data.headers import BadImageError
from tfrcnn.data.overlap import check_copies, with_shared_images
from tfrcnn.data.read import read_dataset
from tfrcnn.errors import InputError
from tfrcnn.images import padded_size, resized_size

# An object with a lower best IoU trains the RPN only by the rule that each object gets its best anchor; that anchor
# would otherwise be background (paper section 3.1.2).
POOR_IOU = 0.3
COCO_MAX_DETECTIONS = 100  # per image and class, where no detector says how many it returns
_BOXES_AT_ONCE = 1 << 16


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
        summary: dict[str, Any] = {"recall_ceiling_of_anchors": {f"IoU {t}": self.recall(t) for t in (0.5, 0.7)}}
        poor = np.sqrt(self.sides[self.best_iou < POOR_IOU].prod(axis=-1))
        if len(poor):
            sizes = {"smallest px": float(poor.min()), "largest px": float(poor.max())}
            summary[f"objects_without_anchor_of_IoU_{POOR_IOU}"] = {"count": len(poor), **sizes}
        return summary


def diagnose(
    data: str,
    images: str | Path | None = None,
    config: DetectorConfig | None = None,
    strides: tuple[int, ...] | None = None,
    categories: Sequence[Category] | None = None,
    val: str | None = None,
) -> Report:
    """Report everything that is wrong with a data set, and its statistics.

    Args:
        data: as in `read_dataset`.
        images: as in `read_dataset`.
        config: a detector whose anchors to compare the objects with.
        strides: of that detector's anchor levels (`FasterRCNN.level_strides`).
        categories: as in `read_dataset`.
        val: validation data, as `data`; images that are in both are a fault.

    Returns:
        The report; `report.refused` says whether the data set can be used.

    Raises:
        InputError: `data` is not a data set at all, or only one of config and strides is passed.

    Example:
        report = tfrcnn.diagnose("cells/VOC@train", config=detector.config, strides=detector.level_strides)
        print(report.render())
    """
    if (config is None) != (strides is None):
        raise InputError("strides: expected config and strides together, found one of them")
    dataset, report = read_dataset(data, images, categories)
    report = examine(dataset, report, config, strides)
    return report if val is None else with_shared_images(dataset, read_dataset(val, images)[0], report)


def examine(
    dataset: Dataset, report: Report, config: DetectorConfig | None = None, strides: tuple[int, ...] | None = None
) -> Report:
    """Add the doctor's checks to the report on a data set that has been read; see `diagnose`."""
    faults = [fault for fault in in_threads(_decode, [e.path for e in dataset.examples], "decoding images") if fault]
    faults += check_copies(dataset)
    faults += check_counts(dataset, config.detections.max_detections if config else COCO_MAX_DETECTIONS)
    summary = {**report.summary, **_statistics(dataset)}
    if config is not None and strides is not None:
        recall = anchor_recall(dataset, config, strides)
        faults += recall.faults(dataset)
        summary.update(recall.summary())
    return Report(report.source, (*report.faults, *faults), summary)


def anchor_recall(dataset: Dataset, config: DetectorConfig, strides: tuple[int, ...]) -> AnchorRecall:
    """Compute the best IoU of each object with any anchor, as the network sees both.

    Images are resized by the detector's rule. The anchors are `tfrcnn.boxes.grid_anchors` on feature maps of
    ceil(N_h / stride) x ceil(N_w / stride) cells. Anchors that cross the image's edge count.

    An anchor and a box overlap by oy * ox. Each factor falls as the centres part along its axis, and the IoU rises
    with the product. So only the anchor in the nearest cell can be the best of its shape, and the work is N * k per
    level instead of N times all anchors.

    Args:
        dataset: its boxes in pixels of the original images.
        config: `image` and `anchors` are used.
        strides: of the feature maps, one per anchor level, in pixels of the network input.

    Raises:
        InputError: there is not one stride per level.
    """
    levels = len(config.anchors.sizes)
    if len(strides) != levels:
        raise InputError(f"strides: expected {levels}, one per level of anchors, found {len(strides)}")
    targets = [np.flatnonzero(~(e.crowd | e.difficult)) for e in dataset.examples]
    owners = np.repeat(np.arange(len(targets)), [len(rows) for rows in targets])
    scales, networks = _network_frames(dataset, config.image)
    boxes = [e.boxes[rows] * s for e, rows, s in zip(dataset.examples, targets, np.tile(scales, 2))]
    boxes_all = np.concatenate(boxes) if boxes else np.zeros([0, 4])
    bases = [base_anchors(config.anchors, level).astype(np.float64) for level in range(levels)]
    best = np.zeros(len(owners))
    for start in range(0, len(owners), _BOXES_AT_ONCE):
        chunk = slice(start, start + _BOXES_AT_ONCE)
        for base, stride in zip(bases, strides):
            iou = _best_iou(boxes_all[chunk], networks[owners[chunk]], base, stride, config.anchors)
            best[chunk] = np.maximum(best[chunk], iou)
    return AnchorRecall(
        examples=owners,
        rows=np.concatenate(targets) if targets else np.zeros([0], np.intp),
        sides=boxes_all[:, 2:] - boxes_all[:, :2],
        best_iou=best,
        smallest_area=float(min((base[:, 2:] - base[:, :2]).prod(axis=1).min() for base in bases)),
    )


def _best_iou(
    boxes: np.ndarray, networks: np.ndarray, base: np.ndarray, stride: int, anchors: AnchorConfig
) -> np.ndarray:
    """Compute the best IoU [n] of boxes [n, 4], in network inputs of sizes [n, 2], with one level's base [k, 4]."""
    grids = -(-networks // stride)
    steps = np.where(anchors.nominal_strides, stride, networks // grids)[:, None, :]
    offset = anchors.offset
    top_left, bottom_right = boxes[:, None, :2], boxes[:, None, 2:]
    from_cell = (base[:, :2] + base[:, 2:]) / 2
    cells = np.rint(((top_left + bottom_right) / 2 - from_cell) / steps - offset)  # [n, k, 2]
    centers = (np.clip(cells, 0, grids[:, None, :] - 1) + offset) * steps
    overlap_sides = np.minimum(bottom_right, centers + base[:, 2:]) - np.maximum(top_left, centers + base[:, :2])
    overlap = np.maximum(overlap_sides, 0).prod(axis=-1)
    areas = (bottom_right - top_left).prod(axis=-1) + (base[:, 2:] - base[:, :2]).prod(axis=-1)
    best: np.ndarray = (overlap / (areas - overlap)).max(axis=1)
    return best


def _network_frames(dataset: Dataset, config: ImageConfig) -> tuple[np.ndarray, np.ndarray]:
    """Return, per image, (h / H, w / W) of its resizing [E, 2] and (N_h, N_w) of the network input [E, 2]."""
    sizes = np.array([(e.height, e.width) for e in dataset.examples], np.int32).reshape(-1, 2)
    unique, inverse = np.unique(sizes, axis=0, return_inverse=True)
    resized = [resized_size(size, config) for size in unique]
    padded = np.array([padded_size(size, config).numpy() for size in resized], np.int64).reshape(-1, 2)
    scales = np.array([size.numpy() for size in resized], np.float64).reshape(-1, 2) / unique
    return scales[inverse.reshape(-1)], padded[inverse.reshape(-1)]


def _decode(path: Path) -> Fault | None:
    try:
        decode_file(path)
    except BadImageError as error:
        return Fault(error.kind, str(path), "", str(error))
    return None


def _statistics(dataset: Dataset) -> dict[str, Any]:
    if not len(dataset):
        return {}
    labels = Counter(label for example in dataset.examples for label in example.labels.tolist())
    boxes = np.concatenate([example.boxes for example in dataset.examples])
    statistics: dict[str, Any] = {
        "boxes_by_category": {c.name: labels[label] for label, c in enumerate(dataset.categories)},
        "boxes_per_image": _quantiles(np.array([len(example.boxes) for example in dataset.examples])),
        "image_height_px": _quantiles(np.array([example.height for example in dataset.examples])),
        "image_width_px": _quantiles(np.array([example.width for example in dataset.examples])),
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
