"""A whole training run in one call: from data sets to a folder with the trained, measured detector.

The run folder:
    config.json, model-N.weights.h5   the best detector on the validation set: `load_detector(folder)`
    last/                             the newest detector, of the same form
    training.json                     how the run was set up
    training_state.npz                everything needed to resume
    history.csv, tensorboard/         losses and scores, a row an epoch
    evaluation.json                   the best detector on the validation set
    curves.png, predictions.png       the same for the eye
    initial/, 1-rpn/, ...             what the steps of a scheme of several leave, see `tfrcnn.training.alternating`
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrcnn.config import TrainingConfig
from tfrcnn.data.decode import read_image
from tfrcnn.data.example import Dataset
from tfrcnn.data.pipeline import training_data
from tfrcnn.errors import InputError
from tfrcnn.evaluation.evaluate import Metric
from tfrcnn.evaluation.report import plot_curves
from tfrcnn.files import is_free, read_json, write_json
from tfrcnn.inference import Predictor
from tfrcnn.models import FasterRCNN, load_detector
from tfrcnn.training.alternating import start_of
from tfrcnn.training.callbacks import STATE, EndOfEpoch, Progress, StopOnNaN
from tfrcnn.training.joint import TrainingModel
from tfrcnn.training.measures import Measure, measure_of
from tfrcnn.training.optimizer import make_optimizer
from tfrcnn.training.schemes import HEAD, SCHEMES, Phase, check_network, freeze
from tfrcnn.training.state import read_meta, restore_state, seed_dropout
from tfrcnn.visualize import contact_sheet, draw_comparison

SETUP = "training.json"
SHEET_IMAGES = 9


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, the best detector, and a row of history an epoch."""

    folder: Path
    detector: FasterRCNN
    history: list[dict[str, Any]]


def train(
    detector: FasterRCNN,
    train_data: Dataset,
    validation: Dataset | None,
    out: str | Path,
    training: TrainingConfig,
    metric: Metric = "coco",
    resume: bool = False,
    cache: bool = False,
    callbacks: list[keras.callbacks.Callback] | None = None,
    options: dict[str, Any] | None = None,
    measure: Measure | None = None,
) -> Run:
    """Train a detector by the scheme of `training.scheme` and write everything about it into a folder.

    The schemes are those of the paper, see `tfrcnn.training.schemes`. "fast-rcnn-only" and "unshared" take a detector
    whose RPN has features of its own (`unshare`); of the first, that RPN is the one whose proposals are learned from.

    Under a `tf.distribute` strategy, build the detector and call this within `strategy.scope()`.

    Args:
        detector: trained in place (by "alternating" in its steps 3 and 4); its categories must be those of the data
            sets.
        validation: evaluated after every epoch; the best detector is kept by it. None keeps the newest.
        out: the run folder, new or empty unless `resume`.
        metric: "coco", "voc" or "voc07".
        resume: go on from the last complete epoch of `out`, exactly as if there had been no interruption. To the bit
            on a CPU; on a GPU the same samples in the same order, with sums that may round differently (call
            `tf.config.experimental.enable_op_determinism()` first to have it to the bit there too, slower).
        cache: keep the decoded images in memory.
        callbacks: further Keras callbacks.
        options: JSON values to keep in training.json under "options", e.g. those of the command line; where given,
            they have to be the same in a resumed run.
        measure: what an epoch is judged by, in place of `measure_of`: the metric's numbers, or the RPN's losses on the
            validation data where only the RPN is trained.

    Raises:
        InputError: the folder is in use, or was set up differently; categories differ; the detector is not of the form
            that the scheme trains; the loss is no longer a number.
    """
    out = Path(out)
    for name, dataset in (("training", train_data), ("validation", validation)):
        if dataset is not None and dataset.categories != detector.config.categories:
            raise InputError(f"the categories of the {name} data {dataset.source} are not those of the detector")
    check_network(detector, training.scheme)
    _check_devices(detector, training)
    setup = {
        "training": training.to_dict(),
        "metric": metric,
        "train": _identity(train_data),
        "validation": _identity(validation) if validation else None,
        "detector": detector.config.to_dict(),
        "options": options or {},
    }
    prepare_folder(out, setup, resume)
    if not tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()  # see RoIAlign; on a CPU it makes runs repeatable to the bit

    data = training_data(train_data, detector.config.image, training, cache)
    extra = {"training": training.to_dict(), "metric": metric}
    phases, state = SCHEMES[training.scheme], out / STATE
    done: dict[str, Any] = {"phase": 1, "epoch": 0, "history": []}
    if resume and state.is_file():
        done = read_meta(state)
    history = done["history"]
    for phase in phases[done["phase"] - 1 :]:
        epoch = done["epoch"] if phase.number == done["phase"] else 0
        epochs = phase.training(training).epochs
        if epoch >= epochs:
            continue
        model = _compiled(start_of(phase, phases, detector, out), phase, training, data.steps_per_epoch)
        if epoch:
            restore_state(state, model)
        judge = measure
        if judge is None and validation is not None:
            judge = measure_of(phase, validation, metric, training)
        model.fit(
            data.batches(epoch * data.steps_per_epoch),
            epochs=epochs,
            initial_epoch=epoch,
            steps_per_epoch=data.steps_per_epoch,
            shuffle=False,
            verbose=0,
            callbacks=[
                StopOnNaN(data.files_of_step, data.steps_per_epoch),
                EndOfEpoch(out, phase, judge, history, extra),
                Progress(epochs, data.steps_per_epoch, epoch, phase.label),
                *_tensorboard(out, phase),
                *(callbacks or []),
            ],
        )
    best = load_detector(out, kernels=detector.kernels)
    plot_curves(history, out / "curves.png")
    if validation is not None and _has_head(training.scheme):
        draw_sheet(Predictor(best), validation, out / "predictions.png")
    return Run(out, best, history)


def _compiled(detector: FasterRCNN, phase: Phase, training: TrainingConfig, steps_per_epoch: int) -> TrainingModel:
    """The model that minimises the losses of a phase by what the phase trains of a detector."""
    freeze(detector, training, phase)
    model = TrainingModel(detector, training.seed, phase.losses)
    model.compile(optimizer=make_optimizer(phase.training(training), steps_per_epoch), jit_compile=False)
    seed_dropout(model, training.seed, phase.number)
    return model


def _has_head(scheme: str) -> bool:
    """Whether a scheme trains a box head, so that there are detections to look at."""
    return any(HEAD in phase.losses for phase in SCHEMES[scheme])


def prepare_folder(out: Path, setup: dict[str, Any], resume: bool) -> None:
    """Claim a new run folder, or check that an old one was set up the same way.

    Raises:
        InputError: as `check_folder`; or resumed, but with another setup.
    """
    check_folder(out, resume)
    if not resume:
        write_json(out / SETUP, setup)
        return
    before = read_json(out / SETUP)
    for key, value in _flat(setup).items():
        if _flat(before).get(key) != value:
            raise InputError(
                f"{out / SETUP}: cannot resume with other settings: {key} was {_flat(before).get(key)!r}, is {value!r}"
            )


def check_folder(out: Path, resume: bool) -> None:
    """Check that a folder can become that of a new run, or holds one to resume; nothing is written.

    Raises:
        InputError: new, but there is something in the folder; resumed, but there is no run.
    """
    if not resume and not is_free(out):
        raise InputError(f"{out} exists and is not an empty folder: choose another, or --resume the run in it")
    if resume and not (out / SETUP).is_file():
        raise InputError(f"{out}: no run to resume, there is no {SETUP} in it")


def is_complete(out: Path) -> bool:
    """Whether the run in a folder has done all its epochs and drawn its pictures: nothing is left to resume.

    Raises:
        InputError: there is no run.
    """
    check_folder(out, resume=True)
    setup = read_json(out / SETUP)
    training = TrainingConfig.from_dict(setup["training"])
    has_sheet = setup["validation"] and _has_head(training.scheme)
    if not (out / STATE).is_file() or not (out / ("predictions.png" if has_sheet else "curves.png")).is_file():
        return False
    meta, last = read_meta(out / STATE), SCHEMES[training.scheme][-1]
    return meta["phase"] == last.number and meta["epoch"] >= last.training(training).epochs


def load_run(folder: str | Path) -> Run:
    """A run as `train` returned it, from its folder: the best detector so far, and the epochs that are done.

    Raises:
        InputError: there is no run, or it has not finished an epoch.
    """
    folder = Path(folder)
    check_folder(folder, resume=True)
    return Run(folder, load_detector(folder), read_meta(folder / STATE)["history"])


def draw_sheet(predictor: Predictor, dataset: Dataset, path: Path, score_threshold: float = 0.5) -> None:
    """A sheet of evenly spaced images of a data set with detections (solid) and ground truth (dashed)."""
    names = [category.name for category in dataset.categories]
    tiles = []
    for i in np.unique(np.linspace(0, len(dataset) - 1, SHEET_IMAGES).astype(int)):
        example = dataset.examples[i]
        image = read_image(example.path)
        tiles.append(draw_comparison(image, example, predictor.detect(image), names, score_threshold))
    contact_sheet(tiles, 3, path, title=f"Detections of score {score_threshold:g} or more; ground truth dashed")


def _check_devices(detector: FasterRCNN, training: TrainingConfig) -> None:
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if training.batch_size % replicas:
        raise InputError(
            f"TrainingConfig.batch_size must be a multiple of the {replicas} replicas of the strategy, "
            f"found {training.batch_size}"
        )
    if detector.dtype_policy.name != training.precision:
        raise InputError(
            f"the detector was built with precision {detector.dtype_policy.name!r}, but TrainingConfig.precision is "
            f"{training.precision!r}: give build_detector the same"
        )


def _identity(dataset: Dataset) -> dict[str, Any]:
    """What has to be the same for a run to go on as if it had not stopped."""
    return {"source": dataset.source, "images": len(dataset), "annotations": dataset.fingerprint()}


def _tensorboard(out: Path, phase: Phase) -> list[keras.callbacks.Callback]:
    if importlib.util.find_spec("tensorboard") is None:
        return []
    folder = out / "tensorboard" / (phase.name if phase.count > 1 else "")
    return [keras.callbacks.TensorBoard(str(folder), write_graph=False)]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested objects as one level with dotted keys."""
    if not isinstance(value, dict):
        return {prefix: value}
    dotted = {f"{prefix}.{name}" if prefix else name: item for name, item in value.items()}
    return {key: leaf for name, item in dotted.items() for key, leaf in _flat(item, name).items()}
