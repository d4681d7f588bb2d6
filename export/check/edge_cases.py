"""Pictures of awkward kinds, for a verification and for a benchmark without data."""

from __future__ import annotations

import numpy as np


def edge_cases() -> list[np.ndarray]:
    """Make pictures for a verification without data: noise, black, white, grey, one pixel high, very wide, shapes."""
    rng = np.random.default_rng(0)
    shapes = np.full((360, 480, 3), 90, np.uint8)
    for _ in range(12):
        y, x, h, w = (*rng.integers(0, 300, 2), *rng.integers(20, 160, 2))
        shapes[y : y + h, x : x + w] = rng.integers(0, 256, 3)
    grey = np.repeat(rng.integers(0, 256, (200, 300, 1), np.uint8), 3, axis=2)
    return [
        rng.integers(0, 256, (240, 320, 3), np.uint8),
        np.zeros((240, 320, 3), np.uint8),
        np.full((320, 240, 3), 255, np.uint8),
        grey,
        rng.integers(0, 256, (1, 64, 3), np.uint8),
        rng.integers(0, 256, (40, 600, 3), np.uint8),
        shapes,
    ]
