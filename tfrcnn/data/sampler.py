"""Choose the images of each training step: numpy, a pure function of (seed, epoch).

Legend: n images, B batch size, S = n // B steps per epoch.
"""

from __future__ import annotations

import numpy as np


def steps_per_epoch(n: int, batch_size: int) -> int:
    """Return S, whole batches per epoch; 1 if there are fewer images than a batch takes."""
    return max(n // batch_size, 1)


def epoch_batches(
    widths: np.ndarray, heights: np.ndarray, batch_size: int, seed: int, epoch: int, group_by_aspect: bool
) -> np.ndarray:
    """Draw the images of every step of one epoch, in random order.

    Every image comes at most once. n % B images, drawn per epoch, are left out to have whole batches, so that over the
    epochs all images come equally often. If there are fewer images than a batch takes, the one batch repeats them.

    `group_by_aspect` keeps portrait and landscape images apart, so that little of a batch is padding (torchvision's
    GroupedBatchSampler with one boundary, at 1). At most one batch mixes the remainders of both groups.

    Args:
        widths: [n] of the upright images, n at least 1.
        heights: [n] of the upright images.
        batch_size: B.
        seed: of the random order.
        epoch: number of the epoch; the same seed and epoch always give the same batches.
        group_by_aspect: whether to group images by aspect.

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
        # The remainders of the two groups together are nothing or one batch, since `order` is whole batches.
        order = np.concatenate([*whole, *(group[len(part) :] for group, part in zip(groups, whole))])
    return rng.permutation(order.reshape(-1, batch_size), axis=0).astype(np.int32)
