"""Which views of a picture to detect in: tiles, scales and mirror images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from tfrcnn.config_base import Config

PADDING = (124, 116, 104)  # RGB around a picture that is made smaller: the mean of ImageNet, which detectors see as 0
MAX_SIDE = 100_000
MAX_SCALES = 16


class View(NamedTuple):
    """A part of a picture that the detector looks at.

    Attributes:
        top: first row in the picture.
        left: first column.
        bottom: one past the last row; beyond the picture if the view is padded.
        right: one past the last column.
        mirrored: whether left and right are swapped.
    """

    top: int
    left: int
    bottom: int
    right: int
    mirrored: bool = False

    def pixels(self, picture: np.ndarray) -> np.ndarray:
        """Return the view's pixels: [H, W, 3] -> [bottom - top, right - left, 3], contiguous."""
        part = picture[self.top : self.bottom, self.left : self.right]
        missing = [self.bottom - self.top - part.shape[0], self.right - self.left - part.shape[1]]
        if any(missing):
            whole = np.empty((self.bottom - self.top, self.right - self.left, 3), picture.dtype)
            whole[:] = PADDING
            whole[: part.shape[0], : part.shape[1]] = part
            part = whole
        return np.ascontiguousarray(part[:, ::-1] if self.mirrored else part)

    def to_picture(self, boxes: np.ndarray) -> np.ndarray:
        """Move boxes [N, 4] yxyx from pixels of the view to pixels of the picture."""
        boxes = np.asarray(boxes, np.float32)
        if self.mirrored:
            width = self.right - self.left
            boxes = np.stack([boxes[:, 0], width - boxes[:, 3], boxes[:, 2], width - boxes[:, 1]], axis=1)
        return boxes + np.array([self.top, self.left, self.top, self.left], np.float32)


@dataclass(frozen=True)
class Views(Config):
    """The views of each picture, and how to merge their detections.

    Attributes:
        tiles: side of square tiles in pixels of the picture; None looks at the whole picture. A picture that fits into
            one tile is not cut.
        overlap: share of a tile's side that the next tile covers too, in [0, 0.9]. Choose it so that most objects fit
            into the overlap: other tiles then show whole what one tile cuts.
        whole: whether to look at the whole picture next to its tiles, for objects larger than a tile.
        flip: whether to look at the mirror image of each view too.
        scales: how large the detector sees a view, relative to its usual size. Above 1 it looks at overlapping parts,
            below 1 at the view with padding. Each scale is a further look; include 1.
        merge: "nms" keeps the best of several boxes of one object; "fusion" averages their boxes and their scores.
        iou: boxes of two views with a higher IoU are one object.
        class_agnostic: whether boxes of different classes may be one object.

    Example:
        tfrcnn.Views(tiles=640, overlap=0.2, flip=True)
    """

    tiles: int | None = None
    overlap: float = 0.2
    whole: bool = True
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)
    merge: Literal["nms", "fusion"] = "nms"
    iou: float = 0.5
    class_agnostic: bool = False

    def _check_ranges(self) -> None:
        self._require(self.tiles is None or 32 <= self.tiles <= MAX_SIDE, "tiles", "None or 32 to 100,000 pixels")
        self._require(0 <= self.overlap <= 0.9, "overlap", "in [0, 0.9]")
        self._require(1 <= len(self.scales) <= MAX_SCALES, "scales", f"1 to {MAX_SCALES} numbers")
        self._require(all(0.5 <= scale <= 10 for scale in self.scales), "scales", "numbers in [0.5, 10]")
        self._require(0 < self.iou < 1, "iou", "in (0, 1)")

    def of(self, height: int, width: int, top: int = 0, left: int = 0) -> list[View]:
        """List the views of a picture, or of a part of one.

        Args:
            height: of the part, in pixels.
            width: of the part.
            top: first row of the part in its picture.
            left: first column.

        Returns:
            At least one view.

        Example:
            tfrcnn.Views(tiles=640).of(1000, 640)  # two tiles and the whole picture
        """
        part = View(top, left, top + height, left + width)
        parts = [part]
        if self.tiles is not None and max(height, width) > self.tiles:
            tiles = list(_grid(part, self.tiles, self.tiles, self.overlap))
            parts = [*tiles, part] if self.whole else tiles
        views = [scaled for part in parts for scale in self.scales for scaled in _at_scale(part, scale, self.overlap)]
        views = list(dict.fromkeys(views))
        mirrored = [view._replace(mirrored=True) for view in views] if self.flip else []
        return views + mirrored


def _at_scale(view: View, scale: float, overlap: float) -> Iterator[View]:
    """Yield the view, parts of it or the view with padding, so that the detector sees it `scale` times as large."""
    height = max(1, math.ceil((view.bottom - view.top) / scale))
    width = max(1, math.ceil((view.right - view.left) / scale))
    if scale > 1:
        yield from _grid(view, height, width, overlap)
    else:
        yield view._replace(bottom=view.top + height, right=view.left + width)


def _grid(view: View, height: int, width: int, overlap: float) -> Iterator[View]:
    """Yield parts of this size that cover the view, row by row, spread evenly and overlapping by at least `overlap`."""
    for top in _starts(view.bottom - view.top, height, overlap):
        for left in _starts(view.right - view.left, width, overlap):
            y, x = view.top + top, view.left + left
            yield View(y, x, min(y + height, view.bottom), min(x + width, view.right))


def _starts(length: int, part: int, overlap: float) -> list[int]:
    """Return where parts of a length start."""
    if part >= length:
        return [0]
    step = max(1.0, part * (1 - overlap))
    count = math.ceil((length - part) / step) + 1
    return [round(i * (length - part) / (count - 1)) for i in range(count)]
