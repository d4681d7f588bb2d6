"""A whole training run in one call: from data sets to a folder with the trained, measured detector.

The run folder:
    config.json, model-N.weights.h5   the best detector on the validation set: `load_detector(folder)`
    last/                             the newest detector, in the same format
    training.json                     how the run was set up, see `tfrcnn.training.folder`
    split.json                        the images on both sides, if the validation data were split off
    training_state.npz                everything needed to resume
    history.csv, tensorboard/         losses and scores, one row per epoch; other loggers, see `LOGGERS`
    evaluation.json                   the best detector on the validation set
    curves.png, predictions.png       the same as pictures
    initial/, 1-rpn/, ...             what the steps of a scheme leave, see `tfrcnn.training.alternating`
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfrcnn.config import TrainingConfig
from tfrcnn.data.augment.common import Augmentation
from tfrcnn.data.example import Dataset
from tfrcnn.data.feeders import watched
from tfrcnn.data.image_source import image_errors
from tfrcnn.data.pipeline import TrainingData, training_data
from tfrcnn.data.split import record_split
from tfrcnn.drawing import plot_curves
from tfrcnn.drawing.sheet import draw_sheet
from tfrcnn.errors import InputError
from tfrcnn.evaluation.evaluate import Metric, check_metric
from tfrcnn.files import check_path
from tfrcnn.inference import Predictor
from tfrcnn.locks import FolderLock, check_unlocked, locked
from tfrcnn.models import FasterRCNN, load_detector
from tfrcnn.training.addons import announce_successor
from tfrcnn.training.alternating import start_of
from tfrcnn.training.bucket import SendRun, send_run
from tfrcnn.training.callbacks import EndOfEpoch, StopOnNaN
from tfrcnn.training.checks import check_arguments
from tfrcnn.training.class_weights import label_weights
from tfrcnn.training.collapse import explain_collapse
from tfrcnn.training.companions import Companions, callbacks_of_worker, check_callbacks
from tfrcnn.training.folder import (
    STATE,
    check_folder,
    end_note,
    has_head,
    has_stopped,
    named,
    prepare_folder,
    setup_of,
)
from tfrcnn.training.joint import TrainingModel
from tfrcnn.training.loggers import HistoryLogs, check_loggers, open_logs
from tfrcnn.training.measures import Measure, measure_of, reported_names
from tfrcnn.training.process import kept_generators, repeatable_operators
from tfrcnn.training.progress import Progress
from tfrcnn.training.run_optimizer import make_optimizer
from tfrcnn.training.schemes import SCHEMES, Phase, freeze, warn_of_frozen_random_weights
from tfrcnn.training.state import read_meta, restore_state, seed_dropout
from tfrcnn.training.trouble import Trouble
from tfrcnn.training.workers import batches_of_worker, position, run_folder

_ADVICE = "; restore the file, then continue the run with resume=True"


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: the run folder.
        detector: the best detector by the validation data.
        history: one dict per epoch with "epoch", "step", the mean training losses ("loss", "rpn_objectness_loss",
            "rpn_box_loss", "classifier_loss", "box_loss") and the validation scores ("val_AP", "val_AP50", ...); also
            "phase" if the scheme has several steps.
        validation: the validation data; None if there were none or the run was loaded.

    Example:
        run = tfrcnn.train(detector, data, validation, "runs/cells", preset.training)
        print(max(row["val_AP50"] for row in run.history))
    """

    folder: Path
    detector: FasterRCNN
    history: list[dict[str, Any]]
    validation: Dataset | None = None


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
    augment: Augmentation | None = None,
    loggers: Sequence[str] | None = None,
    feeders: Sequence[str] = (),
) -> Run:
    """Train a detector by the scheme `training.scheme` and write everything about it into a folder.

    `tfrcnn.Recipe` does this from a description of the run, as the command line does, and checks the data first.

    The schemes are the paper's, see `tfrcnn.training.schemes`. "fast-rcnn-only" and "unshared" take a detector whose
    RPN has separate features (`unshare`); "fast-rcnn-only" learns from the proposals of that RPN.

    Under a `tf.distribute` strategy, build the detector and call this within `strategy.scope()`, see
    `tfrcnn.make_strategy`. The replicas share `training.batch_size`. Of several workers each reads its part of the
    batches and judges its part of the validation data; the chief writes `out` and prints.

    On a CPU, operators repeat to the bit while this runs, for the whole process. The caller's setting and generators of
    random numbers are restored.

    Args:
        detector: trained in place ("alternating" does so in its steps 3 and 4). Its categories must be the data sets'.
        train_data: what to learn from.
        validation: evaluated after every epoch; the best detector is kept by it. None keeps the newest.
        out: the run folder, new or empty unless `resume`; or its address in a bucket, see `tfrcnn.buckets.runs`.
        training: how to train. Frozen weights stay as they are: a warning says if they were never trained.
        metric: "coco", "voc" or "voc07".
        resume: continue from the last complete epoch of `out`, exactly as if there had been no interruption. To the bit
            on a CPU. On a GPU the samples and their order are the same, but sums may round differently; call
            `tf.config.experimental.enable_op_determinism()` first to have it to the bit there too (slower). The data
            may have moved. `training.epochs` may differ: the rest of the run then follows the schedule of that many
            epochs.
        cache: keep the decoded images in memory.
        callbacks: more Keras callbacks. They may set the learning rate: it then replaces the schedule, see `SGD`. Of
            several workers, each runs them; Keras' own write files on the chief alone.
        options: JSON values to keep in training.json. A resumed run must have the same.
        measure: how an epoch is judged; None takes `measure_of`: the metric's numbers, or the RPN's losses on the
            validation data if only the RPN is trained.
        augment: an augmentation of your own, as in `tfrcnn.training_data`. A resumed run must have one of the same
            name.
        loggers: where the numbers of `history.csv` go too: "tensorboard", "wandb", "mlflow". None takes those that a
            resumed run has had, or else TensorBoard if it is installed.
        feeders: "HOST:PORT" of each `tfrcnn feed` that reads and augments the training images, see
            `tfrcnn.training_data`. A resumed run may have others, or none.

    Returns:
        The run: its folder, the best detector, and the history.

    Raises:
        InputError: another process writes to the folder, or it was set up differently; categories differ; the detector
            does not suit the scheme; a callback, a logger or a feeder cannot work; the loss became NaN or infinite.

    Example:
        preset = tfrcnn.preset("mobilenet_v2_fpn", data.categories)
        detector = tfrcnn.build_detector(preset.detector, backbone_weights="imagenet")
        run = tfrcnn.train(detector, data, validation, "runs/cells", preset.training)
    """
    with run_folder(out, resume) as out:
        check_metric(metric)
        check_arguments(detector, train_data, validation, training, measure is not None)
        if measure is not None and not callable(measure):
            raise InputError(f"measure must be a function that returns a Judgement, found {type(measure).__name__}")
        names = reported_names(training, metric if validation else None, detector.config.detections)
        check_callbacks(callbacks, None if measure else names)
        check_loggers(loggers)
        check_unlocked(out)  # first: a folder that another process fills is not empty
        check_folder(out, resume)
        named_options = {**(options or {}), **named(augment)}
        setup = setup_of(detector.config, train_data, validation, training, metric, named_options)
        data = training_data(train_data, detector.config.image, training, cache, augment, feeders)
        with locked(out) as lock, repeatable_operators(), kept_generators(), image_errors(_ADVICE), watched(feeders):
            prepare_folder(out, setup, resume)
            announce_successor(training.optimizer)
            if validation is not None:
                record_split(out, train_data, validation, training.seed)
            send_run()  # before the first epoch, so that a bucket that cannot be written costs none
            if not (resume and (out / STATE).is_file()):
                warn_of_frozen_random_weights(detector, training)

            def judge_of(phase: Phase) -> Measure | None:
                if measure is not None or validation is None:
                    return measure
                return measure_of(phase, validation, metric, training)

            config = {"data": train_data.source, "preset": detector.config.preset, **training.to_dict()}
            with open_logs(out, loggers if position().worker == 0 else (), config) as logs:
                options_of_fit = {
                    "class_weight": label_weights(training, train_data),
                    "callbacks": [logs, *callbacks_of_worker(callbacks, out)],
                }
                history = _train_phases(
                    detector, train_data, data, training, lock, judge_of, {"metric": metric}, options_of_fit
                )
            best = load_detector(out, kernels=detector.kernels, backbone=detector.backbone_spec)
            plot_curves(history, out / "curves.png")
            if validation is not None and has_head(training.scheme):
                draw_sheet(Predictor(best), validation, out / "predictions.png")
                if measure is None and (note := explain_collapse(out, history, training, metric)):
                    print(note, flush=True)
        return Run(out, best, history, validation)


def _train_phases(
    detector: FasterRCNN,
    dataset: Dataset,
    data: TrainingData,
    training: TrainingConfig,
    lock: FolderLock,
    judge_of: Callable[[Phase], Measure | None],
    extra: dict[str, Any],
    options: dict[str, Any],
) -> list[dict[str, Any]]:
    """Train the phases of a scheme that are not done, and return the rows of all epochs.

    The first callback of `options` writes the logs; the user's follow.
    """
    callbacks: list[keras.callbacks.Callback] = options["callbacks"]
    out, phases, state = lock.folder, SCHEMES[training.scheme], lock.folder / STATE
    done: dict[str, Any] = read_meta(state) if state.is_file() else {"phase": 1, "epoch": 0, "history": []}
    history: list[dict[str, Any]] = done["history"]
    logs, *users = callbacks
    assert isinstance(logs, HistoryLogs)
    logs.follow(history)
    for phase in phases[done["phase"] - 1 :]:
        epoch = done["epoch"] if phase.number == done["phase"] else 0
        epochs = phase.training(training).epochs
        if epoch and has_stopped(done, training):
            _print_end(phase, out, training)
            continue
        if epoch >= epochs:
            continue
        model = _compiled(start_of(phase, phases, detector, out), phase, training, data.steps_per_epoch)
        if epoch:
            restore_state(state, model)
        end_of_epoch = EndOfEpoch(
            lock,
            phase,
            judge_of(phase),
            history,
            {"training": training.to_dict(), **extra},
            lambda: data.batches().take(data.steps_per_epoch),
            training.patience,
        )
        try:
            model.fit(
                batches_of_worker(data, epoch * data.steps_per_epoch),
                epochs=epochs,
                initial_epoch=epoch,
                steps_per_epoch=data.steps_per_epoch,
                shuffle=False,
                verbose=0,
                class_weight=options["class_weight"],
                callbacks=[
                    StopOnNaN(data.files_of_step, data.steps_per_epoch),
                    end_of_epoch,
                    Progress(epochs, data.steps_per_epoch, epoch, phase.label, training.batch_size),
                    Trouble(training, dataset, end_of_epoch, starts_trained=phase.starts_trained),
                    *callbacks,
                    Companions(users, end_of_epoch, done.get("callbacks", []) if epoch else []),
                    SendRun(),
                ],
            )
        except (OSError, tf.errors.OpError):
            lock.check()  # an error of a folder that is gone says so
            raise
        if has_stopped({"stalled": end_of_epoch.stalled}, training):
            _print_end(phase, out, training)
    return history


def _print_end(phase: Phase, out: Path, training: TrainingConfig) -> None:
    print(f"{phase.label or 'the run'}: {end_note(out, training)}", flush=True)


def _compiled(detector: FasterRCNN, phase: Phase, training: TrainingConfig, steps_per_epoch: int) -> TrainingModel:
    """Compile the model that minimises a phase's losses."""
    freeze(detector, training, phase)
    model = TrainingModel(detector, training.seed, phase.losses)
    model.compile(optimizer=make_optimizer(phase.training(training), steps_per_epoch), jit_compile=False)
    seed_dropout(model, training.seed, phase.number)
    return model


def load_run(folder: str | Path) -> Run:
    """Load a run from its folder, as `train` returned it: the best detector so far, and the epochs that are done.

    Raises:
        InputError: there is no run, or it has not finished an epoch.
    """
    folder = check_path(folder, "folder")
    check_folder(folder, resume=True)
    return Run(folder, load_detector(folder), read_meta(folder / STATE)["history"])
