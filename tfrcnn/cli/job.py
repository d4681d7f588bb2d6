"""What `tfrcnn train` does: fill in the options, check everything, train, and say what came of it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tfrcnn.cli.detectors import run_config, starting_point, starting_weights, suited_to
from tfrcnn.cli.options import Metric
from tfrcnn.cli.outcome import next_steps, quoted, result
from tfrcnn.config_base import Config
from tfrcnn.errors import InputError
from tfrcnn.files import read_json

if TYPE_CHECKING:
    from tfrcnn.config import DetectorConfig, TrainingConfig
    from tfrcnn.data.example import Dataset
    from tfrcnn.models import FasterRCNN, Preset

DEFAULT_MODEL = "mobilenet_v2_fpn"
DEFAULT_EMA = 0.998  # for presets without averaging: a memory of about 500 steps
NO_FILES = ("imagenet", "none")  # values of --backbone-weights that name no file

_DATA = ("train", "val")
_PATHS = ("images", "val_images", "backbone_weights", "init", "proposals")
_TRAINING = ("scheme", "epochs", "batch_size", "learning_rate", "precision", "ema", "seed")


@dataclass(frozen=True)
class Job(Config):
    """What a run was asked for, with every default filled in; kept in RUN/training.json under "options".

    Paths are absolute, so that a run can be resumed from any folder. The last seven fields are `TrainingConfig`'s.
    """

    train: str
    val: str
    images: str | None
    val_images: str | None
    model: str
    init: str | None
    proposals: str | None
    backbone_weights: str
    image_size: int | None
    metric: Metric
    scheme: str
    epochs: int
    batch_size: int
    learning_rate: float
    precision: str
    ema: float | None
    seed: int

    def preset(self) -> Preset:
        """The preset, with these options in place of its own.

        Raises:
            InputError: an option is out of range.
        """
        found = starting_point(self.model, self.init or self.proposals, self.image_size)
        training = found.training.replace(**{name: getattr(self, name) for name in _TRAINING})
        if self.init is None:
            training = suited_to(self.backbone_weights, training)
        return replace(found, training=training)


def make_job(out: Path, asked: dict[str, Any], resume: bool) -> Job:
    """Fill in the options that were not given: from the preset, or from the run that is resumed.

    Args:
        asked: those that were given, by their names in `Job`; True for "precision" means the 16 bits that suit the
            machine, True for "ema" the usual decay.

    Raises:
        InputError: options are missing, out of range, or not those of the run that is resumed; the folder is in use,
            or there is no run in it.
    """
    from tfrcnn.training.run import check_folder

    check_folder(out, resume)
    asked = {name: _absolute(name, value) for name, value in asked.items()}
    default = _stored_job(out) if resume else _default_job(asked)
    if asked.get("precision") is True:
        asked["precision"] = _mixed_precision() if default.precision == "float32" else default.precision
    if asked.get("ema") is True:
        asked["ema"] = default.ema or DEFAULT_EMA
    job = default.replace(**asked)
    changed = [name for name in asked if getattr(job, name) != getattr(default, name)]
    if resume and changed:
        told = (f"{_option(n)} was {getattr(default, n)!r}, is {getattr(job, n)!r}" for n in changed)
        raise InputError(f"cannot resume {out} with other options: {', '.join(told)}")
    job.preset()  # checks the ranges
    if job.backbone_weights not in NO_FILES and not Path(job.backbone_weights).is_file():
        raise InputError(f"--backbone-weights: expected imagenet, none or a file, found none at {job.backbone_weights}")
    return job


def run_job(job: Job, out: Path, resume: bool, cache: bool) -> None:
    """Check the data, train, and print the result and what to do next.

    Raises:
        InputError: the data are refused; the backbone's weights do not fit; the loss is no longer a number.
    """
    from tfrcnn.data.sampler import steps_per_epoch
    from tfrcnn.training.run import SETUP, is_complete, train

    if resume and is_complete(out):
        print(f"The run in {out} is complete: all its {job.epochs} epochs are done.\n\n{next_steps(job, out)}")
        return
    preset = job.preset()
    detector, train_data, validation = _checked(job, preset, out)
    print(
        f"\nTraining {job.model} on {len(train_data)} images: {_epochs(preset.training)} of "
        f"{steps_per_epoch(len(train_data), job.batch_size)} steps of {job.batch_size} images, {job.precision}, "
        f"seed {job.seed}. Everything goes to {out}.",
        flush=True,
    )
    try:
        run = train(
            detector, train_data, validation, out, preset.training, job.metric, resume, cache, options=job.to_dict()
        )
    except KeyboardInterrupt:
        if (out / SETUP).is_file():
            print(f"\ninterrupted; to go on: tfrcnn train --out {quoted(out)} --resume", file=sys.stderr)
        raise typer.Exit(130) from None
    print(result(job, run, validation))
    print(next_steps(job, out))


def _epochs(training: TrainingConfig) -> str:
    """How many epochs there are, of each step of the scheme where it has several."""
    from tfrcnn.training.schemes import SCHEMES

    phases = SCHEMES[training.scheme]
    scheme = "" if training.scheme == "joint" else f"{training.scheme}, "
    return f"{scheme}{' + '.join(str(phase.training(training).epochs) for phase in phases)} epochs"


def _default_job(asked: dict[str, Any]) -> Job:
    """A new run's options where nothing but the data is given."""
    from tfrcnn.data.join import parts_of

    _check_combination(asked)
    init, proposals = asked.get("init"), asked.get("proposals")
    network = init or proposals
    model = run_config(Path(network)).preset if network else asked.get("model", DEFAULT_MODEL)
    found = starting_point(model, network)
    _check_scheme(asked.get("scheme", found.training.scheme), proposals is not None)
    weights = "none" if init else starting_weights(asked.get("backbone_weights"), model, found.detector.backbone)
    return Job(
        train=asked["train"],
        val=asked["val"],
        images=None,
        val_images=asked.get("images") if len(parts_of(asked["val"])) == 1 else None,
        model=model,
        init=init,
        proposals=proposals,
        backbone_weights=weights,
        image_size=None,
        metric="coco",
        **{name: getattr(found.training, name) for name in _TRAINING},
    )


def _check_combination(asked: dict[str, Any]) -> None:
    """Check that what a new run needs is there, and nothing that contradicts it.

    Raises:
        InputError: data are missing, or options are that do not go together.
    """
    for name in ("train", "val"):
        if name not in asked:
            raise InputError(f"--{name} DATA is needed, unless a run is resumed")
    if "scheme" in asked or "proposals" in asked:
        _check_scheme(asked.get("scheme", "joint"), "proposals" in asked)
    for name, others in (("proposals", ("model", "init")), ("init", ("model", "backbone_weights"))):
        given = [_option(other) for other in others if name in asked and other in asked]
        if given:
            brings = "its own network and weights" if name == "init" else "the network"
            raise InputError(f"--{name} brings {brings}: leave {' and '.join(given)} out")


def _check_scheme(scheme: str, has_proposals: bool) -> None:
    """Check that --proposals is there for the scheme that needs it, and for no other."""
    if scheme == "fast-rcnn-only" and not has_proposals:
        raise InputError("--scheme fast-rcnn-only learns from given proposals: --proposals RUN is needed")
    if scheme != "fast-rcnn-only" and has_proposals:
        raise InputError(f"--proposals is for --scheme fast-rcnn-only, found --scheme {scheme}")


def _stored_job(out: Path) -> Job:
    from tfrcnn.training.run import SETUP

    options = read_json(out / SETUP).get("options")
    if not options:
        raise InputError(f"{out / SETUP} has no options of tfrcnn train: resume this run from Python, as it was begun")
    return Job.from_dict(options)


def _mixed_precision() -> str:
    import tensorflow as tf

    return "mixed_float16" if tf.config.list_physical_devices("GPU") else "mixed_bfloat16"


def _checked(job: Job, preset: Preset, out: Path) -> tuple[FasterRCNN, Dataset, Dataset]:
    """The detector to train and both data sets, after the reports on them are printed.

    Raises:
        InputError: a data set is refused, or the backbone's weights do not fit.
    """
    from tfrcnn.data.doctor import diagnose
    from tfrcnn.data.read import read_dataset
    from tfrcnn.training.callbacks import STATE

    train_data, _ = read_dataset(job.train, job.images)
    categories = train_data.categories
    validation, _ = read_dataset(job.val, job.val_images, categories)
    # The anchors need the detector, and the detector a category; without one, the report says what is wrong.
    config = preset.detector.replace(categories=categories)
    has_state = (out / STATE).is_file()  # a run that is resumed takes all its weights from it
    detector = _detector(job, config, has_state) if categories else None
    anchors = (config, detector.level_strides) if detector else (None, None)
    print("Checking the data ...", flush=True)
    reports = [
        diagnose(job.train, job.images, anchors[0], anchors[1]),
        diagnose(job.val, job.val_images, anchors[0], anchors[1], categories),
    ]
    print("\n\n".join(report.render() for report in reports))
    refused = [report.source for report in reports if report.refused]
    if refused:
        raise InputError(f"refused: {' and '.join(refused)}; the report above says why. Nothing was written")
    if detector is None:
        raise InputError(f"{job.train}: expected at least one category, found none")
    return detector, train_data, validation


def _detector(job: Job, config: DetectorConfig, has_state: bool) -> FasterRCNN:
    """The detector to train: new, or what --init names with outputs for these categories; with an RPN of its own, as
    --proposals names it, where the scheme has two networks."""
    import keras

    from tfrcnn.models import build_blank_detector, build_detector, load_detector
    from tfrcnn.models.transfer import unshare, with_categories

    keras.utils.set_random_seed(job.seed)  # what has no weights to start from starts from the same random ones
    two_networks = job.scheme in ("unshared", "fast-rcnn-only")
    if has_state:
        config = config.replace(shared_features=config.shared_features and not two_networks)
        return build_blank_detector(config, job.precision)
    if job.init is None:
        config = config.replace(shared_features=True)  # also where --proposals names a detector of two networks
        detector = build_detector(config, job.backbone_weights, job.precision)
        if detector.weights_note:
            print(detector.weights_note)
    else:
        detector, kept = with_categories(load_detector(job.init), config.categories, config.image, job.precision)
        new = ", ".join(category.name for category in config.categories if category.name not in kept)
        known = ", ".join(kept)
        print(f"Starting from {job.init}; categories that it knows: {known or 'none'}, new: {new or 'none'}")
    if not two_networks:
        return detector
    if job.proposals is None:
        return unshare(detector)
    print(f"Learning from the proposals of {job.proposals}")
    return unshare(detector, load_detector(job.proposals, image=config.image))


def _absolute(name: str, value: Any) -> Any:
    """An option with its paths made absolute; others as they are."""
    from tfrcnn.data.join import PLUS, parts_of

    if name in _DATA:
        return PLUS.join(map(os.path.abspath, parts_of(value)))
    is_path = (name in _PATHS and value not in NO_FILES) or (name == "model" and value.endswith(".json"))
    return os.path.abspath(value) if is_path else value


def _option(name: str) -> str:
    return "--mixed-precision" if name == "precision" else f"--{name.replace('_', '-')}"
