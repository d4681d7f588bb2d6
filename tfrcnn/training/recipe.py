"""A training run as one object: data, start weights, network and training, checked, built and run.

The command line and Python train through it, so that both do the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras

from tfrcnn.config import Category, DetectorConfig, TrainingConfig
from tfrcnn.config_base import Config
from tfrcnn.data.augment.common import Augmentation
from tfrcnn.data.example import Dataset
from tfrcnn.data.feeders import check_feeders
from tfrcnn.data.join import val_folder
from tfrcnn.data.read import load_dataset, read_dataset, read_validation
from tfrcnn.data.split import as_fraction
from tfrcnn.errors import InputError, InputErrors
from tfrcnn.evaluation.evaluate import Metric
from tfrcnn.locks import check_unlocked
from tfrcnn.models import FasterRCNN
from tfrcnn.training import start as starting
from tfrcnn.training.auto_anchors import with_fitted_anchors
from tfrcnn.training.checks import check_arguments
from tfrcnn.training.folder import STATE, check_folder, check_same, end_note, is_complete, named, read_setup
from tfrcnn.training.held_out import hold_out
from tfrcnn.training.loggers import check_loggers
from tfrcnn.training.lr_finder import LearningRateSweep, find_learning_rate
from tfrcnn.training.process import kept_generators
from tfrcnn.training.resolve import OPTIONS, resolved
from tfrcnn.training.run import Run, load_run, train
from tfrcnn.training.start import PRINT, Log
from tfrcnn.training.workers import run_folder

# A recipe that passed all checks, the detector as training starts from it, and the data sets.
_Checked = tuple["Recipe", FasterRCNN, Dataset, Dataset | None]


@dataclass(frozen=True)
class Recipe(Config):
    """A training run: what to learn from, what to start from, and how to train.

    `check` reports every fault before any time is spent, `build` makes the detector, `run` trains it. If the backbone
    starts from random weights, nothing of it is frozen, as random weights are no use frozen.

    Attributes:
        train: the data to learn from, as in `tfrcnn.read_dataset`.
        val: the data to choose the best epoch by; or a fraction of `train` that is split off for it, for example 0.2,
            see `tfrcnn.split_dataset`; None keeps the newest detector.
        model: a preset's name or file; None is mobilenet_v2_fpn, or the network of `init` or `proposals`.
        images: folder of the training images, as in `tfrcnn.read_dataset`.
        val_images: folder of the validation images; None takes `images`.
        init: a run folder, or a published name such as "coco-resnet50", whose detector to start from, instead of
            `model` and `backbone_weights`.
        proposals: a run folder whose proposals to learn from, for the scheme "fast-rcnn-only".
        backbone_weights: "imagenet", "none" (random), a file, or a published name such as "imagenet-resnet50"; None
            takes "imagenet", or "none" for tiny.
        image_size: N makes the network input N x N, static, in pixels.
        detector: the network's configuration instead of the model's.
        training: how to train; None takes the model's default.
        changes: fields of `detector` and `training` to change, by path, for example {"training.epochs": 3,
            "detector.rpn.match.foreground_iou": 0.6}. "training.precision" may be "mixed", the 16 bits that suit the
            machine. "training.ema" may be True, the model's decay or else 0.998. "detector.anchors" may be "auto": as
            many sizes and ratios as the model has, fitted to the training data.
        metric: what is measured after every epoch: "coco", "voc" or "voc07".

    Example:
        recipe = tfrcnn.Recipe("cells/VOC@train", "cells/VOC@val", changes={"training.horizontal_flip": False})
        run = recipe.run("runs/cells")
        tfrcnn.Predictor(run.detector).detect("picture.jpg")
    """

    train: str
    val: float | str | None = None
    model: str | None = None
    images: str | None = None
    val_images: str | None = None
    init: str | None = None
    proposals: str | None = None
    backbone_weights: str | None = None
    image_size: int | None = None
    detector: DetectorConfig | None = None
    training: TrainingConfig | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    metric: Metric = "coco"

    @classmethod
    def of_run(cls, folder: str | Path) -> Recipe:
        """Return the recipe of the run in a folder, with every default filled in.

        Raises:
            InputError: there is no run, `tfrcnn.train` started it without a recipe, or release 0.1 wrote it.
        """
        setup = read_setup(folder)
        options, val = dict(setup["options"]), setup["validation"] and setup["validation"]["source"]
        options.pop("augment", None)  # the name of a function, which is passed to `run`
        if set(options) != set(OPTIONS):
            raise InputError(f"the run in {folder} was started by tfrcnn.train: resume it from Python in the same way")
        if not val or options["val_images"] == val_folder(val, options["images"], None):
            options["val_images"] = None  # it follows `images`, also to a new place
        return cls(
            train=setup["train"]["source"],
            val=as_fraction(val) or val,
            detector=setup["detector"],
            training=setup["training"],
            metric=setup["metric"],
            **options,
        )

    def replace(self, **changes: Any) -> Recipe:
        """Return a copy with some fields changed.

        Another `model` brings its own network: the copy has no `detector`, unless one is passed too.
        """
        if "model" in changes and changes["model"] != self.model:
            changes = {"detector": None, **changes}
        return replace(self, **changes)

    def resolved(self) -> Recipe:
        """Return the same recipe with every default filled in and paths made absolute.

        `detector` and `training` are then complete and include `changes` and `image_size`.

        Raises:
            InputError: with all faults of the settings together.
        """
        return resolved(self)

    def check(self, log: Log = PRINT) -> None:
        """Check everything: the settings, both data sets with all their images, and the start weights.

        Args:
            log: is called with the report on each data set; prints by default.

        Raises:
            InputError: with all faults together.
        """
        self._checked(log)

    def build(self, log: Log = PRINT) -> FasterRCNN:
        """Build the detector as training starts from it.

        The categories are read from the training data.

        Raises:
            InputError: the settings are wrong, the training data cannot be used, or the weights do not fit.
        """
        recipe = self.resolved()
        dataset = load_dataset(recipe.train, recipe.images)
        train_data, _ = hold_out(dataset, recipe.val if isinstance(recipe.val, float) else None, recipe._training.seed)
        return with_fitted_anchors(recipe, train_data, None, log)._built(dataset.categories, False, log)

    @kept_generators()
    def run(
        self,
        out: str | Path,
        resume: bool = False,
        cache: bool = False,
        callbacks: list[keras.callbacks.Callback] | None = None,
        log: Log = PRINT,
        augment: Augmentation | None = None,
        loggers: Sequence[str] | None = None,
        feeders: Sequence[str] = (),
    ) -> Run:
        """Check everything, then train.

        Args:
            out: the run folder, new or empty unless `resume`; or its address in a bucket.
            resume: continue the run in `out`, which must have been started with the same recipe, see `tfrcnn.train`.
            cache: keep the decoded images in memory.
            callbacks: more Keras callbacks.
            log: is called with the report on each data set and with what is about to be trained; prints by default.
            augment: an augmentation of your own, as in `tfrcnn.training_data`.
            loggers: as in `tfrcnn.train`.
            feeders: as in `tfrcnn.train`.

        Returns:
            As `tfrcnn.train`.

        Raises:
            InputError: with all faults together, or as `tfrcnn.train`.
        """
        check_loggers(loggers)
        with run_folder(out, resume) as out:
            check_unlocked(out)
            if resume:
                recipe = resolved(self, (out / STATE).is_file())
                recipe._check_resumable(out, augment)
                if is_complete(out, recipe._training.epochs, recipe._training.patience):
                    log(f"The run in {out} is complete: {end_note(out, recipe._training)}")
                    return load_run(out)
            check_feeders(feeders, cache)
            recipe, detector, train_data, validation = self._checked(log, out, resume)
            log(starting.announcement(detector, train_data, validation, recipe._training, out))
            return train(
                detector,
                train_data,
                validation,
                out,
                recipe._training,
                recipe.metric,
                resume,
                cache,
                callbacks,
                recipe._options(),
                augment=augment,
                loggers=loggers,
                feeders=feeders,
            )

    def find_learning_rate(
        self, steps: int = 100, log: Log = PRINT, augment: Augmentation | None = None
    ) -> LearningRateSweep:
        """Check everything, then measure the loss while the learning rate rises, see `tfrcnn.find_learning_rate`.

        Args:
            steps: updates of the sweep.
            log: is called with the report on each data set; prints by default.
            augment: as in `run`.

        Raises:
            InputError: with all faults together.
        """
        recipe, detector, data, _ = self._checked(log)
        return find_learning_rate(detector, data, recipe._training, steps, augment=augment)

    def _options(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in OPTIONS}

    @property
    def _training(self) -> TrainingConfig:
        """The training of a resolved recipe."""
        assert self.training is not None
        return self.training

    def _built(self, categories: tuple[Category, ...], has_state: bool, log: Log) -> FasterRCNN:
        """Build the detector of a resolved recipe."""
        assert self.detector is not None
        config = self.detector.replace(categories=categories)
        if has_state:  # a resumed run takes all weights from it
            return starting.blank_detector(config, self._training)
        return starting.starting_detector(config, self._training, self.backbone_weights, self.init, self.proposals, log)

    def _check_resumable(self, out: Path, augment: Augmentation | None = None) -> None:
        """Check a resolved recipe against a run, before the data are read."""
        assert self.detector is not None
        before = read_setup(out)
        fitted = ("anchors",) if self.changes else ()
        from_data = {name: before["detector"][name] for name in ("categories", "shared_features", *fitted)}
        setup = {
            "train": {**before["train"], "source": self.train},
            "validation": self.val and {**(before["validation"] or {}), "source": self.val},
            "metric": self.metric,
            "training": self._training.to_dict(),
            "detector": {**self.detector.to_dict(), **from_data},
            "options": {**self._options(), **named(augment)},
        }
        check_same(out, setup)

    def _checked(self, log: Log, out: Path | None = None, resume: bool = False) -> _Checked:
        errors, recipe = InputErrors(), self
        train_set: starting.ReadSet | None = None
        val_set: starting.ReadSet | None = None
        data: tuple[Dataset, Dataset | None] | None = None
        detector = None
        has_state = out is not None and (out / STATE).is_file()
        if out is not None:
            with errors.collect():
                check_folder(out, resume)
        with errors.collect():
            recipe = resolved(self, has_state)
        with errors.collect(data="train"):
            train_set = read_dataset(recipe.train, recipe.images)
        if isinstance(recipe.val, str) and starting.names_data(recipe.val):
            with errors.collect():
                categories = train_set and train_set[0].categories
                val_set = read_validation(recipe.val, recipe.images, recipe.val_images, categories)
        if not errors.messages and train_set and starting.is_useful(*train_set):
            with errors.collect():
                data = hold_out(train_set[0], val_set[0] if val_set else recipe.val, recipe._training.seed, out)
                recipe = with_fitted_anchors(recipe, data[0], out if resume else None, log)
                detector = recipe._built(data[0].categories, has_state, log)
                check_arguments(detector, *data, recipe._training)
        starting.check_data([each for each in (train_set, val_set) if each], detector, errors, log)
        if resume and errors.messages and not starting.are_there(recipe.train, recipe.val, recipe.images):
            errors.messages[-1] += starting.MOVED.format(str(out))
        errors.check()
        if detector is None or data is None:
            raise InputError(f"{recipe.train}: expected at least one category, found none")
        return recipe, detector, *data
