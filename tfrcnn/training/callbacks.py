"""Callbacks of a run: evaluation, checkpoints, history, stopping on NaN."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from tfrcnn.errors import InputError
from tfrcnn.files import atomic, write_json
from tfrcnn.locks import FolderLock
from tfrcnn.models import save_detector
from tfrcnn.training.averages import Batches, Statistics, averaged_weights
from tfrcnn.training.folder import STATE
from tfrcnn.training.joint import TrainingModel
from tfrcnn.training.measures import Judgement, Measure
from tfrcnn.training.optimizer import SGD
from tfrcnn.training.schemes import Phase
from tfrcnn.training.state import save_state


def inner_sgd(optimizer: keras.optimizers.Optimizer) -> SGD:
    """Return the `SGD` that steps: the optimizer, or the one that mixed_float16's loss scaling wraps."""
    inner: SGD = getattr(optimizer, "inner_optimizer", optimizer)
    return inner


class EndOfEpoch(keras.callbacks.Callback):
    """Evaluates, keeps the best and the newest detector, writes the history, and finally the state to resume from.

    Averaged weights, if kept, are the ones evaluated and saved. A kill between any two writes loses only the epoch
    that was not complete: `resume` continues from the state file, which is replaced atomically.

    In the run folder: `config.json` with weights is the best detector by the measure's first number, `last/` the
    newest. `history.csv` has one row per epoch. A phase before the last of its scheme writes only its newest detector,
    which the next phase starts from, to the folder of its name. Training stops after `patience` epochs without a better
    score; the count follows from the history, so a resumed run stops in the same epoch.
    """

    model: TrainingModel
    stalled = 0
    judgement: Judgement | None = None

    def __init__(
        self,
        lock: FolderLock,
        phase: Phase,
        measure: Measure | None,
        history: list[dict[str, Any]],
        extra: dict[str, Any],
        batches: Batches | None = None,
        patience: int | None = None,
    ) -> None:
        """
        Args:
            lock: of the run folder.
            phase: what is being trained.
            measure: how an epoch is judged; None keeps the newest detector as the best.
            history: rows of earlier epochs, of all phases, extended in place.
            extra: JSON values written into the saved `config.json`.
            batches: returns the batches of an epoch, see `Statistics`.
            patience: epochs without a better score after which training stops; None never stops early.
        """
        super().__init__()
        self.lock, self.out, self.phase, self.measure = lock, lock.folder, phase, measure
        self.history, self.extra, self.patience = history, extra, patience
        self.statistics = Statistics(batches) if batches else None
        self.steps_before = max((r["step"] for r in history if r.get("phase", 1) < phase.number), default=0)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.lock.check()
        logs = {} if logs is None else logs
        optimizer = inner_sgd(self.model.optimizer)
        row: dict[str, Any] = {}
        if self.phase.count > 1:
            row["phase"] = self.phase.number
        row["epoch"] = epoch + 1
        row["step"] = self.steps_before + int(self.model.optimizer.iterations.numpy())
        row.update({key: float(value) for key, value in logs.items()})
        with averaged_weights(self.model, optimizer, self.statistics):
            judgement = self.judgement = self.measure(self.model) if self.measure else None
            if judgement:
                scores = {f"val_{key}": value for key, value in judgement.scores.items()}
                row.update(scores)
                logs.update({key: value for key, value in scores.items() if value is not None})
            self._save_detectors(row, judgement)
        self.history.append(row)
        self.stalled = self._stalled_epochs(judgement) if judgement else 0
        write_history(self.out / "history.csv", self.history)
        self.epoch = epoch + 1
        self.save()
        if self.patience is not None and self.stalled >= self.patience:
            self.model.stop_training = True

    def save(self, **more: Any) -> None:
        """Write the state to resume from, with more JSON values."""
        self.saved_rate = float(inner_sgd(self.model.optimizer).learning_rate)
        counts = {"phase": self.phase.number, "epoch": self.epoch, "stalled": self.stalled}
        meta = {**counts, "history": self.history, **more}
        save_state(self.out / STATE, self.model, meta)

    def _save_detectors(self, row: dict[str, Any], judgement: Judgement | None) -> None:
        extra = {**self.extra, "epoch": row["epoch"]}
        if self.phase.count > 1:
            extra["phase"] = self.phase.label
        if judgement:
            extra["validation"] = judgement.scores
        detector = self.model.detector
        save_detector(detector, self.out / ("last" if self.phase.is_last else self.phase.name), extra)
        if self.phase.is_last and (judgement is None or self._is_best([*self.history, row], judgement)):
            save_detector(detector, self.out, extra)
            if judgement and judgement.report:
                write_json(self.out / "evaluation.json", judgement.report)

    def _is_best(self, history: list[dict[str, Any]], judgement: Judgement) -> bool:
        """Return whether no earlier epoch was better than the last."""
        ranks = self._ranks(history, judgement)
        return ranks[-1] >= max(ranks)

    def _stalled_epochs(self, judgement: Judgement) -> int:
        """Count the last epochs in a row that did not raise the best score; 0 until a score is above 0."""
        ranks = self._ranks(self.history, judgement)
        has_begun = judgement.lower_is_better or max(ranks) > 0.0
        return len(ranks) - 1 - ranks.index(max(ranks)) if has_begun else 0

    def _ranks(self, history: list[dict[str, Any]], judgement: Judgement) -> list[float]:
        """List the scores of this phase's epochs, the highest the best; undefined ones (no ground truth) are lowest."""
        sign = -1.0 if judgement.lower_is_better else 1.0
        key = f"val_{next(iter(judgement.scores))}"
        scores = [row.get(key) for row in history if row.get("phase", 1) == self.phase.number]
        return [-math.inf if score is None else sign * score for score in scores]


class StopOnNaN(keras.callbacks.Callback):
    """Stops the run when the loss becomes NaN or infinite, names the images, and leaves the last epoch's files."""

    def __init__(self, files_of_step: Callable[[int], list[Path]], steps_per_epoch: int) -> None:
        """
        Args:
            files_of_step: returns the images of a step, counted from 0 over the whole run.
            steps_per_epoch: whole batches per epoch.
        """
        super().__init__()
        self.files_of_step, self.steps_per_epoch = files_of_step, steps_per_epoch

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if logs and not math.isfinite(float(logs["loss"])):
            # counted here, since the optimizer's count leaves out the steps that loss scaling skipped
            step = self.epoch * self.steps_per_epoch + batch
            losses = ", ".join(f"{key} {float(value):g}" for key, value in logs.items())
            files = "\n  ".join(str(path) for path in self.files_of_step(step))
            kept = f"Epoch {self.epoch} is kept. " if self.epoch else ""
            raise InputError(
                f"the loss is not a finite number at step {step} ({losses}). {kept}"
                f"Early in a run, lower the learning rate. Later, look at the images of this step:\n"
                f"  {files}"
            )


def write_history(path: Path, history: list[dict[str, Any]]) -> None:
    """Write all rows, atomically: one column per key, empty if a row lacks it."""
    columns = list(dict.fromkeys(key for row in history for key in row))
    with atomic(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(history)
