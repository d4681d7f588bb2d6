"""What `tfrcnn train` does: fill in the options, check everything, train, and say what came of it."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from tfrcnn.cli.detectors import default_weights, run_config, starting_point
from tfrcnn.cli.options import Metric
from tfrcnn.config_base import Config
from tfrcnn.errors import InputError
from tfrcnn.files import read_json

if TYPE_CHECKING:
    from tfrcnn.config import DetectorConfig
    from tfrcnn.data.example import Dataset
    from tfrcnn.models import FasterRCNN, Preset
    from tfrcnn.training.run import Run

DEFAULT_MODEL = "mobilenet_v2_fpn"
DEFAULT_EMA = 0.998  # for presets without averaging: a memory of about 500 steps
NO_FILES = ("imagenet", "none")  # values of --backbone-weights that name no file

_PATHS = ("train", "val", "images", "val_images", "backbone_weights", "init")
_TRAINING = ("epochs", "batch_size", "learning_rate", "precision", "ema", "seed")


@dataclass(frozen=True)
class Job(Config):
    """What a run was asked for, with every default filled in; kept in RUN/training.json under "options".

    Paths are absolute, so that a run can be resumed from any folder. The last six fields are `TrainingConfig`'s.
    """

    train: str
    val: str
    images: str | None
    val_images: str | None
    model: str
    init: str | None
    backbone_weights: str
    image_size: int | None
    metric: Metric
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
        found = starting_point(self.model, self.init, self.image_size)
        training = found.training.replace(**{name: getattr(self, name) for name in _TRAINING})
        if self.init is None and self.backbone_weights == "none":
            training = training.replace(frozen_stages=0, freeze_batch_norm=False)  # random weights are no use frozen
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
    asked = {name: _absolute(value) if name in _PATHS else value for name, value in asked.items()}
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
        print(f"The run in {out} is complete: all its {job.epochs} epochs are done.\n\n{_next_steps(job, out)}")
        return
    preset = job.preset()
    detector, train_data, validation = _checked(job, preset, out)
    print(
        f"\nTraining {job.model} on {len(train_data)} images: {job.epochs} epochs of "
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
            print(f"\ninterrupted; to go on: tfrcnn train --out {_quoted(out)} --resume", file=sys.stderr)
        raise typer.Exit(130) from None
    print(_result(job, run, validation))
    print(_next_steps(job, out))


def _default_job(asked: dict[str, Any]) -> Job:
    """A new run's options where nothing but the data is given."""
    for name in ("train", "val"):
        if name not in asked:
            raise InputError(f"--{name} DATA is needed, unless a run is resumed")
    init = asked.get("init")
    given = [f"--{name.replace('_', '-')}" for name in ("model", "backbone_weights") if init and name in asked]
    if given:
        raise InputError(f"--init brings its own network and weights: leave {' and '.join(given)} out")
    model = run_config(Path(init)).preset if init else asked.get("model", DEFAULT_MODEL)
    found = starting_point(model, init)
    weights = "none" if init else asked.get("backbone_weights") or default_weights(found.detector.backbone)
    if weights is None:
        raise InputError(
            f"there are no weights to download for {model}: give --init RUN (of tfrcnn import-weights), "
            "--backbone-weights FILE (for a torchvision network its classifier, .pth) or --backbone-weights none"
        )
    return Job(
        train=asked["train"],
        val=asked["val"],
        images=None,
        val_images=asked.get("images"),
        model=model,
        init=init,
        backbone_weights=weights,
        image_size=None,
        metric="coco",
        **{name: getattr(found.training, name) for name in _TRAINING},
    )


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
    """The detector to train: new, or what --init names with outputs for these categories."""
    from tfrcnn.models import build_detector, load_detector
    from tfrcnn.models.transfer import with_categories

    if has_state or job.init is None:
        return build_detector(config, "none" if has_state else job.backbone_weights, job.precision)
    detector, kept = with_categories(load_detector(job.init), config.categories, config.image, job.precision)
    new = ", ".join(category.name for category in config.categories if category.name not in kept)
    known = ", ".join(kept)
    print(f"Starting from {job.init}; categories that it knows: {known or 'none'}, new: {new or 'none'}")
    return detector


def _result(job: Job, run: Run, validation: Dataset) -> str:
    """The score of the best detector as it was written, and what else is in the run's folder."""
    from tfrcnn.evaluation.evaluate import evaluate
    from tfrcnn.evaluation.report import render
    from tfrcnn.inference import Predictor

    detections = Predictor(run.detector).detect_dataset(validation, progress=sys.stderr.isatty())
    return f"""
The best detector, loaded from {run.folder}, on {job.val}:

{render(evaluate(validation, detections, job.metric))}
{run.folder} holds
  config.json, model-*.weights.h5    the best detector
  last/                              the newest one
  history.csv, curves.png            losses and scores of every epoch
  evaluation.json, predictions.png   the best detector on the validation data
"""


def _next_steps(job: Job, out: Path) -> str:
    images = f" --images {_quoted(job.val_images)}" if job.val_images else ""
    return f"""Next, with data of your own that the run has not seen:
  tfrcnn evaluate --model {_quoted(out)} --data {_quoted(job.val)}{images}
  tfrcnn predict --model {_quoted(out)} IMAGE_OR_FOLDER --out {_quoted(out / "pictures")}"""


def _absolute(value: str) -> str:
    return value if value in NO_FILES else os.path.abspath(value)


def _quoted(path: str | Path) -> str:
    return shlex.quote(str(path))


def _option(name: str) -> str:
    return "--mixed-precision" if name == "precision" else f"--{name.replace('_', '-')}"
