"""Choose the images of each training step: numpy, a pure function of (seed, epoch).

Legend: n images, B batch size, r_i repeat factor of image i, R = sum of r_i, S = floor(R) // B steps per epoch.
"""

from __future__ import annotations

import numpy as np

from tfrcnn.data.example import Dataset
from tfrcnn.data.example_table import column_of, objects_of, owners_of
from tfrcnn.seeds import stream_seed

_FRACTION = 2.0**-20  # repeat factors are multiples of it, so that their sum is exact in any order, on any machine


def present_labels(dataset: Dataset) -> np.ndarray:
    """Return which categories each image has objects of, without crowds and difficult ones, as [n, C] bool."""
    labels, objects = column_of(dataset.examples, "labels"), objects_of(dataset.examples)
    present = np.zeros([len(dataset), len(dataset.categories)], bool)
    present[owners_of(dataset.examples)[objects], labels[objects]] = True
    return present


def repeat_factors(dataset: Dataset, threshold: float) -> np.ndarray:
    """Compute how often each image comes per epoch, so that images of rare categories come more often.

    f_c is the fraction of images with an object of category c. The category's factor is r_c = max(1, sqrt(t / f_c)),
    and the image's is the largest of its categories' (Gupta et al., LVIS, arXiv 1908.03195, section 5.1). Crowds and
    difficult objects do not count, since training leaves them out.

    Args:
        dataset: the training data.
        threshold: t in [0, 1]; categories on a smaller fraction of the images are repeated. 0 repeats none.

    Returns:
        [n] float64 r_i, at least 1; 1 for an image without objects.
    """
    present = present_labels(dataset)
    counts = np.maximum(present.sum(axis=0), 1)
    of_category = np.maximum(1.0, np.sqrt(threshold * len(dataset) / counts))
    factors: np.ndarray = np.where(present, of_category, 1.0).max(axis=1, initial=1.0)
    return np.floor(factors / _FRACTION) * _FRACTION


def steps_per_epoch(images: float, batch_size: int) -> int:
    """Return S, whole batches per epoch; 1 if there are fewer images than a batch takes.

    Args:
        images: R, the sum of the repeat factors; n if no image is repeated.
        batch_size: B.
    """
    return max(int(images) // batch_size, 1)


def epoch_batches(
    widths: np.ndarray,
    heights: np.ndarray,
    batch_size: int,
    seed: int,
    epoch: int,
    group_by_aspect: bool,
    repeats: np.ndarray | None = None,
) -> np.ndarray:
    """Draw the images of every step of one epoch, in random order.

    Image i comes floor(r_i) or ceil(r_i) times, at random, r_i times in the mean over the epochs. S is the same for
    every epoch: the images drawn beyond S B, chosen per epoch, are left out to have whole batches, so that over the
    epochs no image is preferred. If there are fewer images than a batch takes, the one batch repeats them.

    `group_by_aspect` keeps portrait and landscape images apart, so that little of a batch is padding (torchvision's
    GroupedBatchSampler with one boundary, at 1). At most one batch mixes the remainders of both groups.

    Args:
        widths: [n] of the upright images, n at least 1.
        heights: [n] of the upright images.
        batch_size: B.
        seed: of the random order.
        epoch: number of the epoch; the same seed and epoch always give the same batches.
        group_by_aspect: whether to group images by aspect.
        repeats: [n] r_i of `repeat_factors`; None takes each image once.

    Returns:
        [S, B] int32 positions in `widths`.
    """
    repeats = np.ones(len(widths)) if repeats is None else repeats
    rng = np.random.default_rng([seed % 2**64, epoch])
    order = rng.permutation(np.repeat(np.arange(len(repeats)), _times(repeats, seed, epoch)))
    if len(order) < batch_size:
        return np.resize(order, (1, batch_size)).astype(np.int32)
    order = order[: steps_per_epoch(repeats.sum(), batch_size) * batch_size]
    if group_by_aspect:
        portrait = (np.asarray(heights) > np.asarray(widths))[order]
        groups = [order[portrait], order[~portrait]]
        whole = [group[: len(group) // batch_size * batch_size] for group in groups]
        # The remainders of the two groups together are nothing or one batch, since `order` is whole batches.
        order = np.concatenate([*whole, *(group[len(part) :] for group, part in zip(groups, whole))])
    return rng.permutation(order.reshape(-1, batch_size), axis=0).astype(np.int32)


def _times(repeats: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """Round repeat factors [n] to whole numbers at random, so that their sum is floor(R) or floor(R) + 1.

    Systematic sampling: on a line of length R, cut into pieces of r_i in random order, a comb of unit spacing with a
    random start marks the copies. Rounding each factor alone would let the number of steps vary with the epoch.
    """
    rng = np.random.default_rng([stream_seed(seed, "repeat_factors"), epoch])
    order, start = rng.permutation(len(repeats)), rng.random()
    marks = np.floor(np.cumsum(np.concatenate([[0.0], repeats[order]])) + start)
    times = np.empty(len(repeats), np.int64)
    times[order] = np.diff(marks)
    return times
