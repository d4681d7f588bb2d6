"""Fill in what a recipe leaves to its defaults, and check its settings against each other."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from tfrcnn.buckets.models import local_model
from tfrcnn.config import TrainingConfig
from tfrcnn.data.join import val_folder
from tfrcnn.errors import InputError, InputErrors
from tfrcnn.models import Preset, preset
from tfrcnn.models.presets import preset_of_run, with_changes, with_image_size
from tfrcnn.training import start as starting
from tfrcnn.training.auto_anchors import pending
from tfrcnn.training.losses import check_losses
from tfrcnn.training.optimizer_names import check_optimizer, usual_rate

if TYPE_CHECKING:
    from tfrcnn.training.recipe import Recipe

DEFAULT_MODEL = "mobilenet_v2_fpn"
DEFAULT_EMA = 0.998  # for presets without averaging: a memory of about 500 steps
OPTIONS = ("images", "val_images", "model", "init", "proposals", "backbone_weights")  # in training.json


def resolved(recipe: Recipe, has_state: bool = False) -> Recipe:
    """Return a recipe with every default filled in and paths made absolute, see `Recipe.resolved`.

    Args:
        recipe: as the user wrote it.
        has_state: the run has a state to resume from, so it needs no start weights.

    Raises:
        InputError: with all faults of the settings together.
    """
    errors = InputErrors()
    errors.messages += starting.contradictions(recipe)
    errors.check()
    start, weights = _start(recipe), None
    with errors.collect():
        start = replace(start, detector=with_image_size(start.detector, recipe.image_size))
    complete = None
    with errors.collect():
        start = complete = changed(start, recipe.changes)
        starting.check_scheme(start.training.scheme, recipe.proposals is not None)
    with errors.collect():
        weights = recipe.backbone_weights
        if not has_state:
            weights = None if recipe.init else starting.starting_weights(weights, start.detector)
    with errors.collect():
        if complete and starting.is_random(weights, complete.detector):
            start = changed(starting.unfrozen(complete), recipe.changes)
            starting.check_unfrozen(start.training)
    with errors.collect():
        check_losses(start.detector)
    with errors.collect():
        check_optimizer(start.training)
    errors.check()
    if not recipe.init:  # `proposals` may be a detector of two networks; the scheme decides how many a run has
        start = replace(start, detector=start.detector.replace(shared_features=True))
    paths = {name: starting.absolute(name, getattr(recipe, name)) for name in ("train", "val", *OPTIONS)}
    if isinstance(paths["val"], str):
        paths["val_images"] = val_folder(paths["val"], paths["images"], paths["val_images"])
    paths["backbone_weights"] = starting.absolute("backbone_weights", weights)
    paths["model"] = paths["model"] or (None if recipe.init or recipe.proposals or recipe.detector else DEFAULT_MODEL)
    parts = {"detector": start.detector, "training": start.training, "changes": pending(recipe.changes)}
    return recipe.replace(**paths, **parts, image_size=None)


def _start(recipe: Recipe) -> Preset:
    """Return the network and training before changes."""
    if recipe.detector is not None and recipe.training is not None:
        return Preset(recipe.detector, recipe.training, "")
    network = starting.run_of(recipe.init) if recipe.init else recipe.proposals and local_model(recipe.proposals)
    start = preset_of_run(network) if network else preset(recipe.model or DEFAULT_MODEL)
    return replace(start, detector=recipe.detector or start.detector, training=recipe.training or start.training)


def spelled_out(path: str, value: Any, training: TrainingConfig) -> Any:
    """Return the value that the shorthands of `Recipe.changes` stand for."""
    if path == "training.precision" and value == "mixed":
        on_gpu = tf.config.list_physical_devices("GPU")
        usual = "mixed_float16" if on_gpu else "mixed_bfloat16"
        return usual if training.precision == "float32" else training.precision
    if path == "training.ema" and value is True:
        return training.ema or DEFAULT_EMA
    return value


def changed(start: Preset, changes: dict[str, Any]) -> Preset:
    """Apply the changes of a recipe, and report each one that is wrong.

    Raises:
        InputError: with all wrong changes together.
    """
    values = {
        path: spelled_out(path, value, start.training)
        for path, value in changes.items()
        if path not in pending(changes)
    }
    fields, rate = _set_training(values), start.training.learning_rate
    is_other = start.training.optimizer == "sgd" != fields.get("optimizer", "sgd")
    if is_other and isinstance(fields["optimizer"], str) and "learning_rate" not in fields:
        values["training.learning_rate"] = usual_rate(fields["optimizer"], rate)
    try:
        return with_changes(start, values)
    except InputError:
        _report_changes(start, values)
        raise  # each is right alone, but not together


def _set_training(values: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of the training that changes set, by path or as an object."""
    whole = values.get("training")
    fields = {path.removeprefix("training."): value for path, value in values.items()}
    return {**whole, **fields} if isinstance(whole, dict) else fields


def _report_changes(start: Preset, values: dict[str, Any]) -> None:
    """Find out which changes are wrong; some are right only together, for example the fields of a cascade.

    Raises:
        InputError: with the faults of the wrong changes; a single one is the only one without which the rest is right.
    """
    wrong = [path for path in values if not _is_right(start, {path: values[path]})]
    if any(_is_right(start, {each: values[each] for each in values if each != path}) for path in wrong):
        return
    errors = InputErrors()
    right = {path: value for path, value in values.items() if path not in wrong}
    for path in wrong:
        with errors.collect():
            with_changes(start, {**right, path: values[path]})
    errors.check()


def _is_right(start: Preset, values: dict[str, Any]) -> bool:
    with suppress(InputError):
        with_changes(start, values)
        return True
    return False
