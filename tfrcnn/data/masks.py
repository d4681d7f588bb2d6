"""The box of a COCO segmentation: https://cocodataset.org/#format-data.

A segmentation is a list of polygons, each [x1, y1, x2, y2, ...], or a mask in run lengths: {"size": [height, width],
"counts": a list of run lengths by columns, or pycocotools' text of them}. Boxes are [x, y, width, height].
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pycocotools import mask

from tfrcnn.data.coco_values import is_number

_MAX_PIXELS = 1 << 31  # pycocotools counts pixels in 32 bits
# Characters of pycocotools' counts: 48 plus six bits, the highest of which says that the number goes on.
_FIRST, _LAST, _GOES_ON = 48, 111, 32


def box_of(segmentation: Any) -> list[float] | None:
    """Compute the box around a segmentation, or None if it is none.

    Example:
        box_of([[2, 1, 6, 1, 6, 4]])  # [2.0, 1.0, 4.0, 3.0]
    """
    if isinstance(segmentation, dict):
        return _box_of_runs(segmentation.get("size"), segmentation.get("counts"))
    if not isinstance(segmentation, list) or not segmentation:
        return None
    polygons = segmentation if all(isinstance(polygon, list) for polygon in segmentation) else [segmentation]
    if not all(len(polygon) >= 6 and len(polygon) % 2 == 0 and all(map(is_number, polygon)) for polygon in polygons):
        return None
    try:
        points = np.concatenate([np.array(polygon, np.float64).reshape(-1, 2) for polygon in polygons])
    except OverflowError:  # JSON integers may have any length
        return None
    low, high = points.min(axis=0), points.max(axis=0)
    return [*low.tolist(), *(high - low).tolist()]


def _box_of_runs(size: Any, counts: Any) -> list[float] | None:
    """Compute the box of a mask. pycocotools trusts its input, so everything is checked first."""
    if not isinstance(size, list) or len(size) != 2 or not all(type(side) is int and side > 0 for side in size):
        return None
    if size[0] * size[1] >= _MAX_PIXELS:
        return None
    if isinstance(counts, list):
        if not all(type(count) is int and count >= 0 for count in counts) or sum(counts) != size[0] * size[1]:
            return None
        runs = mask.frPyObjects({"size": size, "counts": counts}, *size)
    elif isinstance(counts, str) and _is_compressed(counts):
        runs = {"size": size, "counts": counts}
    else:
        return None
    box: list[float] = mask.toBbox(runs).tolist()
    inside = 0 <= box[0] <= box[0] + box[2] <= size[1] and 0 <= box[1] <= box[1] + box[3] <= size[0]
    return box if inside else None


def _is_compressed(counts: str) -> bool:
    codes = [ord(character) for character in counts]
    in_range = bool(codes) and all(_FIRST <= code <= _LAST for code in codes)
    return in_range and not (codes[-1] - _FIRST) & _GOES_ON
