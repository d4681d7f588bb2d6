"""What happens beside the steps: evaluation, checkpoints, history, progress, stopping on NaN."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
from tqdm import tqdm

from tfrcnn.data.example import Dataset
from tfrcnn.errors import InputError
from tfrcnn.evaluation.evaluate import Metric, evaluate
from tfrcnn.evaluation.result import Evaluation
from tfrcnn.files import atomic, write_json
from tfrcnn.inference import Predictor
from tfrcnn.models import save_detector
from tfrcnn.training.joint import TrainingModel
from tfrcnn.training.optimizer import SGD
from tfrcnn.training.state import save_state

STATE = "training_state.npz"


def inner_sgd(optimizer: keras.optimizers.Optimizer) -> SGD:
    """The `SGD` that steps: the optimizer itself, or what mixed_float16's loss scaling wraps."""
    return getattr(optimizer, "inner_optimizer", optimizer)


class EndOfEpoch(keras.callbacks.Callback):
    """Evaluate, keep the best and the last detector, write history, and last of all the state to resume from.

    The averaged weights, where kept, are the ones evaluated and saved. A kill between any two writes loses nothing but
    the epoch that was not complete: `resume` goes on from the state file, which is replaced atomically.

    In the run folder: `config.json` with weights, the best detector by the metric's first number; `last/`, the newest;
    `history.csv`, a row an epoch; `training_state.npz`.
    """

    model: TrainingModel

    def __init__(
        self,
        out: Path,
        validation: Dataset | None,
        metric: Metric,
        history: list[dict[str, Any]],
        extra: dict[str, Any],
    ) -> None:
        """
        Args:
            validation: None keeps the newest detector as the best.
            history: rows of earlier epochs, extended in place.
            extra: JSON values written into the saved `config.json`.
        """
        super().__init__()
        self.out, self.validation, self.metric = out, validation, metric
        self.history, self.extra = history, extra
        self.predictor: Predictor | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        logs = {} if logs is None else logs
        optimizer = inner_sgd(self.model.optimizer)
        row: dict[str, Any] = {"epoch": epoch + 1, "step": int(self.model.optimizer.iterations.numpy())}
        row.update({key: float(value) for key, value in logs.items()})
        if optimizer.use_ema:
            optimizer.swap_averages()
        try:
            evaluation = self._evaluate()
            if evaluation:
                scores = {f"val_{key}": value for key, value in evaluation.headline.items()}
                row.update(scores)
                logs.update({key: value for key, value in scores.items() if value is not None})
            self._save_detectors(row, evaluation)
        finally:
            if optimizer.use_ema:
                optimizer.swap_averages()
        self.history.append(row)
        write_history(self.out / "history.csv", self.history)
        save_state(self.out / STATE, self.model, {"epoch": epoch + 1, "history": self.history})

    def _evaluate(self) -> Evaluation | None:
        if self.validation is None:
            return None
        if self.predictor is None:
            self.predictor = Predictor(self.model.detector)
        detections = self.predictor.detect_dataset(self.validation)
        return evaluate(self.validation, detections, self.metric)

    def _save_detectors(self, row: dict[str, Any], evaluation: Evaluation | None) -> None:
        extra = {**self.extra, "epoch": row["epoch"]}
        if evaluation:
            extra["validation"] = evaluation.headline
        save_detector(self.model.detector, self.out / "last", extra)
        primary = next(iter(evaluation.headline)) if evaluation else None
        best = max((_number(r.get(f"val_{primary}")) for r in self.history), default=-math.inf)
        # of equals the newest, which has seen more; a score that is not defined (no ground truth) equals another such
        if primary is None or _number(row[f"val_{primary}"]) >= best:
            save_detector(self.model.detector, self.out, extra)
            if evaluation:
                write_json(self.out / "evaluation.json", evaluation.to_dict())


class StopOnNaN(keras.callbacks.Callback):
    """Stop with the images of the step in which the loss stopped being a number, before anything is overwritten."""

    def __init__(self, files_of_step: Callable[[int], list[Path]], steps_per_epoch: int) -> None:
        """files_of_step: the images of a step, counted from 0 over the whole run."""
        super().__init__()
        self.files_of_step, self.steps_per_epoch = files_of_step, steps_per_epoch

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if logs and not math.isfinite(float(logs["loss"])):
            # counted here: the optimizer's own count leaves out the steps that loss scaling skipped
            step = self.epoch * self.steps_per_epoch + batch
            losses = ", ".join(f"{key} {float(value):g}" for key, value in logs.items())
            files = "\n  ".join(str(path) for path in self.files_of_step(step))
            kept = f"Epoch {self.epoch} is kept. " if self.epoch else ""
            raise InputError(
                f"the loss is no longer a finite number at step {step} ({losses}). {kept}"
                f"A lower learning rate helps if this is early in the run; if not, look at the images of this step:\n"
                f"  {files}"
            )


class Progress(keras.callbacks.Callback):
    """A line for every epoch; on a terminal also one bar for the whole run. Both with the losses and the time left."""

    def __init__(self, epochs: int, steps_per_epoch: int, first_epoch: int) -> None:
        super().__init__()
        self.epochs, self.steps_per_epoch, self.first_epoch = epochs, steps_per_epoch, first_epoch

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.bar = tqdm(
            total=self.epochs * self.steps_per_epoch,
            initial=self.first_epoch * self.steps_per_epoch,
            desc="training",
            unit="step",
            dynamic_ncols=True,
            disable=None,  # in a log file a bar is noise
        )
        self.began = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.started = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.bar.update()
        if logs:
            self.bar.set_postfix_str(_losses(logs), refresh=False)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        scores = " ".join(f"{key[4:]} {value:.3f}" for key, value in (logs or {}).items() if key in _SHOWN_SCORES)
        now = time.monotonic()
        left = (now - self.began) / (epoch + 1 - self.first_epoch) * (self.epochs - epoch - 1)
        parts = [
            f"epoch {epoch + 1}/{self.epochs}",
            _losses(logs or {}),
            f"val {scores}" if scores else "",
            f"{now - self.started:.0f} s, {tqdm.format_interval(left)} left",
        ]
        self.bar.write("  ".join(part for part in parts if part))

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.bar.close()


_SHOWN_SCORES = ("val_AP", "val_AP50", "val_mAP")
_SHORT = {
    "loss": "loss",
    "rpn_objectness_loss": "rpn",
    "rpn_box_loss": "rpn-box",
    "classifier_loss": "class",
    "box_loss": "box",
}


def _losses(logs: dict[str, Any]) -> str:
    return " ".join(f"{short} {float(logs[key]):.3f}" for key, short in _SHORT.items() if key in logs)


def _number(value: float | None) -> float:
    return -math.inf if value is None else value


def write_history(path: Path, history: list[dict[str, Any]]) -> None:
    """Write all rows anew, atomically: a column for every key, empty where a row lacks it."""
    columns = list(dict.fromkeys(key for row in history for key in row))
    with atomic(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(history)
