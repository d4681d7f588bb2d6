"""Writes numbers as people do: with as few decimals as keep them the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_MAX_DECIMALS = 15  # a float64 has no more


def shortest(values: np.ndarray, is_same: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Round each number to the fewest decimals that mean the same.

    A box at 473.07 px is 473.0700073 in float32, and 0.73917 of an image's width in another float32. Both come from
    473.07, which this function finds again.

    Args:
        values: any shape, float64.
        is_same: says which numbers of an array of that shape mean the same as the values.

    Returns:
        The rounded numbers; a number that no rounding keeps stays as it is.

    Example:
        shortest(boxes.astype(np.float64), lambda rounded: rounded.astype(np.float32) == boxes)
    """
    result = values.copy()
    remaining = np.ones(values.shape, bool)
    for decimals in range(_MAX_DECIMALS + 1):
        rounded = np.round(values, decimals)
        good = remaining & is_same(rounded)
        result[good] = rounded[good]
        remaining &= ~good
        if not remaining.any():
            break
    return result
