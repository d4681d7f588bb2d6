"""The splits that a report on data shows, and their boxes in columns.

Legend: E images, N boxes of a split, crowd and difficult ones included.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from tfrcnn.data.anchors import AnchorRecall
from tfrcnn.data.example import Dataset
from tfrcnn.data.example_table import column_of, counts_of, owners_of
from tfrcnn.data.faults import Fault, Report


@dataclass(frozen=True, eq=False)
class Split:
    """One split: the data set, the doctor's report on it, and how anchors fit its objects.

    Attributes:
        name: "data" or "val", as the command's options.
        dataset: without what cannot be used.
        report: the doctor's.
        recall: of its objects.
    """

    name: str
    dataset: Dataset
    report: Report
    recall: AnchorRecall

    @cached_property
    def boxes(self) -> BoxColumns:
        """The boxes of all images."""
        examples = self.dataset.examples
        starts = np.cumsum([0, *counts_of(examples)])
        rows = starts[self.recall.examples] + self.recall.rows
        sides, best_iou = np.full([starts[-1], 2], np.nan), np.full(starts[-1], np.nan)
        sides[rows], best_iou[rows] = self.recall.sides, self.recall.best_iou
        sizes = np.stack([column_of(examples, name) for name in ("height", "width")], axis=1)
        owners = owners_of(examples)
        corners = column_of(examples, "boxes").astype(np.float64)
        return BoxColumns(
            owners=owners,
            labels=column_of(examples, "labels"),
            centres=(corners[:, :2] + corners[:, 2:]) / 2 / sizes[owners],
            sides=sides,
            best_iou=best_iou,
        )

    def position_of(self, fault: Fault) -> int | None:
        """Return the position of the image that shows a fault; None if it is not of an image that can be used.

        An annotation file of one image, for example Pascal VOC's, has the name of the image.
        """
        path = fault.image or fault.file
        return self._by_path.get(path, self._by_stem.get(Path(path).stem))

    @cached_property
    def _by_path(self) -> dict[str, int]:
        return {str(example.path): number for number, example in enumerate(self.dataset.examples)}

    @cached_property
    def _by_stem(self) -> dict[str, int]:
        stems = Counter(example.path.stem for example in self.dataset.examples)
        examples = enumerate(self.dataset.examples)
        return {stem: number for number, example in examples if stems[stem := example.path.stem] == 1}


@dataclass(frozen=True, eq=False)
class BoxColumns:
    """All boxes of a split.

    Attributes:
        owners: [N] the image of each box.
        labels: [N] 0..C-1.
        centres: [N, 2] (y, x) in fractions of the image.
        sides: [N, 2] (height, width) in pixels of the network's input; NaN for crowd and difficult boxes.
        best_iou: [N] with any anchor; NaN for crowd and difficult boxes.
    """

    owners: np.ndarray
    labels: np.ndarray
    centres: np.ndarray
    sides: np.ndarray
    best_iou: np.ndarray
