"""A training run as one object: data, start weights, network and training, checked, built and run.

The command line and Python train through it, so that both do the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import keras

from tfrcnn.config import Category, DetectorConfig, TrainingConfig
from tfrcnn.config_base import Config
from tfrcnn.data.example import Dataset
from tfrcnn.data.join import parts_of
from tfrcnn.data.read import load_dataset, read_dataset
from tfrcnn.data.sampler import steps_per_epoch
from tfrcnn.errors import InputError, InputErrors
from tfrcnn.evaluation.evaluate import Metric
from tfrcnn.locks import check_unlocked
from tfrcnn.models import FasterRCNN, Preset, preset
from tfrcnn.models.presets import preset_of_run, with_image_size
from tfrcnn.training import start as starting
from tfrcnn.training.folder import STATE, check_folder, check_same, is_complete, named, read_setup
from tfrcnn.training.losses import box_loss
from tfrcnn.training.process import kept_generators
from tfrcnn.training.run import Run, check_arguments, load_run, train
from tfrcnn.training.schemes import epochs_of
from tfrcnn.training.start import Log

DEFAULT_MODEL = "mobilenet_v2_fpn"
_LOG: Log = partial(print, flush=True)
_OPTIONS = ("images", "val_images", "model", "init", "proposals", "backbone_weights")  # in training.json


class _Checked(NamedTuple):
    """A recipe that passed all checks: the detector, as training starts from it, and the data sets."""

    recipe: Recipe
    detector: FasterRCNN
    train_data: Dataset
    validation: Dataset | None


@dataclass(frozen=True)
class Recipe(Config):
    """A training run: what to learn from, what to start from, and how to train.

    `check` reports every fault before any time is spent, `build` makes the detector, `run` trains it. If the backbone
    starts from random weights, nothing of it is frozen, as random weights are no use frozen.

    Attributes:
        train: the data to learn from, as in `tfrcnn.read_dataset`.
        val: the data to choose the best epoch by; None keeps the newest detector.
        model: a preset's name or file; None is mobilenet_v2_fpn, or the network of `init` or `proposals`.
        images: folder of the training images, as in `tfrcnn.read_dataset`.
        val_images: folder of the validation images; None takes `images`.
        init: a run folder whose detector to start from, instead of `model` and `backbone_weights`.
        proposals: a run folder whose proposals to learn from, for the scheme "fast-rcnn-only".
        backbone_weights: "imagenet", "none" (random) or a file, as in `tfrcnn.build_detector`; None takes "imagenet",
            or "none" for tiny.
        image_size: N makes the network input N x N, static, in pixels.
        detector: the network's configuration instead of the model's.
        training: how to train; None takes the model's default.
        changes: fields of `detector` and `training` to change, by path, for example {"training.epochs": 3,
            "detector.rpn.match.foreground_iou": 0.6}. "training.precision" may be "mixed", the 16 bits that suit the
            machine. "training.ema" may be True, the model's decay or else 0.998.
        metric: what is measured after every epoch: "coco", "voc" or "voc07".

    Example:
        recipe = tfrcnn.Recipe("cells/VOC@train", "cells/VOC@val", changes={"training.horizontal_flip": False})
        run = recipe.run("runs/cells")
        tfrcnn.Predictor(run.detector).detect("picture.jpg")
    """

    train: str
    val: str | None = None
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
        setup = read_setup(Path(folder))
        if set(setup["options"]) != set(_OPTIONS):
            raise InputError(f"the run in {folder} was started by tfrcnn.train: resume it from Python in the same way")
        options, val = dict(setup["options"]), setup["validation"] and setup["validation"]["source"]
        if val and len(parts_of(val)) == 1 and options["val_images"] == options["images"]:
            options["val_images"] = None  # it follows `images`, also to a new place
        return cls(
            train=setup["train"]["source"],
            val=val,
            detector=setup["detector"],
            training=setup["training"],
            metric=setup["metric"],
            **options,
        )

    def resolved(self) -> Recipe:
        """Return the same recipe with every default filled in and paths made absolute.

        `detector` and `training` are then complete and include `changes` and `image_size`.

        Raises:
            InputError: with all faults of the settings together.
        """
        return self._resolved()

    def _resolved(self, has_state: bool = False) -> Recipe:
        """Return `resolved`; a run that has a state needs no start weights."""
        errors = InputErrors()
        errors.messages += self._contradictions()
        errors.check()
        start, weights = self._start(), None
        with errors.collect():
            start = replace(start, detector=with_image_size(start.detector, self.image_size))
        changed = None
        with errors.collect():
            start = changed = starting.changed(start, self.changes)
            starting.check_scheme(start.training.scheme, self.proposals is not None)
        with errors.collect():
            weights = self.backbone_weights
            if not has_state:
                weights = None if self.init else starting.starting_weights(weights, start.detector)
        with errors.collect():
            if changed and starting.is_random(weights, changed.detector):
                start = starting.changed(starting.unfrozen(changed), self.changes)
                starting.check_unfrozen(start.training)
        for part in (start.detector.rpn, start.detector.head):
            with errors.collect():
                box_loss(part.box_loss)
        errors.check()
        if not self.init:  # `proposals` may be a detector of two networks; the scheme decides how many a run has
            start = replace(start, detector=start.detector.replace(shared_features=True))
        paths = {name: starting.absolute(name, getattr(self, name)) for name in ("train", "val", *_OPTIONS)}
        if self.val is not None and len(parts_of(self.val)) == 1:
            paths["val_images"] = paths["val_images"] or paths["images"]
        paths["backbone_weights"] = starting.absolute("backbone_weights", weights)
        paths["model"] = paths["model"] or (None if self.init or self.proposals or self.detector else DEFAULT_MODEL)
        return self.replace(**paths, detector=start.detector, training=start.training, image_size=None, changes={})

    def check(self, log: Log = _LOG) -> None:
        """Check everything: the settings, both data sets with all their images, and the start weights.

        Args:
            log: is called with the report on each data set; prints by default.

        Raises:
            InputError: with all faults together.
        """
        self._checked(log)

    def build(self, log: Log = _LOG) -> FasterRCNN:
        """Build the detector as training starts from it.

        The categories are read from the training data.

        Raises:
            InputError: the settings are wrong, the training data cannot be used, or the weights do not fit.
        """
        recipe = self.resolved()
        return recipe._built(load_dataset(recipe.train, recipe.images).categories, False, log)

    @kept_generators()
    def run(
        self,
        out: str | Path,
        resume: bool = False,
        cache: bool = False,
        callbacks: list[keras.callbacks.Callback] | None = None,
        log: Log = _LOG,
        augment: Callable[..., Any] | None = None,
    ) -> Run:
        """Check everything, then train.

        Args:
            out: the run folder, new or empty unless `resume`.
            resume: continue the run in `out`, which must have been started with the same recipe. Its data and files may
                have moved, and `training.epochs` may differ, see `tfrcnn.train`.
            cache: keep the decoded images in memory.
            callbacks: more Keras callbacks.
            log: is called with the report on each data set and with what is about to be trained; prints by default.
            augment: an augmentation of your own, as in `tfrcnn.training_data`.

        Returns:
            As `tfrcnn.train`.

        Raises:
            InputError: with all faults together, or as `tfrcnn.train`.
        """
        out = Path(out)
        check_unlocked(out)
        if resume:
            recipe = self._resolved((out / STATE).is_file())
            recipe._check_resumable(out, augment)
            if is_complete(out, recipe._training.epochs):
                log(f"The run in {out} is complete: all its {recipe._training.epochs} epochs are done.")
                return load_run(out)
        recipe, detector, train_data, validation = self._checked(log, out, resume)
        training = recipe._training
        log(
            f"\nTraining {detector.config.preset} on {len(train_data)} images: {epochs_of(training)} of "
            f"{steps_per_epoch(len(train_data), training.batch_size)} steps of {training.batch_size} images, "
            f"{training.precision}, seed {training.seed}. Everything goes to {out}."
        )
        more = (resume, cache, callbacks, recipe._options(), None, augment)
        return train(detector, train_data, validation, out, training, recipe.metric, *more)

    def _options(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _OPTIONS}

    @property
    def _training(self) -> TrainingConfig:
        """The training of a resolved recipe."""
        assert self.training is not None
        return self.training

    def _contradictions(self) -> Iterator[str]:
        for name, others in (("proposals", ("model", "init")), ("init", ("model", "backbone_weights"))):
            clashing = [other for other in others if getattr(self, other) is not None]
            if getattr(self, name) is not None and clashing:
                brings = "its own network and weights" if name == "init" else "the network"
                yield f"{name} brings {brings}: leave {' and '.join(clashing)} out"

    def _start(self) -> Preset:
        """The network and training before changes."""
        if self.detector is not None and self.training is not None:
            return Preset(self.detector, self.training, "")
        network = self.init or self.proposals
        start = preset_of_run(network) if network else preset(self.model or DEFAULT_MODEL)
        return replace(start, detector=self.detector or start.detector, training=self.training or start.training)

    def _built(self, categories: tuple[Category, ...], has_state: bool, log: Log) -> FasterRCNN:
        """Build the detector of a resolved recipe."""
        assert self.detector is not None
        config = self.detector.replace(categories=categories)
        if has_state:  # a resumed run takes all weights from it
            return starting.blank_detector(config, self._training)
        weights = self.backbone_weights
        return starting.starting_detector(config, self._training, weights, self.init, self.proposals, log)

    def _check_resumable(self, out: Path, augment: Callable[..., Any] | None) -> None:
        """Check a resolved recipe against a run, before the data are read."""
        assert self.detector is not None
        before = read_setup(out)
        from_data = {name: before["detector"][name] for name in ("categories", "shared_features")}
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
        detector = None
        has_state = out is not None and (out / STATE).is_file()
        if out is not None:
            with errors.collect():
                check_folder(out, resume)
        with errors.collect():
            recipe = self._resolved(has_state)
        with errors.collect():
            train_set = read_dataset(recipe.train, recipe.images)
        if recipe.val is not None:
            with errors.collect():
                val_set = read_dataset(recipe.val, recipe.val_images, train_set and train_set[0].categories)
        if not errors.messages and train_set and train_set[0].categories:
            with errors.collect():
                detector = recipe._built(train_set[0].categories, has_state, log)
                check_arguments(detector, train_set[0], val_set and val_set[0], recipe._training)
        starting.check_data([each for each in (train_set, val_set) if each], detector, errors, log)
        if resume and errors.messages and not starting.are_there(recipe.train, recipe.val, recipe.images):
            errors.messages[-1] += starting.MOVED.format(str(out))
        errors.check()
        if detector is None or train_set is None:
            raise InputError(f"{recipe.train}: expected at least one category, found none")
        return _Checked(recipe, detector, train_set[0], val_set and val_set[0])
