"""The configuration of the losses of boxes and of classes. `tfrcnn.config` exports these names too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tfrcnn.config_base import Config


@dataclass(frozen=True)
class BoxLossConfig(Config):
    """The loss of predicted box deltas.

    Attributes:
        name: "smooth_l1", "giou", "diou", "ciou", or another key of `tfrcnn.training.losses.BOX_LOSSES`.
        beta: where smooth L1 turns from quadratic to linear; 0 is L1. The IoU losses do not use it.

    Example:
        tfrcnn.HeadConfig(box_loss=tfrcnn.BoxLossConfig("giou"), box_loss_weight=10.0)
    """

    name: str = "smooth_l1"
    beta: float = 1 / 9

    def _check_ranges(self) -> None:
        self._require(self.beta >= 0, "beta", "at least 0")
        self._require_at_most(beta=1e6)


@dataclass(frozen=True)
class ClassLossConfig(Config):
    """The loss of the head's class logits.

    It decides how logits become scores, in training, detection and exported files: by a softmax over the classes and
    the background, or by a sigmoid per class if its name begins with "sigmoid".

    Attributes:
        name: "cross_entropy", "focal", "sigmoid_focal", or another key of
            `tfrcnn.training.class_losses.CLASS_LOSSES`.
        label_smoothing: share of the target that is spread evenly over all classes, in [0, 1). Only for
            "cross_entropy".
        gamma: exponent of the focal losses, at least 0; 0 is the cross-entropy.
        alpha: factor of positives in the focal losses, in (0, 1); negatives have 1 - alpha. None is 1 for both.

    Example:
        tfrcnn.HeadConfig(class_loss=tfrcnn.ClassLossConfig("focal", gamma=2.0))
    """

    name: str = "cross_entropy"
    label_smoothing: float = 0.0
    gamma: float = 2.0
    alpha: float | None = None

    def _check_ranges(self) -> None:
        self._require(0 <= self.label_smoothing < 1, "label_smoothing", "in [0, 1)")
        fits = self.name not in ("focal", "sigmoid_focal") or not self.label_smoothing
        self._require(fits, "label_smoothing", "0 for a focal loss, which has no smoothed form here")
        self._require(self.gamma >= 0, "gamma", "at least 0")
        self._require(self.alpha is None or 0 < self.alpha < 1, "alpha", "None or in (0, 1)")
        self._require_at_most(gamma=100)

    @property
    def scores(self) -> Literal["softmax", "sigmoid"]:
        """How logits become scores."""
        return "sigmoid" if self.name.startswith("sigmoid") else "softmax"
