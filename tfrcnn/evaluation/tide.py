"""TIDE: what each type of error costs in AP.

The cost of a type is the rise of AP if every error of the type were fixed: a wrong class or a poor box becomes correct,
a duplicate or a background detection disappears, a missed object is not counted. Bolya et al., arXiv 2008.08115. The
numbers equal the results of its package `tidecv`: a class with detections and no objects counts, with AP 0.

Legend: N detections, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfrcnn.evaluation.outcomes import CORRECT, ERRORS, Outcomes

RECALLS = np.array([step / 100 for step in range(101)])


@dataclass(frozen=True)
class ErrorCosts:
    """What errors cost.

    Attributes:
        ap: mean AP over the classes at the IoU of the outcomes; None without objects and detections.
        counts: errors by type, in the order of `ERRORS`.
        costs: rise of AP without the errors of a type, at least 0.
        false_positives: rise of AP if every correct detection had a higher score than every false one.
        false_negatives: rise of AP if no object were missed by a correct detection.
    """

    ap: float | None
    counts: dict[str, int]
    costs: dict[str, float]
    false_positives: float
    false_negatives: float


def error_costs(outcomes: Outcomes) -> ErrorCosts:
    """Compute what each type of error costs in AP.

    Args:
        outcomes: of the detector.

    Returns:
        The costs, as fractions of 1. They do not add up to 1 - AP: one fix can hide another.

    Example:
        costs = error_costs(outcomes_of(dataset, detections)).costs
        print(max(costs, key=costs.get))
    """
    objects = outcomes.objects
    size = outcomes.num_classes
    positives = np.bincount(objects.labels[~objects.ignored], minlength=size)
    missed = np.bincount(objects.labels[objects.missed], minlength=size)
    undetected = np.bincount(objects.labels[~objects.ignored & (objects.matches < 0)], minlength=size)
    wrong = np.flatnonzero(outcomes.kinds != CORRECT)
    correct = np.flatnonzero(outcomes.kinds == CORRECT)
    order = np.append(wrong, correct)  # tidecv's: it decides between equal scores
    counts_as = ~outcomes.ignored
    is_correct = outcomes.correct
    ap = mean_ap(outcomes.labels[counts_as], outcomes.scores[counts_as], is_correct[counts_as], positives)

    def rise(labels: np.ndarray, scores: np.ndarray, fixed: np.ndarray, rows: np.ndarray, total: np.ndarray) -> float:
        value = mean_ap(labels[rows], scores[rows], fixed[rows], total)
        return (value or 0.0) - (ap or 0.0)

    costs = {}
    for code, name in enumerate(ERRORS):
        of_type = outcomes.kinds == code
        labels, present, fixed = outcomes.labels.copy(), counts_as.copy(), is_correct.copy()
        present[of_type] = False
        if name in ("cls", "loc"):
            repaired = objects.candidates[objects.candidates >= 0]
            repaired = repaired[of_type[repaired]]
            present[repaired] = fixed[repaired] = True
            labels[repaired] = objects.labels[outcomes.targets[repaired]]
        total = positives - missed if name == "miss" else positives
        costs[name] = max(0.0, rise(labels, outcomes.scores, fixed, order[present[order]], total))
    rows = order[counts_as[order]]
    counts = {name: int(np.sum((outcomes.kinds == code) & counts_as)) for code, name in enumerate(ERRORS)}
    counts["miss"] = int(missed.sum())
    return ErrorCosts(
        ap=ap,
        counts=counts,
        costs=costs,
        false_positives=rise(outcomes.labels, is_correct.astype(float), is_correct, rows, positives),
        false_negatives=rise(outcomes.labels, outcomes.scores, is_correct, rows, positives - undetected),
    )


def mean_ap(labels: np.ndarray, scores: np.ndarray, correct: np.ndarray, positives: np.ndarray) -> float | None:
    """Compute the mean over the classes of COCO's AP at one IoU.

    Args:
        labels: [N] classes of the detections.
        scores: [N]; the first of equal scores comes first.
        correct: [N] bool.
        positives: [C] objects of each class.

    Returns:
        The mean over the classes with objects or detections; None if there are none.
    """
    order = np.lexsort((-scores, labels))
    ends = np.searchsorted(labels[order], np.arange(len(positives) + 1))
    ranked = correct[order]
    values = [
        average_precision(ranked[start:end], count)
        for start, end, count in zip(ends, ends[1:], positives.tolist())
        if count > 0 or end > start
    ]
    return float(np.mean(values)) if values else None


def average_precision(correct: np.ndarray, positives: int) -> float:
    """Compute COCO's AP of one class at one IoU: the mean precision at 101 recalls.

    Args:
        correct: [N] bool, by descending score.
        positives: objects of the class.

    Returns:
        AP in [0, 1], 0 without objects.
    """
    if positives <= 0 or not len(correct):
        return 0.0
    hits = np.cumsum(correct)
    precision = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
    places = np.searchsorted(hits / positives, RECALLS)
    return float(np.append(precision, 0.0)[places].mean())
