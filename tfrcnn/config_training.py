"""How a detector is trained: the configuration that only training needs. `tfrcnn.config` exports it too."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from tfrcnn.config_base import Config

MAX_SEED = 2**30 - 1
MAX_CLASS_WEIGHT = 1_000_000


@dataclass(frozen=True)
class TrainingConfig(Config):
    """How a detector is trained.

    Batch norm that is trained keeps running statistics of the newest weights, also with `ema`.

    Attributes:
        scheme: which losses are minimised when, see `tfrcnn.training.schemes`.
        epochs: times that the RPN's losses see the data, and that the head's losses do, over all steps of the scheme.
        batch_size: images per step.
        accumulation_steps: steps whose mean gradient makes one update of the weights, as one batch would of
            batch_size * accumulation_steps images, apart from batch norms that are trained: they see one step's images.
        optimizer: "sgd", "adam", "adamw", "nadam", "rmsprop", "adafactor", "lion", "lamb", or
            "tfa:CLASS" for a class of tensorflow-addons. Set `learning_rate` with it: the presets' is for SGD.
        optimizer_options: its further arguments, for example {"beta_2": 0.95}; None takes its defaults.
        learning_rate: for 16 images per update; it is scaled by batch_size * accumulation_steps / 16 (Goyal et al.,
            arXiv 1706.02677).
        bias_learning_rate_scale: biases learn at this multiple of the learning rate.
        backbone_learning_rate_scale: the backbone learns at this multiple of the learning rate, for example 0.1.
        momentum: of SGD, in [0, 1); other optimizers have `optimizer_options`.
        weight_decay: of convolution and dense kernels; part of the gradient in SGD, next to the step in the others.
        schedule: "step" multiplies the rate by 0.1 at each milestone; "cosine" lets it fall to zero.
        milestones: fractions of the run, in (0, 1).
        warmup_steps: updates over which the rate rises linearly; at most a quarter of the run.
        gradient_clip_norm: upper limit of the gradients' global norm; None does not clip.
        frozen_stages: stages of the backbone that are not trained, counted from its input.
        freeze_batch_norm: keeps the batch norms of the backbone, and of a head's residual blocks, at their loaded
            statistics.
        ema: decay of the averaged weights that are evaluated and saved, in (0, 1); None keeps no average.
        class_weights: factors of the classifier's loss by category name (or "background"), for example {"cell": 2.0};
            "balanced" weighs each class by the inverse of its number of training boxes; None is 1 for all.
        swa: fraction of the run, in [0, 1), after which the evaluated and saved weights are the mean of the weights
            after every later update (stochastic weight averaging, Izmailov et al., arXiv 1803.05407). None does not
            average so. If `ema` is on too, it gives the weights before that point.
        patience: epochs in a row without a better validation score after which training stops; None never stops early.
            Epochs before the first score above 0 do not count. Each step of a scheme stops by itself.
        precision: Keras dtype policy of the network; boxes are float32 always.
        seed: of order, augmentation and sampling, in 0 .. 2**30 - 1.
        repeat_factor_threshold: images with a category that is on a smaller fraction of the images come more often: a
            category on the fraction f comes sqrt(threshold / f) times as often (LVIS, arXiv 1908.03195). Epochs become
            longer by the repetitions. In [0, 1]; 0 repeats no image, LVIS uses 0.001.
        horizontal_flip: mirrors every second image, at random.
        scale_jitter: (low, high) of a random factor of the image size.
        random_crop: probability of a random crop.
        color_jitter: strength of random brightness, contrast, saturation and hue, in [0, 1].
        vertical_flip: turns every second image upside down, at random.
        quarter_turns: turns an image by 0, 90, 180 or 270 degrees, at random.
        rotation: largest angle of a random rotation, in degrees, in [0, 180].
        shear: largest angle of a random shear along either axis, in degrees, in [0, 30].
        blur: largest standard deviation of a random Gaussian blur, in pixels of the network's frame, in [0, 10].
        noise: largest standard deviation of random Gaussian noise, in grey levels of 255, in [0, 255].
        cutout: probability of erasing a random rectangle.
        copy_paste: probability of pasting objects of another image.
        mosaic: probability of putting the image and three others into the quarters of one.
        mixup: probability of blending the image with another.

    Example:
        training = tfrcnn.preset("resnet50_fpn").training.replace(epochs=12, batch_size=8)
    """

    scheme: Literal["joint", "alternating", "rpn-only", "fast-rcnn-only", "unshared"] = "joint"
    epochs: int = 12
    batch_size: int = 2
    accumulation_steps: int = 1
    optimizer: str = "sgd"
    optimizer_options: dict[str, Any] | None = None
    learning_rate: float = 0.02
    bias_learning_rate_scale: float = 1.0
    backbone_learning_rate_scale: float = 1.0
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: Literal["step", "cosine"] = "step"
    milestones: tuple[float, ...] = (2 / 3, 8 / 9)
    warmup_steps: int = 500
    gradient_clip_norm: float | None = 10.0
    frozen_stages: int = 0
    freeze_batch_norm: bool = True
    ema: float | None = None
    class_weights: dict[str, float] | Literal["balanced"] | None = None
    swa: float | None = None
    patience: int | None = None
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    seed: int = 0
    repeat_factor_threshold: float = 0.0
    horizontal_flip: bool = True
    scale_jitter: tuple[float, float] = (1.0, 1.0)
    random_crop: float = 0.0
    color_jitter: float = 0.0
    vertical_flip: bool = False
    quarter_turns: bool = False
    rotation: float = 0.0
    shear: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    cutout: float = 0.0
    copy_paste: float = 0.0
    mosaic: float = 0.0
    mixup: float = 0.0

    def _check_ranges(self) -> None:
        self._require(self.epochs >= 1, "epochs", "at least 1")
        self._require(self.batch_size >= 1, "batch_size", "at least 1")
        self._require(
            math.isfinite(self.learning_rate) and self.learning_rate > 0, "learning_rate", "a positive number"
        )
        self._require(self.accumulation_steps >= 1, "accumulation_steps", "at least 1")
        for name in ("bias_learning_rate_scale", "backbone_learning_rate_scale"):
            scale = getattr(self, name)
            self._require(math.isfinite(scale) and scale >= 0, name, "a number of at least 0")
        self._require(0 <= self.momentum < 1, "momentum", "in [0, 1)")
        self._require(self.weight_decay >= 0, "weight_decay", "at least 0")
        self._require(self.warmup_steps >= 0, "warmup_steps", "at least 0")
        self._require(all(0 < m < 1 for m in self.milestones), "milestones", "fractions in (0, 1)")
        clip = self.gradient_clip_norm
        self._require(clip is None or clip > 0, "gradient_clip_norm", "None or positive")
        self._require(self.frozen_stages >= 0, "frozen_stages", "at least 0")
        self._require(0 <= self.seed <= MAX_SEED, "seed", "in 0 .. 2**30 - 1")
        self._require(0 <= self.repeat_factor_threshold <= 1, "repeat_factor_threshold", "in [0, 1]")
        self._require(self.ema is None or 0 < self.ema < 1, "ema", "None or in (0, 1)")
        if isinstance(self.class_weights, dict):
            fits = all(_is_factor(weight) for weight in self.class_weights.values())
            self._require(fits, "class_weights", f"category names with factors in 0 .. {MAX_CLASS_WEIGHT:,}")
        self._require(self.swa is None or 0 <= self.swa < 1, "swa", "None or in [0, 1)")
        self._require(self.patience is None or self.patience >= 1, "patience", "None or at least 1")
        self._require(0 < self.scale_jitter[0] <= self.scale_jitter[1], "scale_jitter", "0 < low <= high")
        for name in ("random_crop", "cutout", "copy_paste", "mosaic", "mixup"):
            self._require(0 <= getattr(self, name) <= 1, name, "a probability")
        for name, limit in {"color_jitter": 1, "rotation": 180, "shear": 30, "blur": 10, "noise": 255}.items():
            self._require(0 <= getattr(self, name) <= limit, name, f"in [0, {limit}]")
        self._require_at_most(
            epochs=1_000_000,
            batch_size=100_000,
            accumulation_steps=100_000,
            learning_rate=1e6,
            bias_learning_rate_scale=1e6,
            backbone_learning_rate_scale=1e6,
            weight_decay=1e6,
            milestones=1,
            warmup_steps=10**9,
            gradient_clip_norm=1e9,
            frozen_stages=1000,
            patience=1_000_000,
            scale_jitter=100,
        )


def _is_factor(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_CLASS_WEIGHT
