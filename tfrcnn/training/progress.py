"""What a run says while it trains: one line per epoch, and a bar on a terminal."""

from __future__ import annotations

import sys
import time
from typing import Any

import keras
import tensorflow as tf
from tqdm import tqdm


class Progress(keras.callbacks.Callback):
    """Prints one line per epoch, and on a terminal one bar for the whole phase.

    A line has the losses, scores, time, images per second of training, the peak of memory and the time left.
    """

    def __init__(
        self, epochs: int, steps_per_epoch: int, first_epoch: int, label: str = "", batch_size: int = 1
    ) -> None:
        """
        Args:
            epochs: of the phase.
            steps_per_epoch: whole batches per epoch.
            first_epoch: epochs that are done already.
            label: what is being trained, `Phase.label`.
            batch_size: images per step.
        """
        super().__init__()
        self.label, self.batch_size = label, batch_size
        self.epochs, self.steps_per_epoch, self.first_epoch = epochs, steps_per_epoch, first_epoch

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.bar = tqdm(
            total=self.epochs * self.steps_per_epoch,
            initial=self.first_epoch * self.steps_per_epoch,
            desc=self.label or "training",
            unit="step",
            dynamic_ncols=True,
            disable=None,  # in a log file a bar is noise
        )
        self.began = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.started = self.trained = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.trained = time.monotonic()
        self.bar.update()
        if logs:
            self.bar.set_postfix_str(_losses(logs), refresh=False)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        scores = " ".join(f"{key[4:]} {value:.3f}" for key, value in (logs or {}).items() if key in _SHOWN_SCORES)
        now = time.monotonic()
        left = (now - self.began) / (epoch + 1 - self.first_epoch) * (self.epochs - epoch - 1)
        images = self.steps_per_epoch * self.batch_size / max(self.trained - self.started, 1e-9)
        costs = [f"{now - self.started:.0f} s", f"{images:.3g} images/s", peak_memory()]
        parts = [
            self.label,
            f"epoch {epoch + 1}/{self.epochs}",
            _losses(logs or {}),
            f"val {scores}" if scores else "",
            ", ".join([*filter(None, costs), f"{tqdm.format_interval(left)} left"]),
        ]
        self.bar.write("  ".join(part for part in parts if part))

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.bar.close()


_SHOWN_SCORES = ("val_AP", "val_AP50", "val_mAP", "val_rpn_loss")
_SHORT = {
    "loss": "loss",
    "rpn_objectness_loss": "rpn",
    "rpn_box_loss": "rpn-box",
    "classifier_loss": "class",
    "box_loss": "box",
}


def _losses(logs: dict[str, Any]) -> str:
    return " ".join(f"{short} {float(logs[key]):.3f}" for key, short in _SHORT.items() if key in logs)


def peak_memory() -> str:
    """Return the highest use of memory so far: of the fullest GPU, or of the process."""
    gpus = tf.config.list_logical_devices("GPU")
    if gpus:
        peak = max(tf.config.experimental.get_memory_info(gpu.name.removeprefix("/device:"))["peak"] for gpu in gpus)
        return f"{peak / 1e9:.1f} GB of the GPU"
    try:
        import resource
    except ImportError:  # Windows has no such module
        return ""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f"{peak * (1 if sys.platform == 'darwin' else 1024) / 1e9:.1f} GB"
