"""Says that a run is going wrong when it happens, with the likely cause and what to try. Silent when all is well."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from tfrcnn.config import TrainingConfig
from tfrcnn.data.example import Dataset
from tfrcnn.data.example_table import objects_of, owners_of
from tfrcnn.training.callbacks import EndOfEpoch
from tfrcnn.training.class_weights import counts_of_classes
from tfrcnn.training.collapse import FALLEN, MIN_STEPS
from tfrcnn.training.joint import TrainingModel
from tfrcnn.training.schemes import HEAD, RPN

MIN_WARMUP = 20  # steps; a shorter warm-up shows no trend
FLAT = 0.97  # a loss that ends the warm-up above this share of its first value has not fallen
CHECK_EVERY = 100  # steps between two looks at the counts
MAX_STEPS_WITHOUT = 200  # steps in a row without foreground
ZERO_EPOCHS = 3  # epochs in a row in which a class has AP 0
MIN_AP = 0.05  # of all classes together, for a class at 0 to stand out
RARE = 0.02  # share of the boxes below which a class is rare


class Trouble(keras.callbacks.Callback):
    """Watches a phase: its loss, its foreground and its scores. Comes after `EndOfEpoch`; reports each trouble once."""

    model: TrainingModel

    def __init__(
        self,
        training: TrainingConfig,
        data: Dataset,
        end_of_epoch: EndOfEpoch,
        log: Callable[[str], None] = tqdm.write,
        starts_trained: bool = False,
    ) -> None:
        """
        Args:
            training: of the phase.
            data: the training data.
            end_of_epoch: judges the epochs.
            log: is called with each report.
            starts_trained: the layers were trained before, so a loss that does not fall in the warm-up is no trouble.
        """
        super().__init__()
        self.training, self.data, self.end_of_epoch, self.log = training, data, end_of_epoch, log
        self.starts_trained = starts_trained
        self.reported: set[str] = set()
        self.losses: list[float] = []
        self.step = 0
        self.zero_epochs: dict[str, int] = {}
        self.classifier_losses: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if not self.step:
            self.goes_on = epoch > 0 or self.starts_trained
        self.sum = 0.0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.step += 1
        warmup = self._warmup()
        if logs and not self.goes_on and self.step <= warmup:
            total = float(logs["loss"]) * (batch + 1)  # Keras reports the mean of the epoch so far
            self.losses.append(total - self.sum)
            self.sum = total
            if self.step == warmup:
                self._check_warmup()
        if self.step % CHECK_EVERY == 0:
            self._check_foreground()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        judgement = self.end_of_epoch.judgement
        report = judgement.report if judgement else None
        if report is None or HEAD not in self.model.active or "per_class" not in report:
            return
        self.classifier_losses.append(float((logs or {}).get("classifier_loss", math.nan)))
        if not report["counts"]["detections"] and self.step >= MIN_STEPS:
            threshold = self.model.detector.config.detections.score_threshold
            self._report(
                "detections",
                f"the validation data have no detection after {self.step} steps: no score exceeds {threshold:g} "
                "(detector.detections.score_threshold). Probably the learning rate of "
                f"{self.training.learning_rate:g} is too high or too low: measure it with tfrcnn train --lr-finder. Or "
                "the run is still too short",
            )
        self._check_classes(report)

    def _warmup(self) -> int:
        """Return the steps of the warm-up."""
        steps: int = self.params["epochs"] * self.params["steps"] // 4
        return min(self.training.warmup_steps * self.training.accumulation_steps, steps)

    def _check_warmup(self) -> None:
        """Report a loss that is as high at the end of the warm-up as at its start, and as high as guessing."""
        count = len(self.losses) // 10
        if len(self.losses) < MIN_WARMUP or not np.all(np.isfinite(self.losses)):
            return
        first, last = np.mean(self.losses[:count]), np.mean(self.losses[-count:])
        if last > FLAT * first and last > 0.5 * self._loss_of_guessing():
            rate = self.training.learning_rate
            what = "too high" if last > 1.1 * first else "too low, or too high"
            self._report(
                "warm-up",
                f"the loss has not fallen in the warm-up ({first:.3g} in its first steps, {last:.3g} in its last). "
                f"Probably the learning rate of {rate:g} is {what}: measure it with tfrcnn train --lr-finder. Or most "
                "layers are frozen, or the boxes are wrong: look at them with tfrcnn doctor",
            )

    def _loss_of_guessing(self) -> float:
        """Return the loss of equal scores for all classes; 0, which excludes nothing, if other losses are chosen."""
        config = self.model.detector.config
        losses = {RPN: (config.rpn.box_loss, None), HEAD: (config.head.box_loss, config.head.class_loss)}
        head = config.head.class_loss_weight * sum(config.head.loss_weights)
        guessing = {RPN: math.log(2), HEAD: head * math.log(config.num_classes + 1)}
        for box_loss, class_loss in (losses[stage] for stage in self.model.active):
            if box_loss.name != "smooth_l1" or (class_loss and class_loss.name != "cross_entropy"):
                return 0.0
        return sum(guessing[stage] for stage in self.model.active)

    def _check_foreground(self) -> None:
        counts = self.model.foreground
        stage = next((each for each in self.model.active if counts.steps_without(each) >= MAX_STEPS_WITHOUT), None)
        if stage is None or stage in self.reported:
            return
        steps = f"the last {counts.steps_without(stage):,} steps had no"
        owners = owners_of(self.data.examples)[objects_of(self.data.examples)]
        empty = len(self.data) - len(np.unique(owners))
        images = f"{empty:,} of {len(self.data):,} images have no box to learn from. If that is few, the anchors do not"
        if stage == RPN:
            self._report(
                stage,
                f"{steps} positive anchor, so the RPN learns background only. {images} fit the boxes: tfrcnn doctor "
                "shows the recall of the anchors",
            )
        else:
            iou = self.model.detector.config.head.match.foreground_iou
            self._report(
                stage,
                f"{steps} proposal that overlaps an object by IoU {iou:g}, so the box head sees no object but the "
                f"ground truth itself. {images} fit the boxes (tfrcnn doctor shows it), or the RPN does not learn: see "
                "its loss",
            )

    def _check_classes(self, report: dict[str, Any]) -> None:
        """Report classes that stay at AP 0 while the detector as a whole learns."""
        losses = [loss for loss in self.classifier_losses if math.isfinite(loss)]
        overall = next(iter(report["headline"].values())) or 0.0
        learns = len(losses) > ZERO_EPOCHS and losses[-1] < FALLEN * losses[0] and overall > MIN_AP
        stuck = []
        for row in report["per_class"]:
            is_zero = row["ground_truth"] > 0 and row["AP"] == 0
            self.zero_epochs[row["name"]] = self.zero_epochs.get(row["name"], 0) + 1 if is_zero else 0
            if self.zero_epochs[row["name"]] >= ZERO_EPOCHS:
                stuck.append(row["name"])
        if not learns or not stuck:
            return
        boxes = self._boxes_of_classes()
        for name in stuck:
            count, total = boxes.get(name, 0), sum(boxes.values())
            if count < RARE * total:
                cause = (
                    f"It is rare: {count:,} of {total:,} boxes to learn from. Add images of it, or let them come more "
                    "often (training.repeat_factor_threshold)"
                )
            else:
                cause = (
                    f"It has {count:,} boxes to learn from, so look at them and at those of the validation data: "
                    "probably the two sets draw or name it differently, or its boxes are too small for the anchors "
                    "(tfrcnn doctor)"
                )
            message = f"AP of {name!r} is 0 in the last {ZERO_EPOCHS} epochs while the loss falls. {cause}"
            self._report(f"class {name}", message)

    def _boxes_of_classes(self) -> dict[str, int]:
        return {c.name: int(count) for c, count in zip(self.data.categories, counts_of_classes(self.data))}

    def _report(self, subject: str, message: str) -> None:
        """Log a message, unless one of this subject was logged before."""
        if subject not in self.reported:
            self.reported.add(subject)
            self.log(f"warning: {message}.")
