"""Finds categories by name or label, for everything that chooses classes."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

from tfrcnn.config import Category, DetectionConfig
from tfrcnn.errors import InputError

MAX_NEAREST = 3  # names that an error suggests


def find_labels(classes: Any, categories: Sequence[Category], argument: str = "classes") -> tuple[int, ...]:
    """Find the labels of classes.

    Args:
        classes: a name or label, or several. A string is a name, and a whole number is a label.
        categories: the categories; the position is the label.
        argument: what errors call `classes`.

    Returns:
        Labels in ascending order, without repetition. A name that several categories share stands for all of them.

    Raises:
        InputError: a name is unknown, a label is out of range, or a value is neither.

    Example:
        find_labels(["dog", 0], (tfrcnn.Category(7, "cat"), tfrcnn.Category(9, "dog")))  # (0, 1)
    """
    several = isinstance(classes, Iterable) and not isinstance(classes, str | bytes)
    labels = [label for one in (classes if several else [classes]) for label in _find(one, categories, argument)]
    return tuple(sorted(set(labels)))


def lowest_scores(
    score: float | Mapping[Any, float], categories: Sequence[Category], argument: str = "score"
) -> list[float]:
    """Return the score threshold of each label.

    Args:
        score: one number in [0, 1], or one for each class as {name or label: score}; -1 for classes that it leaves out.
        categories: the categories; the position is the label.
        argument: what errors call `score`.

    Raises:
        InputError: a score is out of range, or a class is unknown.

    Example:
        lowest_scores({"dog": 0.6}, (tfrcnn.Category(7, "cat"), tfrcnn.Category(9, "dog")))  # [-1.0, 0.6]
    """
    if not isinstance(score, Mapping):
        return [check_score(score, argument)] * len(categories)
    lowest = [-1.0] * len(categories)
    for classes, limit in score.items():
        for label in find_labels(classes, categories, argument):
            lowest[label] = check_score(limit, argument)
    return lowest


def score_limits(labels: np.ndarray, limits: DetectionConfig, categories: Sequence[Category]) -> np.ndarray:
    """Return the score threshold of each detection.

    Args:
        labels: [N] int, of the detections.
        limits: the thresholds.
        categories: the position is the label; not needed if no class has its own threshold.

    Returns:
        [N] float32: the detector compares scores in float32 too.
    """
    if not limits.class_score_thresholds:
        return np.full(len(labels), limits.score_threshold, np.float32)
    per_class = np.array(limits.score_thresholds([category.name for category in categories]), np.float32)
    per_detection: np.ndarray = per_class[labels]
    return per_detection


def check_score(value: Any, argument: str = "score") -> float:
    """Return a score; raise InputError, which names the argument, if it is no number in [0, 1]."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) <= 1:
        raise InputError(f"{argument}: expected a number in [0, 1], found {value!r}")
    return float(value)


def _find(one: Any, categories: Sequence[Category], argument: str) -> list[int]:
    if isinstance(one, Integral) and not isinstance(one, bool):
        label = int(one)
        if not 0 <= label < len(categories):
            raise InputError(f"{argument}: expected labels in 0..{len(categories) - 1}, found {label}")
        return [label]
    if not isinstance(one, str):
        raise InputError(f"{argument}: expected names or labels, found {one!r} of type {type(one).__name__}")
    names = [category.name for category in categories]
    labels = [label for label, name in enumerate(names) if name == one]
    if not labels:
        raise InputError(f"{argument}: {no_category(one, names)}")
    return labels


def no_category(name: str, names: Sequence[str]) -> str:
    """Say that no category has a name, and which ones are spelled nearest to it in any case of letters."""
    by_folded: dict[str, list[str]] = {}
    for candidate in dict.fromkeys(names):
        by_folded.setdefault(candidate.casefold(), []).append(candidate)
    folded = difflib.get_close_matches(name.casefold(), by_folded, MAX_NEAREST, cutoff=0.0)
    nearest = [candidate for key in folded for candidate in by_folded[key]][:MAX_NEAREST]
    advice = f"the nearest: {', '.join(map(repr, nearest))}" if nearest else "there are no categories"
    return f"no category has the name {name!r}; {advice}"
