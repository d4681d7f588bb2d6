"""Which images make up which training step: numpy, a pure function of (seed, epoch).

Legend: n images, B batch size, S = n // B steps an epoch.
"""

from __future__ import annotations

import numpy as np


def steps_per_epoch(n: int, batch_size: int) -> int:
    """S, whole batches an epoch; 1 where there are fewer images than a batch takes."""
    return max(n // batch_size, 1)


def epoch_batches(
    widths: np.ndarray, heights: np.ndarray, batch_size: int, seed: int, epoch: int, group_by_aspect: bool
) -> np.ndarray:
    """The images of every step of one epoch, in random order.

    Every image comes at most once. The n % B images too many for whole batches are left out, drawn anew each
    epoch, so that over the epochs all get their turn alike. With fewer images than a batch takes, the one batch
    repeats them.

    With `group_by_aspect` a batch is of portrait or of landscape images only, so that little of it is padding
    (torchvision's GroupedBatchSampler with one boundary, at 1); at most one batch mixes what the two leave over.

    Args:
        widths, heights: [n] of the upright images, n at least 1.
        batch_size: B.
        seed, epoch: the same pair gives the same batches, whatever was asked before.

    Returns:
        [S, B] int32 positions in `widths`.
    """
    rng = np.random.default_rng([seed % 2**64, epoch])
    order = rng.permutation(len(widths))
    if len(order) < batch_size:
        return np.resize(order, (1, batch_size)).astype(np.int32)
    order = order[: len(order) // batch_size * batch_size]
    if group_by_aspect:
        portrait = (np.asarray(heights) > np.asarray(widths))[order]
        groups = [order[portrait], order[~portrait]]
        whole = [group[: len(group) // batch_size * batch_size] for group in groups]
        # What is left of the two groups is together nothing or one batch, since `order` is whole batches.
        order = np.concatenate([*whole, *(group[len(part) :] for group, part in zip(groups, whole))])
    return rng.permutation(order.reshape(-1, batch_size), axis=0).astype(np.int32)
