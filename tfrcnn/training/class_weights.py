"""Factors of the classifier's loss by class, so that rare classes count more: `TrainingConfig.class_weights`.

"balanced" weighs by the counts n_c of the N training boxes of the K classes that have any,

    w_c = N / (K n_c),

as scikit-learn does. All objects together count as before, and the background keeps 1.
"""

from __future__ import annotations

import numpy as np

from tfrcnn.config import TrainingConfig
from tfrcnn.data.example import Dataset
from tfrcnn.data.example_table import column_of, objects_of
from tfrcnn.errors import InputError

BACKGROUND = "background"


def class_weights(training: TrainingConfig, dataset: Dataset) -> dict[str, float] | None:
    """Return the factors of a training by name, "balanced" as numbers.

    Args:
        training: with the `class_weights` to look up.
        dataset: the training data.

    Returns:
        Factors by category name, also of "background" if it has one; None if all are 1.

    Raises:
        InputError: a name is no category of the data, or means both a category and the background.

    Example:
        class_weights(tfrcnn.TrainingConfig(class_weights="balanced"), data)  # {"cell": 0.6, "nucleus": 3.2}
    """
    weights, names = training.class_weights, [category.name for category in dataset.categories]
    if weights == "balanced":
        return _balanced(dataset)
    if not isinstance(weights, dict):
        return None
    for name in weights:
        if name not in (*names, BACKGROUND):
            raise InputError(
                f"TrainingConfig.class_weights: expected names of the categories {', '.join(names)} or {BACKGROUND}, "
                f"found {name!r}"
            )
    if BACKGROUND in weights and BACKGROUND in names:
        raise InputError(
            f"TrainingConfig.class_weights: expected no factor of {BACKGROUND!r}, which is a category too: rename the "
            "category, or leave the factor out"
        )
    return {name: float(weight) for name, weight in weights.items()}


def label_weights(training: TrainingConfig, dataset: Dataset) -> dict[int, float] | None:
    """Return `class_weights` by label, as the `class_weight` of `TrainingModel.fit`.

    Example:
        model.fit(data.batches(), class_weight=label_weights(training, dataset), steps_per_epoch=100)
    """
    weights = class_weights(training, dataset)
    if weights is None:
        return None
    labels = {BACKGROUND: len(dataset.categories)}
    labels.update((category.name, label) for label, category in enumerate(dataset.categories))
    return {labels[name]: weight for name, weight in weights.items()}


def counts_of_classes(dataset: Dataset) -> np.ndarray:
    """Return the boxes of each class that are trained on, without crowds and difficult ones, as [C] int64."""
    labels = column_of(dataset.examples, "labels")[objects_of(dataset.examples)]
    return np.bincount(labels, minlength=len(dataset.categories))


def _balanced(dataset: Dataset) -> dict[str, float]:
    """Weigh each class by the inverse of its number of boxes that are trained on; classes without boxes keep 1."""
    counts = counts_of_classes(dataset)
    mean = counts.sum() / max(np.count_nonzero(counts), 1)
    return {category.name: float(mean / count) if count else 1.0 for category, count in zip(dataset.categories, counts)}
