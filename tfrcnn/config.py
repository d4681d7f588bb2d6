"""What defines a detector and its training: frozen dataclasses, checked when made, written as JSON.

`DetectorConfig` is everything needed to build the network; `TrainingConfig` (in `config_training.py`) is everything
that only training needs. `to_dict` and `from_dict` are exact inverses, so that `config.json` in a run folder is
enough to rebuild the detector on another machine. Where training and inference differ (the number of proposals), they
are two instances of one class, never two sets of options.

Lengths are in pixels of the network input, sizes are (height, width), IoU thresholds are in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tfrcnn.config_base import Config
from tfrcnn.config_training import TrainingConfig as TrainingConfig


@dataclass(frozen=True)
class Category(Config):
    """One class of objects. `id` is the data set's own (sparse, e.g. COCO 1..90); its position among the
    categories of the detector is its label 0..C-1."""

    id: int
    name: str


@dataclass(frozen=True)
class ImageConfig(Config):
    """From image files to the network's input: resize, pad, normalise.

    An image of sides (h, w) is scaled by k = min(min_size / min(h, w), max_size / max(h, w)) and padded at the
    bottom and right to a multiple of `divisor`; or, with `static_size`, to exactly that size (letterbox).
    The network sees (pixel - mean) / std with pixels RGB in 0..255, channels reversed first if `channel_order`
    is "BGR" (mean and std are then in BGR order).
    """

    min_size: int = 800
    max_size: int = 1333
    static_size: tuple[int, int] | None = None
    divisor: int = 32
    channel_order: Literal["RGB", "BGR"] = "RGB"
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)

    def _check_ranges(self) -> None:
        self._require(self.min_size >= 1, "min_size", "at least 1 pixel")
        self._require(self.max_size >= self.min_size, "max_size", f"at least min_size ({self.min_size})")
        self._require(self.divisor >= 1, "divisor", "at least 1")
        self._require(min(self.std) > 0, "std", "three positive numbers")
        sizes = self.static_size or (self.divisor,)
        fits = all(side >= 1 and side % self.divisor == 0 for side in sizes)
        self._require(fits, "static_size", f"two positive multiples of {self.divisor}")


@dataclass(frozen=True)
class BackboneConfig(Config):
    """The feature extractor.

    `name` is one of tfrcnn's own (see `tfrcnn.models.backbones`) or any constructor in `keras.applications`.
    `taps` are the names of the layers whose outputs are the feature maps, finest first; None takes the
    backbone's documented ones. `stride_in_1x1` (resnet50, resnet101) strides in the first 1x1 convolution of a stage,
    as Caffe's, keras.applications' and Detectron2's, instead of in its 3x3. `norm_epsilon` (these and
    mobilenet_v3_large) is that of the batch norms; None is 1e-5.
    """

    name: str
    taps: tuple[str, ...] | None = None
    stride_in_1x1: bool = False
    norm_epsilon: float | None = None

    def _check_ranges(self) -> None:
        self._require(self.norm_epsilon is None or self.norm_epsilon >= 0, "norm_epsilon", "None or at least 0")


@dataclass(frozen=True)
class FPNConfig(Config):
    """Feature pyramid (Lin et al., arXiv 1612.03144): lateral 1x1, top-down sum, 3x3, and a pooled coarsest level.
    With `norm`, each convolution is followed by batch norm instead of having a bias (Li et al., arXiv 2111.11429)."""

    channels: int = 256
    norm: bool = False

    def _check_ranges(self) -> None:
        self._require(self.channels >= 1, "channels", "at least 1")


@dataclass(frozen=True)
class AnchorConfig(Config):
    """Reference boxes (paper section 3.1.1). `sizes[l]` are the square roots of the areas at level l, in pixels;
    ratios are height / width.

    `rounding`: "none" keeps exact sides; "torchvision" rounds half-sides to whole pixels, half to even;
    "paper" scales the rounded sides of a 16-pixel square, as py-faster-rcnn's published nine.
    `offset`: where in its cell an anchor is centred, in cells (0 = the cell's corner, 0.5 = its middle).
    Anchors of neighbouring cells are image side // cells apart, as torchvision has it; with `nominal_strides` they are
    the backbone's strides apart, as in Detectron2. That differs where a map was rounded up: 61 or 64 pixels for the 13
    cells over 800.
    """

    sizes: tuple[tuple[float, ...], ...] = ((32.0,), (64.0,), (128.0,), (256.0,), (512.0,))
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    rounding: Literal["none", "torchvision", "paper"] = "torchvision"
    offset: float = 0.0
    nominal_strides: bool = False

    def _check_ranges(self) -> None:
        positive = all(level and min(level) > 0 for level in self.sizes)
        self._require(bool(self.sizes) and positive, "sizes", "one non-empty tuple of positive numbers a level")
        same = len({len(level) for level in self.sizes}) == 1
        self._require(same, "sizes", "the same number at every level, since the RPN's head is shared")
        self._require(bool(self.ratios) and min(self.ratios) > 0, "ratios", "positive numbers")
        self._require(0 <= self.offset <= 1, "offset", "in [0, 1]")

    @property
    def per_cell(self) -> int:
        """k of the paper: anchors at each position of a feature map."""
        return len(self.sizes[0]) * len(self.ratios)


@dataclass(frozen=True)
class MatchConfig(Config):
    """How boxes are labelled by ground truth and sampled for a loss.

    IoU >= `foreground_iou` is positive, < `background_iou` negative, between is ignored; with
    `allow_low_quality` the best boxes of each ground truth are positive whatever their IoU. Of these, `samples`
    an image are drawn, at most `positive_fraction` of them positive. The box loss is smooth L1 with `beta` (0: L1).
    """

    foreground_iou: float
    background_iou: float
    samples: int
    positive_fraction: float
    allow_low_quality: bool = False
    beta: float = 1 / 9

    def _check_ranges(self) -> None:
        self._require(0 < self.foreground_iou <= 1, "foreground_iou", "in (0, 1]")
        self._require(0 <= self.background_iou <= self.foreground_iou, "background_iou", "in [0, foreground_iou]")
        self._require(self.samples >= 1, "samples", "at least 1")
        enough = 0 < self.positive_fraction <= 1 and self.samples * self.positive_fraction >= 1
        self._require(enough, "positive_fraction", f"in [1 / samples, 1], with {self.samples} samples")
        self._require(self.beta >= 0, "beta", "at least 0")


@dataclass(frozen=True)
class RPNConfig(Config):
    """Region proposal network (paper section 3.1). `channels` of its 3x3 convolutions, None meaning those of its input;
    `convs` of them follow each other, one in the paper. `box_loss_weight` is lambda N_cls / N_reg of equation (1), see
    `tfrcnn.training.losses`."""

    channels: int | None = None
    convs: int = 1
    match: MatchConfig = MatchConfig(0.7, 0.3, 256, 0.5, allow_low_quality=True)
    ignore_cross_boundary: bool = False
    box_loss_weight: float = 1.0

    def _check_ranges(self) -> None:
        self._require(self.channels is None or self.channels >= 1, "channels", "None or at least 1")
        self._require(self.convs >= 1, "convs", "at least 1")
        self._require(self.box_loss_weight >= 0, "box_loss_weight", "at least 0")


@dataclass(frozen=True)
class ProposalConfig(Config):
    """From RPN outputs to proposals: the best `pre_nms_top_n` a level, boxes with a side under `min_size` dropped,
    NMS at `nms_iou` a level (1: none), the best `post_nms_top_n` of all levels.

    Two switches take one of the RPN's outputs away, as table 2 of the paper does: without `use_scores` ("no cls") the
    best are random ones, without `use_deltas` ("no reg") the boxes are the anchors. Without NMS and deltas, and with
    as many proposals as anchors, they are the dense sliding windows of table 10.
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


@dataclass(frozen=True)
class HeadConfig(Config):
    """Fast R-CNN head: `pooling` to `pool_size` squared bins, 3x3 convolutions with batch norm of `convs` channels each
    (none in the paper), fully connected layers of `units`, then C + 1 class logits and 4 C deltas, encoded with
    `box_weights` (y, x, h, w). "roi_pool" is the paper's and takes one feature map, no `fpn`; "roi_align" has
    `sampling_ratio` squared samples a bin, and `aligned` is its pixel model: see `RoIPool` and `RoIAlign`. Any other
    pooling is a Keras layer's registered name, see `tfrcnn.models.faster_rcnn.make_pooling`."""

    pooling: str = "roi_align"
    pool_size: int = 7
    sampling_ratio: int = 2
    aligned: bool = False
    convs: tuple[int, ...] = ()
    units: tuple[int, ...] = (1024, 1024)
    dropout: float = 0.0
    box_weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)
    match: MatchConfig = MatchConfig(0.5, 0.5, 512, 0.25)

    def _check_ranges(self) -> None:
        known = self.pooling in ("roi_align", "roi_pool") or ">" in self.pooling
        self._require(known, "pooling", "roi_align, roi_pool or the registered name of a Keras layer ('package>Name')")
        self._require(self.pool_size >= 1, "pool_size", "at least 1")
        self._require(self.sampling_ratio >= 1, "sampling_ratio", "at least 1")
        self._require(min(self.convs, default=1) >= 1, "convs", "positive numbers")
        self._require(bool(self.units) and min(self.units) >= 1, "units", "at least one positive number")
        self._require(0 <= self.dropout < 1, "dropout", "in [0, 1)")
        self._require(min(self.box_weights) > 0, "box_weights", "four positive numbers")


@dataclass(frozen=True)
class DetectionConfig(Config):
    """From head outputs to detections: scores above `score_threshold`, NMS a class, the best `max_detections`."""

    score_threshold: float = 0.05
    nms_iou: float = 0.5
    max_detections: int = 100
    min_size: float = 1e-2

    def _check_ranges(self) -> None:
        self._require(0 <= self.score_threshold < 1, "score_threshold", "in [0, 1)")
        self._require(0 < self.nms_iou <= 1, "nms_iou", "in (0, 1]")
        self._require(self.max_detections >= 1, "max_detections", "at least 1")


@dataclass(frozen=True)
class DetectorConfig(Config):
    """A whole Faster R-CNN. Without `fpn` the last feature map of the backbone serves RPN and head alike.

    With `shared_features` RPN and box head see one set of feature maps, which is the paper's point. Without, the RPN
    has a backbone (and pyramid) of its own, of the same form: two networks, as after step 2 of the paper's section 3.2.
    """

    backbone: BackboneConfig
    categories: tuple[Category, ...] = ()
    image: ImageConfig = ImageConfig()
    fpn: FPNConfig | None = FPNConfig()
    anchors: AnchorConfig = AnchorConfig()
    rpn: RPNConfig = RPNConfig()
    train_proposals: ProposalConfig = ProposalConfig(2000, 2000)
    test_proposals: ProposalConfig = ProposalConfig(1000, 1000)
    head: HeadConfig = HeadConfig()
    detections: DetectionConfig = DetectionConfig()
    shared_features: bool = True
    preset: str = "custom"

    def _check_ranges(self) -> None:
        for values, what in (([c.id for c in self.categories], "ids"), ([c.name for c in self.categories], "names")):
            self._require(len(set(values)) == len(values), "categories", f"free of repeated {what}")

    @property
    def num_classes(self) -> int:
        """C: categories without the background."""
        return len(self.categories)
