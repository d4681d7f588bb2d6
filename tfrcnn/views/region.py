"""Regions of interest: polygons or a mask picture outside of which no detection counts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from tfrcnn.config_base import shown
from tfrcnn.data.decode import read_image
from tfrcnn.errors import InputError
from tfrcnn.files import check_path, digest_of, read_json

MAX_CORNER = 1_000_000  # pixels; Pillow draws larger ones elsewhere

Polygon = Sequence[Sequence[float]]


class Region:
    """The part of a picture that counts.

    Example:
        road = tfrcnn.Region(polygons=[[(0, 200), (640, 200), (640, 480), (0, 480)]])
        tfrcnn.ViewPredictor(predictor, region=road).detect("street.jpg")
    """

    def __init__(
        self, mask: np.ndarray | None = None, polygons: Sequence[Polygon] = (), name: str = "the region"
    ) -> None:
        """
        Args:
            mask: [H, W], not zero where detections count. It is stretched over pictures of other sizes.
            polygons: corners (x, y) of each polygon, in pixels of the picture. Detections in any of them count.
            name: of the region in messages.

        Raises:
            InputError: both or none are set, the mask is empty or has another shape, or a polygon has fewer than three
                corners.
        """
        self.name = name
        if not isinstance(polygons, Sequence | np.ndarray):
            raise InputError(f"{name}: expected a list of polygons, found {type(polygons).__name__}")
        if (mask is None) == (len(polygons) == 0):
            raise InputError(f"{name}: expected a mask or polygons, found {'none' if mask is None else 'both'}")
        self._mask = None if mask is None else np.asarray(mask, bool)
        if self._mask is not None and (self._mask.ndim != 2 or not self._mask.any()):
            raise InputError(f"{name}: expected a mask [H, W] that is not zero somewhere, found {self._mask.shape}")
        self._polygons = [_corners(polygon, name) for polygon in polygons]

    @property
    def digest(self) -> str:
        """A checksum of the mask or the polygons."""
        if self._mask is not None:
            return digest_of(list(self._mask.shape), self._mask.tobytes())
        return digest_of([corners.tolist() for corners in self._polygons])

    def mask(self, height: int, width: int) -> np.ndarray:
        """Return where detections count in a picture of this size: bool, [height, width] or the mask's own size."""
        if self._mask is not None:
            return self._mask
        image = Image.new("1", (width, height))
        for corners in self._polygons:
            ImageDraw.Draw(image).polygon([tuple(corner) for corner in corners], fill=1)
        mask = np.array(image)
        if not mask.any():
            raise InputError(f"{self.name}: its polygons lie outside a picture of {height} x {width} pixels")
        return mask

    def bounds(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Return (top, left, bottom, right) around the region in a picture of this size, in whole pixels."""
        mask = self.mask(height, width)
        sides = []
        for axis, length in ((1, height), (0, width)):
            inside, scale = np.flatnonzero(mask.any(axis=axis)), length / mask.shape[1 - axis]
            sides.append((int(inside[0] * scale), min(int(np.ceil((inside[-1] + 1) * scale)), length)))
        (top, bottom), (left, right) = sides
        return top, left, bottom, right

    def contains(self, boxes: np.ndarray, height: int, width: int) -> np.ndarray:
        """Return which boxes [N, 4] yxyx, in pixels of a picture of this size, have their centre in the region."""
        mask = self.mask(height, width)
        centers = (boxes[:, :2] + boxes[:, 2:]) / 2 * (np.array(mask.shape) / (height, width))
        rows, columns = np.clip(centers.astype(int), 0, np.array(mask.shape) - 1).T
        return np.asarray(mask[rows, columns])


def read_region(path: str | Path) -> Region:
    """Read a region of interest from a file.

    Args:
        path: a mask picture, white where detections count and black elsewhere; or a JSON file with a polygon
            [[x, y], ...] in pixels of the picture, or a list of polygons.

    Returns:
        The region, for `ViewPredictor`.

    Raises:
        InputError: the file is missing, or is neither.

    Example:
        tfrcnn.read_region("road.png")
    """
    path = check_path(path, "path")
    if path.suffix.lower() != ".json":
        brightness = read_image(path).max(axis=2)
        # half of the brightest value is the border: compression leaves grey around white, and some masks hold 0 and 1
        return Region(mask=brightness > brightness.max() / 2, name=str(path))
    content = read_json(path)
    if isinstance(content, list) and content and _is_corner(content[0]):
        content = [content]
    if not isinstance(content, list):
        raise InputError(f"{path}: expected a list of polygons [[x, y], ...], found {type(content).__name__}")
    return Region(polygons=content, name=str(path))


def _is_corner(value: Any) -> bool:
    numbers = isinstance(value, (list, tuple)) and all(isinstance(item, (int, float)) for item in value)
    return numbers and len(value) == 2


def _corners(polygon: Any, name: str) -> np.ndarray:
    try:
        corners = np.asarray(polygon, np.float64)
    except (TypeError, ValueError, OverflowError):
        corners = np.zeros(0)
    if corners.ndim != 2 or corners.shape[1:] != (2,) or len(corners) < 3 or not np.all(np.abs(corners) <= MAX_CORNER):
        raise InputError(
            f"{name}: expected polygons of three or more corners (x, y), each within {MAX_CORNER:,} pixels, found "
            f"{shown(polygon)}"
        )
    return corners
