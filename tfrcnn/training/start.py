"""The start of a run: defaults and checks of a recipe's settings, and the detector that they describe."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfrcnn.buckets.models import local_model
from tfrcnn.config import DetectorConfig, TrainingConfig
from tfrcnn.data.doctor import examine
from tfrcnn.data.example import Dataset
from tfrcnn.data.faults import Report
from tfrcnn.data.formats import absolute as absolute_data
from tfrcnn.data.formats import exists, place_of, validation_split
from tfrcnn.data.join import PLUS, parts_of
from tfrcnn.data.media import is_address
from tfrcnn.data.overlap import with_shared_images
from tfrcnn.data.sampler import repeat_factors, steps_per_epoch
from tfrcnn.data.split import SPLIT, as_fraction, check_val_images
from tfrcnn.errors import InputError, InputErrors
from tfrcnn.models import FasterRCNN, Preset, build_blank_detector, build_detector, load_detector
from tfrcnn.models.backbones import find_spec
from tfrcnn.models.presets import SUFFIX
from tfrcnn.models.transfer import unshare, with_categories
from tfrcnn.printable import count_of
from tfrcnn.training.auto_anchors import pending
from tfrcnn.training.process import seeded
from tfrcnn.training.schemes import epochs_of
from tfrcnn.weights.importing import published_run
from tfrcnn.weights.published import checkpoint_of, is_published, published_names

NO_FILES = ("imagenet", "none")  # start weights that name no file

if TYPE_CHECKING:
    from tfrcnn.training.recipe import Recipe

Log = Callable[[str], None]
PRINT: Log = partial(print, flush=True)
ReadSet = tuple[Dataset, Report]  # as `read_dataset` returns it
_DATA = ("train", "val")
MOVED = (
    ". If the data of the run in {0} have moved, pass their new place: tfrcnn train --out {0} --resume --train DATA "
    "--val DATA (and --images), or Recipe.of_run({0!r}).replace(train=..., val=...)"
)


def starting_weights(weights: str | None, config: DetectorConfig) -> str:
    """Return the weights that a backbone starts from: the user's choice, or else the usual ones.

    Args:
        weights: "imagenet", "none", a file or a published name; None takes the usual ones.
        config: the detector.

    Raises:
        InputError: there is no such file, it cannot be downloaded, or there are no usual weights.
    """
    weights = weights or find_spec(config.backbone.name).default_weights(config.backbone)
    if weights is None:
        raise InputError(
            f"there are no weights to download for {config.preset}: set backbone_weights to a file (for a torchvision "
            "network its classifier, .pth) or to none, or start from a run of tfrcnn import-weights with init"
        )
    if is_published(weights, "backbone"):
        checkpoint_of(weights)
    elif weights not in NO_FILES and not Path(weights).is_file():
        names = "" if Path(weights).suffix else f" One of {', '.join(published_names('backbone'))} is downloaded."
        raise InputError(
            f"backbone_weights: expected imagenet, none or a file, found none at {os.path.abspath(weights)}{names}"
        )
    return weights


def run_of(init: str) -> str:
    """Return the run folder to start from: `init` itself, or its copy in the cache if it is an address or a name.

    Raises:
        InputError: it cannot be downloaded, or there is neither such a folder nor such a name.
    """
    is_name = os.path.basename(init) == init and not Path(init).exists()
    if is_name and not is_published(init, "detector"):
        names = ", ".join(published_names("detector"))
        raise InputError(f"no detector in {init}: expected a folder, as written by tfrcnn train, or one of {names}")
    return str(published_run(init) if is_name else local_model(init))


def is_random(weights: str | None, config: DetectorConfig) -> bool:
    """Return whether the backbone of a detector starts from random weights; `weights` as in `starting_weights`."""
    return weights == "none" and not find_spec(config.backbone.name).pretrained


def unfrozen(start: Preset) -> Preset:
    """Return a preset that freezes nothing, since random weights are no use frozen."""
    return replace(start, training=start.training.replace(frozen_stages=0, freeze_batch_norm=False))


def check_unfrozen(training: TrainingConfig) -> None:
    """Check that no change freezes random weights.

    Raises:
        InputError: one does.
    """
    if training.frozen_stages or training.freeze_batch_norm:
        name, value = ("frozen_stages", 0) if training.frozen_stages else ("freeze_batch_norm", False)
        raise InputError(f"training.{name} must be {value} with random weights (backbone_weights none)")


def check_scheme(scheme: str, has_proposals: bool) -> None:
    """Check that proposals are there for the scheme that needs them, and for no other.

    Raises:
        InputError: they are missing, or not needed.
    """
    if scheme == "fast-rcnn-only" and not has_proposals:
        raise InputError("scheme fast-rcnn-only learns from the proposals of another run: proposals is needed")
    if scheme != "fast-rcnn-only" and has_proposals:
        raise InputError(f"proposals is for the scheme fast-rcnn-only, found the scheme {scheme}")


def contradictions(recipe: Recipe) -> Iterator[str]:
    """Report settings of a recipe that exclude each other."""
    try:
        check_val_images(recipe.val, recipe.val_images)
    except InputError as error:
        yield str(error)
    if recipe.proposals is not None and pending(recipe.changes):
        yield "proposals brings its anchors: leave anchors auto out"
    for name, others in (("proposals", ("model", "init")), ("init", ("model", "backbone_weights"))):
        clashing = [other for other in others if getattr(recipe, other) is not None]
        if getattr(recipe, name) is not None and clashing:
            brings = "its own network and weights" if name == "init" else "the network"
            yield f"{name} brings {brings}: leave {' and '.join(clashing)} out"


def names_data(val: str) -> bool:
    """Return whether a VAL argument names data, not a fraction, be it right or wrong."""
    with suppress(InputError):
        return as_fraction(val) is None
    return False


def are_there(*data: float | str | None) -> bool:
    """Return whether data sets and folders are where they are said to be."""
    parts = [part for each in data if isinstance(each, str) for part in parts_of(each)]
    return all(Path(place_of(part).path).exists() or exists(part) for part in parts)


def absolute(name: str, value: Any) -> Any:
    """Make the paths in a field of a recipe absolute, so that a run can be resumed from any folder."""
    if name == "val" and (fraction := as_fraction(value)) is not None:
        return fraction
    if value is None or value in NO_FILES or (name == "model" and not value.endswith(SUFFIX)):
        return value
    if (name == "init" and is_published(value, "detector")) or is_published(value, "backbone"):
        return value
    if name in _DATA:
        return PLUS.join(map(absolute_data, parts_of(value)))
    return value if is_address(value) else os.path.abspath(value)


def check_data(sets: list[ReadSet], detector: FasterRCNN | None, errors: InputErrors, log: Log) -> None:
    """Report on data sets that have been read.

    Their images are decoded only if there are no other errors, since that takes long.

    Args:
        sets: the data sets: the training data, then the validation data if there are any.
        detector: whose anchors to compare the objects with.
        errors: takes one more if a data set is refused.
        log: is called with the reports.
    """
    reports = [report for _, report in sets]
    if errors.messages:
        reports = [report for report in reports if report.refused]
    else:
        log("Checking the data ...")
        anchors = (detector.config, detector.level_strides) if detector else (None, None)
        reports = [examine(dataset, report, *anchors) for dataset, report in sets]
        if len(sets) == 2:
            reports[1] = with_shared_images(sets[0][0], sets[1][0], reports[1])
    if reports:
        log("\n\n".join(report.render() for report in reports))
    refused = [report.source for report in reports if report.refused]
    if refused:
        names = " and ".join(refused)
        errors.messages.append(f"refused: {names}; the report above says why. Nothing was written")


def is_useful(dataset: Dataset, report: Report) -> bool:
    """Return whether a detector can be made for data: not if all images are missing, which the report says."""
    return bool(dataset.categories) and not (report.refused and not len(dataset))


def starting_detector(
    config: DetectorConfig,
    training: TrainingConfig,
    weights: str | None,
    init: str | None,
    proposals: str | None,
    log: Log,
) -> FasterRCNN:
    """Build the detector that training starts from.

    Args:
        config: of the detector, with categories.
        training: its seed, precision and scheme are used.
        weights: of the backbone; not used with `init`.
        init: a run folder or a published name whose weights to start from.
        proposals: a run folder whose RPN to take.
        log: is called with what the detector starts from.

    Raises:
        InputError: the weights are missing or do not fit.
    """
    with seeded(training.seed):  # weights that start at random start the same in every run
        if init is None:
            path = checkpoint_of(str(weights)) if is_published(weights, "backbone") else str(weights)
            detector = build_detector(config, path, training.precision)
            if detector.weights_note:
                log(detector.weights_note)
        else:
            detector = _with_weights_of(init, config, training.precision, log)
        if not has_two_networks(training):
            return detector
        if proposals is None:
            return unshare(detector)
        log(f"Learning from the proposals of {proposals}")
        return unshare(detector, load_detector(proposals, image=config.image))


def announcement(
    detector: FasterRCNN, train_data: Dataset, validation: Dataset | None, training: TrainingConfig, out: Path
) -> str:
    """Say what is about to be trained, and which weights are kept."""
    steps = steps_per_epoch(repeat_factors(train_data, training.repeat_factor_threshold).sum(), training.batch_size)
    kept = "" if validation else f"{_without_validation(train_data.source)}\n"
    split = ""
    if validation is not None and as_fraction(validation.source):
        split = f" ({len(validation)} are split off for validation, see {SPLIT} there)"
    return (
        f"\n{kept}Training {detector.config.preset} on {count_of(len(train_data), 'image')}{split}: "
        f"{epochs_of(training)} of {count_of(steps, 'step')} of {count_of(training.batch_size, 'image')}, "
        f"{training.precision}, seed {training.seed}. Everything goes to {out}."
    )


def _without_validation(source: str) -> str:
    """Say which weights are kept without validation data, and how to have some."""
    split = None if PLUS in source else validation_split(source)
    way = f"--val {split} (in Python val={split!r})" if split else "--val 0.2 splits off a fifth (in Python val=0.2)"
    return f"No validation data: the newest weights are kept, not the best. To choose by a score: {way}."


def blank_detector(config: DetectorConfig, training: TrainingConfig) -> FasterRCNN:
    """Build the detector of a run that is resumed, without weights."""
    shared = config.shared_features and not has_two_networks(training)
    return build_blank_detector(config.replace(shared_features=shared), training.precision)


def has_two_networks(training: TrainingConfig) -> bool:
    """Return whether a scheme trains a detector whose RPN has separate features from its first step to its last."""
    return training.scheme in ("unshared", "fast-rcnn-only")


def _with_weights_of(init: str, config: DetectorConfig, precision: str, log: Log) -> FasterRCNN:
    source = load_detector(run_of(init))
    kept_fields = ("categories", "image", "shared_features")
    changes = {f.name: getattr(config, f.name) for f in fields(config) if f.name not in kept_fields}
    detector, kept = with_categories(source, config.categories, config.image, precision, **changes)
    known = ", ".join(kept) or "none"
    new = ", ".join(category.name for category in config.categories if category.name not in kept) or "none"
    log(f"Starting from {init}; categories that it knows: {known}, new: {new}")
    anchors, before = config.anchors.per_cell, source.config.anchors.per_cell
    if anchors != before:
        log(f"The RPN's last layers start at random: {anchors} anchors at each position, {before} in {init}")
    return detector
