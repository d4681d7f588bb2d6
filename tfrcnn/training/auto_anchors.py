"""Anchors that a run fits to its training data: `Recipe.changes` with {"detector.anchors": "auto"}."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfrcnn.config import AnchorConfig
from tfrcnn.data.anchor_fit import fit_anchors
from tfrcnn.data.example import Dataset
from tfrcnn.models.build import anchor_strides
from tfrcnn.training.folder import read_setup

if TYPE_CHECKING:
    from tfrcnn.training.recipe import Recipe

ANCHORS, AUTO = "detector.anchors", "auto"


def pending(changes: dict[str, Any]) -> dict[str, Any]:
    """Return the changes of a recipe that wait for its data: {"detector.anchors": "auto"} or nothing."""
    return {ANCHORS: AUTO} if changes.get(ANCHORS) == AUTO else {}


def with_fitted_anchors(recipe: Recipe, dataset: Dataset, run: Path | None, log: Callable[[str], None]) -> Recipe:
    """Fit the anchors of a resolved recipe to its training data, if they are "auto".

    Args:
        recipe: its `detector` and `training` are complete.
        dataset: the training data, without validation data that `recipe.val` splits off.
        run: a run folder whose anchors to take instead.
        log: is called with the recall ceilings before and after, or with the note that the anchors are kept.

    Returns:
        The recipe with the anchors.

    Raises:
        InputError: there are no objects.
    """
    config, training = recipe.detector, recipe.training
    if not pending(recipe.changes) or config is None or training is None:
        return recipe
    if run is not None:
        anchors = AnchorConfig.from_dict(read_setup(run)["detector"]["anchors"])
        log(f"The anchors of the run in {run} are kept.")
    else:
        fit = fit_anchors(dataset, config, anchor_strides(config), training.seed)
        log(fit.render())
        anchors = fit.after
    return recipe.replace(detector=config.replace(anchors=anchors), changes={})
