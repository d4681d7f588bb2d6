"""The configuration of the first stage: anchors, matching, RPN and proposals. `tfrcnn.config` exports these names too.

Lengths are in pixels of the network input. IoU thresholds are in [0, 1].
"""

from __future__ import annotations

import math
from dataclasses import InitVar, dataclass
from typing import Any, ClassVar, Literal, Self

from tfrcnn.config_base import Config
from tfrcnn.config_losses import BoxLossConfig
from tfrcnn.deprecation import warn_deprecated

# Far above any use: these keep a damaged or hostile file from filling the memory.
MAX_LENGTH = 100_000  # pixels
MAX_CHANNELS = 4096  # of a convolution
MAX_PROPOSALS = 1_000_000  # more than the anchors of an image of 1333 x 1333 pixels


@dataclass(frozen=True)
class AnchorConfig(Config):
    """Reference boxes (paper section 3.1.1).

    Attributes:
        sizes: per level, the square roots of the anchors' areas, in pixels.
        ratios: height / width.
        rounding: "none" keeps exact sides; "torchvision" rounds half-sides to whole pixels, half to even; "paper"
            scales the rounded sides of a 16-pixel square, as py-faster-rcnn's published nine.
        offset: where in its cell an anchor is centred, in cells: 0 is the cell's corner, 0.5 its middle.
        nominal_strides: True spaces the anchors of neighbouring cells by the backbone's strides, as Detectron2 does;
            False spaces them by image side // cells, as torchvision does. The two differ where a map was rounded up:
            64 or 61 pixels for the 13 cells over 800.

    Example:
        tfrcnn.AnchorConfig(sizes=((16.0,), (32.0,), (64.0,), (128.0,), (256.0,)))
    """

    sizes: tuple[tuple[float, ...], ...] = ((32.0,), (64.0,), (128.0,), (256.0,), (512.0,))
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    rounding: Literal["none", "torchvision", "paper"] = "torchvision"
    offset: float = 0.0
    nominal_strides: bool = False

    def _check_ranges(self) -> None:
        positive = all(level and min(level) > 0 for level in self.sizes)
        self._require(bool(self.sizes) and positive, "sizes", "one non-empty tuple of positive numbers per level")
        same = len({len(level) for level in self.sizes}) == 1
        self._require(same, "sizes", "the same number at every level, since the RPN's head is shared")
        self._require(bool(self.ratios) and min(self.ratios) > 0, "ratios", "positive numbers")
        self._require(0 <= self.offset <= 1, "offset", "in [0, 1]")
        self._require(len(self.sizes) <= 16, "sizes", "at most 16 levels")
        self._require(self.per_cell <= 1000, "sizes", "at most 1,000 anchors at each position, with these ratios")
        self._require_at_most(sizes=MAX_LENGTH, ratios=1000)
        self._require(self._has_sides(), "rounding", "none, since an anchor's shorter side would be rounded to 0")

    def _has_sides(self) -> bool:
        """Return whether every anchor has a height and a width; one without makes the loss NaN."""
        root = math.sqrt(max(*self.ratios, *(1 / ratio for ratio in self.ratios)))
        half = min(min(level) for level in self.sizes) / root / 2
        return {"none": True, "torchvision": half > 0.5, "paper": 16 / root > 0.5}[self.rounding]

    @property
    def per_cell(self) -> int:
        """k of the paper: anchors at each position of a feature map."""
        return len(self.sizes[0]) * len(self.ratios)


@dataclass(frozen=True)
class MatchConfig(Config):
    """How boxes are labelled by ground truth and sampled for a loss.

    Boxes with an IoU between the two thresholds are ignored.

    Attributes:
        foreground_iou: a box of at least this IoU with an object is positive.
        background_iou: a box below this IoU with every object is negative.
        samples: boxes drawn per image.
        positive_fraction: at most this share of the samples is positive.
        allow_low_quality: the best boxes of each object are positive at any IoU.

    Args:
        beta: deprecated, see `BoxLossConfig.beta`.

    Example:
        tfrcnn.MatchConfig(0.5, 0.5, samples=128, positive_fraction=0.25)
    """

    foreground_iou: float
    background_iou: float
    samples: int
    positive_fraction: float
    allow_low_quality: bool = False
    beta: InitVar[float | None] = None  # deprecated: BoxLossConfig.beta
    _beta: ClassVar[float | None] = None

    def __post_init__(self, beta: float | None) -> None:
        super().__post_init__()
        if beta is not None:
            warn_deprecated("MatchConfig(beta=...)", "box_loss=BoxLossConfig(beta=...) of RPNConfig or HeadConfig", 4)
            object.__setattr__(self, "_beta", beta)

    def replace(self, **changes: Any) -> Self:
        return super().replace(**{"beta": self._beta, **changes})

    def _check_ranges(self) -> None:
        self._require(0 < self.foreground_iou <= 1, "foreground_iou", "in (0, 1]")
        self._require(0 <= self.background_iou <= self.foreground_iou, "background_iou", "in [0, foreground_iou]")
        self._require(self.samples >= 1, "samples", "at least 1")
        enough = 0 < self.positive_fraction <= 1 and self.samples * self.positive_fraction >= 1
        self._require_at_most(samples=100_000)
        self._require(enough, "positive_fraction", f"in [1 / samples, 1], with {self.samples} samples")


delattr(MatchConfig, "beta")  # the default; `match.beta` would be None for every configuration


class MatchedConfig(Config):
    """Base of the configurations with `match` and `box_loss`; takes `beta` from a `match` of release 0.1."""

    match: MatchConfig
    box_loss: BoxLossConfig

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.match, MatchConfig) and self.match._beta is not None:
            object.__setattr__(self, "box_loss", self.box_loss.replace(beta=self.match._beta))
            object.__setattr__(self, "match", MatchConfig(**self.match.to_dict()))  # it is handed over once

    @classmethod
    def _upgraded(cls, values: dict[str, Any]) -> dict[str, Any]:
        match = values.get("match")
        if not isinstance(match, dict) or "beta" not in match:
            return values
        match, box_loss = dict(match), values.get("box_loss", {})
        beta = match.pop("beta")
        if isinstance(box_loss, dict):
            box_loss = {**box_loss, "beta": beta}
        return {**values, "box_loss": box_loss, "match": match}


@dataclass(frozen=True)
class RPNConfig(MatchedConfig):
    """The region proposal network (paper section 3.1).

    Attributes:
        channels: of the 3x3 convolutions; None takes the number of input channels.
        convs: how many 3x3 convolutions follow each other; 1 in the paper.
        match: how anchors are labelled and sampled.
        ignore_cross_boundary: anchors that cross the image's edge are not trained.
        box_loss_weight: lambda N_cls / N_reg of equation (1), see `tfrcnn.training.losses`.
        box_loss: the loss of the positive anchors' deltas.

    Example:
        tfrcnn.RPNConfig(channels=256, box_loss=tfrcnn.BoxLossConfig(beta=0.0))
    """

    channels: int | None = None
    convs: int = 1
    match: MatchConfig = MatchConfig(0.7, 0.3, 256, 0.5, allow_low_quality=True)
    ignore_cross_boundary: bool = False
    box_loss_weight: float = 1.0
    box_loss: BoxLossConfig = BoxLossConfig()

    def _check_ranges(self) -> None:
        self._require(self.channels is None or self.channels >= 1, "channels", "None or at least 1")
        self._require(self.convs >= 1, "convs", "at least 1")
        self._require(self.box_loss_weight >= 0, "box_loss_weight", "at least 0")
        self._require_at_most(channels=MAX_CHANNELS, convs=16, box_loss_weight=1e6)


@dataclass(frozen=True)
class ProposalConfig(Config):
    """From RPN outputs to proposals.

    `use_scores` and `use_deltas` ablate one RPN output each, as table 2 of the paper does. If NMS and deltas are off,
    and there are as many proposals as anchors, the proposals are the dense sliding windows of table 10.

    Attributes:
        pre_nms_top_n: boxes kept per level before NMS, best first.
        post_nms_top_n: boxes kept over all levels after NMS, best first.
        nms_iou: the threshold of NMS, which runs per level; 1 turns it off.
        min_size: boxes with a shorter side are dropped, in pixels.
        score_threshold: boxes of lower objectness are dropped, in [0, 1).
        use_scores: False ranks boxes at random ("no cls").
        use_deltas: False takes the anchors as boxes ("no reg").

    Example:
        tfrcnn.ProposalConfig(pre_nms_top_n=6000, post_nms_top_n=300)
    """

    pre_nms_top_n: int = 1000
    post_nms_top_n: int = 1000
    nms_iou: float = 0.7
    min_size: float = 1e-3
    score_threshold: float = 0.0
    use_scores: bool = True
    use_deltas: bool = True

    def _check_ranges(self) -> None:
        self._require(self.pre_nms_top_n >= 1, "pre_nms_top_n", "at least 1")
        self._require(self.post_nms_top_n >= 1, "post_nms_top_n", "at least 1")
        self._require(0 < self.nms_iou <= 1, "nms_iou", "in (0, 1]")
        self._require(self.min_size >= 0, "min_size", "at least 0")
        self._require(0 <= self.score_threshold < 1, "score_threshold", "in [0, 1)")
        self._require_at_most(pre_nms_top_n=MAX_PROPOSALS, post_nms_top_n=MAX_PROPOSALS, min_size=MAX_LENGTH)
