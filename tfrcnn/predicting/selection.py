"""Chooses detections by score and class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfrcnn.categories import check_score, find_labels, lowest_scores, no_category
from tfrcnn.config import Category
from tfrcnn.errors import InputError


@dataclass(frozen=True)
class Selection:
    """The scores and classes that detections must have.

    Attributes:
        score_threshold: scores above it are kept, in [0, 1].
        class_thresholds: the thresholds of single classes, by name or label.
        classes: names or labels to keep, one or several; None keeps all.

    Example:
        selection = Selection(0.5, {"red": 0.7}, classes=("red", "white"))
    """

    score_threshold: float = 0.0
    class_thresholds: Mapping[Any, float] = field(default_factory=dict)
    classes: Any = None

    def thresholds(self, categories: Sequence[Category]) -> np.ndarray:
        """Return the threshold per class.

        Args:
            categories: of the detector; the position is the label.

        Returns:
            [C] float32; infinite for a class that is not kept.

        Raises:
            InputError: a class is unknown, or a threshold is outside [0, 1].
        """
        default = check_score(self.score_threshold, "score_threshold")
        limits = np.array(lowest_scores(self.class_thresholds, categories, "score_threshold"), np.float32)
        limits[limits < 0] = default
        if self.classes is not None:
            kept = np.isin(np.arange(len(categories)), find_labels(self.classes, categories))
            limits[~kept] = np.inf
        return limits

    def to_dict(self, categories: Sequence[Category]) -> dict[str, Any]:
        """Return JSON values, without options that keep every class and have one threshold."""
        names = [category.name for category in categories]
        values: dict[str, Any] = {"score_threshold": self.score_threshold}
        if self.class_thresholds:
            scores = self.class_thresholds.items()
            limits = {names[label]: score for key, score in scores for label in find_labels(key, categories)}
            values["class_thresholds"] = limits
        if self.classes is not None:
            values["classes"] = sorted(names[label] for label in find_labels(self.classes, categories))
        return values


def parse_classes(text: str, names: Sequence[str]) -> tuple[str, ...]:
    """Read names of classes, separated by commas. A name may contain a comma.

    Args:
        text: for example "red,white".
        names: of all classes of the detector.

    Raises:
        InputError: a class has another name.

    Example:
        parse_classes("red,white", ["red", "white", "blue"])  # ("red", "white")
    """
    parts, chosen = text.split(","), []
    while parts:
        for count in range(len(parts), 0, -1):
            if (name := ",".join(parts[:count]).strip()) in names:
                break
        else:
            raise InputError(f"classes: {no_category(parts[0].strip(), names)}")
        chosen.append(name)
        del parts[:count]
    return tuple(dict.fromkeys(chosen))


def parse_thresholds(text: str, names: Sequence[str] | None) -> tuple[float | None, dict[str, float]]:
    """Read a threshold, thresholds of single classes, or both, separated by commas.

    Args:
        text: for example "0.5" or "0.4,red=0.6,white=0.7".
        names: of all classes of the detector; None if they are not known yet: checks the numbers.

    Returns:
        The threshold of all other classes, None if the text has none; and the thresholds by name.

    Raises:
        InputError: a number is outside 0..1, a class has another name, or something has two thresholds.

    Example:
        parse_thresholds("0.4,red=0.6", ["red", "white"])  # (0.4, {"red": 0.6})
    """
    thresholds: dict[str, float] = {}
    common: list[float] = []
    pending = ""  # start of a name that contains a comma
    for part in text.split(","):
        name, equals, value = (pending + part).rpartition("=")
        is_name = any(known.startswith(f"{part.strip()},") for known in names or ())  # whose name has a comma
        if not equals and not pending and not is_name and _is_number(part):
            common.append(_score(part))
        elif equals:
            score = _score(value)
            if names is not None and name.strip() not in names:
                raise InputError(f"score_threshold: {no_category(name.strip(), names)}")
            if name.strip() in thresholds:
                raise InputError(f"score_threshold: expected each class once, found {name.strip()!r} again")
            thresholds[name.strip()] = score
            pending = ""
        else:
            pending += f"{part},"
    if pending:
        raise InputError(f"score_threshold: expected a number or CLASS=NUMBER, found {pending[:-1]!r}")
    if len(common) > 1:
        raise InputError(f"score_threshold: expected one number for all other classes, found {text!r}")
    return common[0] if common else None, thresholds


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _score(text: str) -> float:
    if not _is_number(text) or not 0 <= float(text) <= 1:
        raise InputError(f"score_threshold: expected a number in 0..1, found {text.strip()!r}")
    return float(text)
