"""Compares two detectors on the same images: is the difference of their AP more than chance?

The bootstrap draws as many images as there are, with replacement, many times, and computes AP of both detectors on each
draw. Both get the same draws, so that images which are hard for both do not widen the interval of the difference.

Legend: B resamples, E images, T IoU thresholds, C classes, N detections and K correct ones of one class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from tfrcnn.config_base import check_whole_number
from tfrcnn.data.example import Dataset, ImageDetections
from tfrcnn.evaluation.inputs import align, best, image_ranks, joined
from tfrcnn.evaluation.outcomes import MAX_DETECTIONS, match, to_ignore
from tfrcnn.overlap import pairwise_iou
from tfrcnn.seeds import check_seed

IOUS, RECALLS = np.linspace(0.5, 0.95, 10), np.linspace(0, 1, 101)  # pycocotools'
RESAMPLES, LEVEL = 1000, 0.95
MIN_RESAMPLES, MAX_RESAMPLES = 100, 100_000
CHUNK = 30_000_000  # numbers of a temporary array


@dataclass(frozen=True, eq=False)
class _Class:
    """The detections of one class, best first, over all images.

    Attributes:
        images: [N] the image of each.
        correct: [T, N] bool, by IoU threshold.
        ignored: [T, N] bool.
        objects: [E] objects of the class in each image.
    """

    images: np.ndarray
    correct: np.ndarray
    ignored: np.ndarray
    objects: np.ndarray


def compare_detections(
    dataset: Dataset,
    detections: Sequence[ImageDetections],
    other: Sequence[ImageDetections],
    resamples: int = RESAMPLES,
    seed: int = 0,
    max_detections: int = MAX_DETECTIONS,
) -> dict[str, Any]:
    """Compare the AP of two detectors, with confidence intervals of 95 % from a bootstrap over images.

    AP is COCO's, except that difficult objects are ignored; `counted_objects` makes them count as COCO does.

    Args:
        dataset: images with ground truth.
        detections: of the first detector, at most one entry per image.
        other: of the second detector.
        resamples: draws of the bootstrap, in 100..100000.
        seed: of the draws, at least 0.
        max_detections: the detections per image that take part, best first.

    Returns:
        "metrics": "AP", "AP50" and "AP75" (means over the classes), and "per_class": AP50 by label. Each has "first",
        "second" and "difference" (second - first), each with "value" and "interval" [low, high], and "real": whether
        the interval of the difference leaves out 0. None for a class without objects.

    Raises:
        InputError: the detections do not fit the data set, or a number is out of range.

    Example:
        result = compare_detections(dataset, before.detect_dataset(dataset), after.detect_dataset(dataset))
        print(result["metrics"]["AP"]["difference"])
    """
    check_whole_number(resamples, "resamples", MIN_RESAMPLES, MAX_RESAMPLES)
    check_seed(seed)
    check_whole_number(max_detections, "max_detections", 1)
    classes = len(dataset.categories)
    size = len(dataset)
    random = np.random.default_rng(seed)
    draws = random.multinomial(size, np.full(size, 1 / size), resamples) if size else np.zeros([resamples, 0])
    # The first draw is the data set itself: each image once.
    counts = np.ascontiguousarray(np.concatenate([np.ones([1, size]), draws]).astype(np.int32).T)
    values = [
        np.stack([_resampled_ap(entry, counts) for entry in _classes(dataset, entries, max_detections)])
        if classes
        else np.full([0, len(IOUS), resamples + 1], np.nan)
        for entries in (detections, other)
    ]
    with_objects = [place for place in range(classes) if not np.isnan(values[0][place, 0, 0])]
    means = [_mean(value) for value in values]
    picks = {"AP": slice(None), "AP50": slice(0, 1), "AP75": slice(5, 6)}
    return {
        "resamples": resamples,
        "level": LEVEL,
        "metrics": {
            name: _summary(*(mean[pick].mean(axis=0) for mean in means)) if with_objects else None
            for name, pick in picks.items()
        },
        "per_class": [
            _summary(*(value[place, 0] for value in values)) if place in with_objects else None
            for place in range(classes)
        ],
    }


def _classes(dataset: Dataset, detections: Sequence[ImageDetections], max_detections: int) -> list[_Class]:
    scores, labels, images, correct, ignored = [], [], [], [], []
    size = len(dataset.categories)
    objects = np.zeros([size, len(dataset)], np.int32)
    for number, (example, entry) in enumerate(zip(dataset.examples, align(dataset, detections))):
        image = best(entry, max_detections)
        counted = np.flatnonzero(~(example.crowd | example.difficult))
        np.add.at(objects[:, number], example.labels[counted], 1)
        same = image.labels[:, None] == example.labels[counted]
        hits = match(pairwise_iou(image.boxes, example.boxes[counted]) * same, IOUS) >= 0
        scores.append(image.scores)
        labels.append(image.labels)
        images.append(np.full(len(image), number))
        correct.append(hits)
        ignored.append(to_ignore(example, image, IOUS) & ~hits)
    all_labels = joined(labels, np.int64)
    owners = joined(images, np.int64)
    ranks = np.array(image_ranks(dataset), np.int64)
    order = np.lexsort((ranks[owners], -joined(scores, np.float64), all_labels))  # ties as in pycocotools
    ends = np.searchsorted(all_labels[order], np.arange(size + 1))
    empty = np.zeros([len(IOUS), 0], bool)
    hit, skip = (np.concatenate([empty, *parts], axis=1) for parts in (correct, ignored))
    return [
        _Class(owners[rows], hit[:, rows], skip[:, rows], objects[label])
        for label, rows in enumerate(order[start:end] for start, end in pairwise(ends))
    ]


def _resampled_ap(entry: _Class, counts: np.ndarray) -> np.ndarray:
    """Compute AP of a class on every draw.

    Args:
        entry: the class.
        counts: [E, B] int32, how often a draw has each image.

    Returns:
        [T, B], NaN for a draw without objects.
    """
    result = np.zeros([len(IOUS), counts.shape[1]])
    size = max(1, CHUNK // max(1, len(entry.images)))
    owners = np.flatnonzero(entry.objects)
    for start in range(0, counts.shape[1], size):
        part = np.ascontiguousarray(counts[:, start : start + size])
        positives = entry.objects[owners] @ part[owners]
        weights = part[entry.images]
        total = _accumulate(np.add, weights.copy())
        for place in range(len(IOUS)):
            hits = np.flatnonzero(entry.correct[place])
            if len(hits):
                seen = total[hits] - _ignored_before(hits, np.flatnonzero(entry.ignored[place]), weights)
                correct = _accumulate(np.add, weights[hits])
                result[place, start : start + size] = _average(correct, seen, positives)
        result[:, start : start + size][:, positives == 0] = np.nan
    return result


def _ignored_before(hits: np.ndarray, ignored: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Count the ignored detections before each correct one, [K, B]."""
    if not len(ignored):
        return np.zeros([len(hits), 1], np.int32)
    counts = _accumulate(np.add, weights[ignored])
    before: np.ndarray = np.concatenate([np.zeros([1, weights.shape[1]], np.int32), counts])
    return before[np.searchsorted(ignored, hits)]


def _accumulate(function: np.ufunc, values: np.ndarray) -> np.ndarray:
    """Accumulate the rows of [N, B] in place; `ufunc.accumulate` goes by columns and takes ten times as long."""
    for row in range(1, len(values)):
        function(values[row - 1], values[row], out=values[row])
    return values


def _average(hits: np.ndarray, seen: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """Compute the mean precision at 101 recalls, of each column.

    Args:
        hits: [K, B] correct detections so far, at each correct one.
        seen: [K, B] detections so far, at each correct one.
        positives: [B] objects.
    """
    precision = hits / np.maximum(seen, 1)
    precision = _accumulate(np.maximum, precision[::-1])[::-1]
    recall = hits / np.maximum(positives, 1)
    # How many of the recalls each correct detection reaches. The division may round to either side of one.
    reached = np.minimum((100 * recall + 1e-6).astype(np.int32), 100)
    reached -= RECALLS[reached] > recall
    steps = np.diff(reached, axis=0, prepend=-1)
    averages: np.ndarray = np.einsum("kb,kb->b", precision, steps) / len(RECALLS)
    return averages


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean over the classes with objects, [C, T, B] to [T, B]; 0 for a draw without any object."""
    defined = ~np.isnan(values)
    mean: np.ndarray = np.where(defined, values, 0.0).sum(axis=0) / np.maximum(defined.sum(axis=0), 1)
    return mean


def _summary(first: np.ndarray, second: np.ndarray) -> dict[str, Any]:
    """Summarise [B] values of both detectors; the first row is the data set itself."""
    parts = {"first": first, "second": second, "difference": second - first}
    result: dict[str, Any] = {
        name: {"value": float(values[0]), "interval": _interval(values[1:])} for name, values in parts.items()
    }
    low, high = result["difference"]["interval"]
    return {**result, "real": bool(low > 0 or high < 0)}


def _interval(values: np.ndarray) -> list[float]:
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    interval: list[float] = np.nanquantile(values, tails).tolist()
    return interval
