"""Keras callbacks that the user adds to a run: they are checked before it starts, and resumed as they were."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfrcnn.compat import CALLBACKS_SET_RATES
from tfrcnn.errors import InputError
from tfrcnn.training.callbacks import EndOfEpoch, inner_sgd
from tfrcnn.training.workers import position

Callbacks = Sequence[keras.callbacks.Callback]
_SET_RATES = (keras.callbacks.LearningRateScheduler, keras.callbacks.ReduceLROnPlateau)
_MONITORS = (keras.callbacks.EarlyStopping, keras.callbacks.ModelCheckpoint, keras.callbacks.ReduceLROnPlateau)
_WRITERS = (keras.callbacks.CSVLogger, keras.callbacks.RemoteMonitor, keras.callbacks.TensorBoard)
_COUNTS = ("best", "wait", "cooldown_counter", "best_epoch")  # what they remember of earlier epochs


def check_callbacks(callbacks: Callbacks | None, names: Sequence[str] | None) -> None:
    """Check that the user's callbacks can work in a run.

    Args:
        callbacks: what the user passed.
        names: the numbers that every epoch reports; None if they are not known.

    Raises:
        InputError: one is no callback, monitors a number that is not reported, or resumes by itself.
    """
    if not isinstance(callbacks, Sequence | None):
        raise InputError(f"callbacks must be a list of Keras callbacks, found {callbacks!r}")
    for callback in callbacks or ():
        kind = type(callback).__name__
        if not isinstance(callback, keras.callbacks.Callback):
            raise InputError(f"callbacks must be a list of Keras callbacks, found {callback!r} in it")
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            raise InputError("BackupAndRestore is not needed, leave it out: a run resumes by itself (resume=True)")
        if isinstance(callback, _SET_RATES) and not CALLBACKS_SET_RATES:
            raise InputError(f"{kind} needs TensorFlow 2.16 or newer: leave it out")
        if getattr(callback, "swap_on_epoch", False):
            raise InputError(
                f"{kind}(swap_on_epoch=True) is not needed, leave it out: a run evaluates and saves averaged weights "
                "by itself (TrainingConfig.ema)"
            )
        if kind == "OrbaxCheckpoint" and position().workers > 1:
            raise InputError("OrbaxCheckpoint writes one folder from all workers: take ModelCheckpoint")
        if not isinstance(callback, _MONITORS) or not getattr(callback, "save_best_only", True):
            continue
        if names is not None and callback.monitor not in names:
            raise InputError(
                f"{kind} monitors {callback.monitor!r}, which this run does not report: pass monitor, one of "
                f"{', '.join(names)}"
            )
        mode = "min" if "loss" in callback.monitor else "max"
        is_unknown = getattr(callback, "mode", "") == "auto" and callback.monitor != "loss"
        # Keras 2 keeps what it chose instead: the smallest, unless it knows the number
        if is_unknown or (mode == "max" and callback.monitor_op is np.less):
            raise InputError(f"{kind} monitors {callback.monitor!r}: pass mode={mode!r}, which Keras does not know")


def callbacks_of_worker(callbacks: Callbacks | None, folder: Path) -> list[keras.callbacks.Callback]:
    """Return the user's callbacks as this worker runs them: of several workers the chief alone writes.

    Callbacks that change the training run on all workers. They see the same numbers and do the same.

    Args:
        callbacks: what the user passed.
        folder: the run folder of this worker.

    Returns:
        As many, in their order.
    """
    if position().worker == 0:
        return list(callbacks or ())
    result = []
    for i, callback in enumerate(callbacks or ()):
        if isinstance(callback, keras.callbacks.ModelCheckpoint):
            # all workers save, since a model file has metrics, which all of them add up
            callback.filepath = str(folder.parent / "checkpoints" / str(i) / Path(callback.filepath).name)
        result.append(keras.callbacks.Callback() if isinstance(callback, _WRITERS) else callback)
    return result


class Companions(keras.callbacks.Callback):
    """Saves what the user's callbacks remember and set, so that a resumed run goes on as an uninterrupted one.

    Keras' callbacks forget their best score when `fit` starts, and they change the learning rate after `EndOfEpoch` has
    saved the state. This callback runs last. It restores their counts, and saves the state again if there is more.
    """

    def __init__(self, callbacks: Callbacks, end_of_epoch: EndOfEpoch, counts: list[dict[str, Any]]) -> None:
        """
        Args:
            callbacks: the user's.
            end_of_epoch: saves the state.
            counts: of an earlier process, one dict per callback; empty in a new run.
        """
        super().__init__()
        self.callbacks, self.end_of_epoch, self.restored = callbacks, end_of_epoch, counts

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        for callback, counts in zip(self.callbacks, self.restored):
            for name, value in counts.items():
                if hasattr(callback, name):
                    setattr(callback, name, value)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        counts = [_counts_of(callback) for callback in self.callbacks]
        rate = float(inner_sgd(self.model.optimizer).learning_rate)
        if any(counts) or rate != self.end_of_epoch.saved_rate:
            self.end_of_epoch.save(callbacks=counts)


def _counts_of(callback: keras.callbacks.Callback) -> dict[str, Any]:
    if not isinstance(callback, _MONITORS):
        return {}
    values = {name: getattr(callback, name, None) for name in _COUNTS}
    return {
        name: value if isinstance(value, int) else float(value) for name, value in values.items() if value is not None
    }
