"""How a detector is trained: the configuration that training alone needs; `tfrcnn.config` gives it out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from tfrcnn.config_base import Config


@dataclass(frozen=True)
class TrainingConfig(Config):
    """One training run.

    `scheme` says which of the losses are minimised when, see `tfrcnn.training.schemes`; `epochs` is how often the RPN's
    losses see the data, and how often the head's do, over all steps of the scheme. `learning_rate` is for 16 images a
    step and is scaled linearly with `batch_size` (Goyal et al., arXiv 1706.02677); biases learn at
    `bias_learning_rate_scale` times that. `schedule` "step" multiplies it by 0.1 at each fraction of the run in
    `milestones`; "cosine" falls to zero. `frozen_stages` counts stages of the backbone, from its input, that are not
    trained; `freeze_batch_norm` keeps the backbone's batch norm at its loaded statistics. `ema` is the decay of the
    averaged weights used for evaluation and for the saved model; None keeps no average. Batch norm that is trained
    keeps its own running statistics beside them, which are those of the newest weights.
    """

    scheme: Literal["joint", "alternating", "rpn-only", "fast-rcnn-only", "unshared"] = "joint"
    epochs: int = 12
    batch_size: int = 2
    learning_rate: float = 0.02
    bias_learning_rate_scale: float = 1.0
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: Literal["step", "cosine"] = "step"
    milestones: tuple[float, ...] = (2 / 3, 8 / 9)
    warmup_steps: int = 500
    gradient_clip_norm: float | None = 10.0
    frozen_stages: int = 0
    freeze_batch_norm: bool = True
    ema: float | None = None
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    seed: int = 0
    horizontal_flip: bool = True
    scale_jitter: tuple[float, float] = (1.0, 1.0)
    random_crop: float = 0.0
    color_jitter: float = 0.0

    def _check_ranges(self) -> None:
        self._require(self.epochs >= 1, "epochs", "at least 1")
        self._require(self.batch_size >= 1, "batch_size", "at least 1")
        self._require(
            math.isfinite(self.learning_rate) and self.learning_rate > 0, "learning_rate", "a positive number"
        )
        scale = self.bias_learning_rate_scale
        self._require(math.isfinite(scale) and scale >= 0, "bias_learning_rate_scale", "a number of at least 0")
        self._require(0 <= self.momentum < 1, "momentum", "in [0, 1)")
        self._require(self.weight_decay >= 0, "weight_decay", "at least 0")
        self._require(self.warmup_steps >= 0, "warmup_steps", "at least 0")
        self._require(all(0 < m < 1 for m in self.milestones), "milestones", "fractions in (0, 1)")
        self._require(
            self.gradient_clip_norm is None or self.gradient_clip_norm > 0, "gradient_clip_norm", "None or positive"
        )
        self._require(self.frozen_stages >= 0, "frozen_stages", "at least 0")
        self._require(0 <= self.seed < 2**30, "seed", "in 0 .. 2**30 - 1, since two int32 streams are drawn from it")
        self._require(self.ema is None or 0 < self.ema < 1, "ema", "None or in (0, 1)")
        self._require(0 < self.scale_jitter[0] <= self.scale_jitter[1], "scale_jitter", "0 < low <= high")
        self._require(0 <= self.random_crop <= 1, "random_crop", "a probability")
        self._require(0 <= self.color_jitter <= 1, "color_jitter", "in [0, 1]")
