"""The configuration of a detector and its training: frozen dataclasses, checked when they are made, stored as JSON.

`DetectorConfig` is everything needed to build the network. `TrainingConfig` is everything that only training needs.
`to_dict` and `from_dict` are exact inverses, so `config.json` in a run folder is enough to rebuild the detector on
another machine. Training and inference differ in the number of proposals: two instances of one class, not two sets of
options.

Lengths are in pixels of the network input, sizes are (height, width), IoU thresholds are in [0, 1].
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tfrcnn.config_base import Config
from tfrcnn.config_cascade import CascadeConfig as CascadeConfig
from tfrcnn.config_cascade import CascadedConfig
from tfrcnn.config_detections import DetectionConfig as DetectionConfig
from tfrcnn.config_losses import BoxLossConfig as BoxLossConfig
from tfrcnn.config_losses import ClassLossConfig as ClassLossConfig
from tfrcnn.config_rpn import MAX_CHANNELS, MAX_LENGTH
from tfrcnn.config_rpn import AnchorConfig as AnchorConfig
from tfrcnn.config_rpn import MatchConfig as MatchConfig
from tfrcnn.config_rpn import ProposalConfig as ProposalConfig
from tfrcnn.config_rpn import RPNConfig as RPNConfig
from tfrcnn.config_training import TrainingConfig as TrainingConfig
from tfrcnn.errors import check_type

# Far above any use, as in `config_rpn`.
MAX_CATEGORIES = 100_000
MAX_DENSE_WEIGHTS = 10**9  # of the head's first dense layer; VGG-16 has a tenth


@dataclass(frozen=True)
class Category(Config):
    """One class of objects.

    A category's label 0..C-1 is its position among the categories of the detector; its id is the data set's.

    Attributes:
        id: the data set's own number, which may have gaps, for example COCO's 1..90.
        name: unique in its data set; data sets are matched by it.

    Example:
        tfrcnn.Category(1, "cell")
    """

    id: int
    name: str


def as_categories(categories: Any) -> tuple[Category, ...]:
    """Return categories as a tuple.

    Args:
        categories: `Category` objects, or dicts of their fields.

    Raises:
        InputError: one is something else, for example a name.
    """
    several = isinstance(categories, Iterable) and not isinstance(categories, str | Mapping)
    result = []
    for one in categories if several else [categories]:
        if isinstance(one, dict):
            one = Category.from_dict(one)
        check_type(one, Category, "each of categories", 'tfrcnn.Category(1, "cell")')
        result.append(one)
    return tuple(result)


@dataclass(frozen=True)
class ImageConfig(Config):
    """From image files to the network's input: resize, pad, normalise.

    An image of sides (h, w) is scaled by k = min(min_size / min(h, w), max_size / max(h, w)) and padded at the bottom
    and right. The network sees (pixel - mean) / std.

    Attributes:
        min_size: of the resized image's shorter side, in pixels.
        max_size: upper limit of its longer side, in pixels.
        static_size: (height, width) that every image is resized and padded to (letterbox); None keeps each image's
            shape.
        divisor: the padded sides are multiples of it.
        channel_order: order of the channels that the network sees; pixels are RGB in 0..255 before.
        mean: per channel, in `channel_order`.
        std: per channel, in `channel_order`.

    Example:
        tfrcnn.ImageConfig(static_size=(320, 320))
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
        self._require(min(self.std) >= 1e-6, "std", "at least 1e-06")
        self._require_at_most(static_size=MAX_LENGTH, min_size=MAX_LENGTH, max_size=MAX_LENGTH)
        self._require_at_most(divisor=4096, mean=1e6, std=1e6)


@dataclass(frozen=True)
class BackboneConfig(Config):
    """The feature extractor.

    Attributes:
        name: one of tfrcnn's own (see `tfrcnn.models.backbones`) or any constructor in `keras.applications`.
        taps: names of the layers whose outputs are the feature maps, finest first; None takes the backbone's
            documented ones.
        stride_in_1x1: resnet50 and resnet101 only. True strides in the first 1x1 convolution of a stage, as Caffe,
            keras.applications and Detectron2 do; False strides in its 3x3 convolution.
        norm_epsilon: of the batch norms in resnet50, resnet101 and mobilenet_v3_large; None is 1e-5.

    Example:
        tfrcnn.BackboneConfig("MobileNetV2")
    """

    name: str
    taps: tuple[str, ...] | None = None
    stride_in_1x1: bool = False
    norm_epsilon: float | None = None

    def _check_ranges(self) -> None:
        self._require(self.norm_epsilon is None or self.norm_epsilon >= 0, "norm_epsilon", "None or at least 0")
        self._require_at_most(norm_epsilon=1)
        self._require(self.taps is None or 1 <= len(self.taps) <= 16, "taps", "None or 1 to 16 names of layers")


@dataclass(frozen=True)
class FPNConfig(Config):
    """The feature pyramid (Lin et al., arXiv 1612.03144): lateral 1x1, top-down sum, 3x3, and a pooled coarsest level.

    Attributes:
        channels: of every level.
        norm: True follows each convolution by batch norm instead of a bias (Li et al., arXiv 2111.11429).

    Example:
        tfrcnn.FPNConfig(channels=128)
    """

    channels: int = 256
    norm: bool = False

    def _check_ranges(self) -> None:
        self._require(self.channels >= 1, "channels", "at least 1")
        self._require_at_most(channels=MAX_CHANNELS)


@dataclass(frozen=True)
class HeadConfig(CascadedConfig):
    """The Fast R-CNN head: RoI pooling, layers, then C + 1 class logits and 4 C box deltas per region.

    Attributes:
        pooling: "roi_pool" is the paper's and needs a single feature map (no `fpn`); "roi_align" interpolates.
            Any other pooling is the registered name of a Keras layer, see `tfrcnn.models.faster_rcnn.make_pooling`.
        pool_size: a region is pooled to this many bins squared.
        sampling_ratio: `roi_align` averages this many samples squared per bin.
        aligned: pixel model of `roi_align`, see `tfrcnn.layers.RoIAlign`.
        convs: channels of 3x3 convolutions with batch norm; none in the paper.
        residual_blocks: bottleneck blocks of a ResNet's stage, which halves the pooled features, doubles their channels
            and is averaged over the bins; 3 in the C4 detectors of the ResNet paper, 0 elsewhere.
        units: of the fully connected layers; may be empty behind residual blocks.
        dropout: share of their outputs that is dropped in training, in [0, 1).
        box_weights: the deltas (y, x, h, w) are multiplied by these.
        match: how regions are labelled and sampled.
        box_loss: the loss of the positive regions' deltas.
        box_loss_weight: multiplies the box loss.
        class_loss: the loss of all sampled regions' class logits.
        class_loss_weight: multiplies the class loss.
        class_agnostic: True predicts one box per region for all classes; False predicts one per class.
        cascade: further heads, each on the boxes of the one before (Cascade R-CNN); None in the paper. They need
            `class_agnostic`.

    Example:
        tfrcnn.HeadConfig(units=(256,), match=tfrcnn.MatchConfig(0.5, 0.5, samples=64, positive_fraction=0.25))
    """

    pooling: str = "roi_align"
    pool_size: int = 7
    sampling_ratio: int = 2
    aligned: bool = False
    convs: tuple[int, ...] = ()
    residual_blocks: int = 0
    units: tuple[int, ...] = (1024, 1024)
    dropout: float = 0.0
    box_weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0)
    match: MatchConfig = MatchConfig(0.5, 0.5, 512, 0.25)
    box_loss: BoxLossConfig = BoxLossConfig()
    box_loss_weight: float = 1.0
    class_loss: ClassLossConfig = ClassLossConfig()
    class_loss_weight: float = 1.0
    class_agnostic: bool = False
    cascade: CascadeConfig | None = None

    def _check_ranges(self) -> None:
        known = self.pooling in ("roi_align", "roi_pool") or ">" in self.pooling
        self._require(known, "pooling", "roi_align, roi_pool or the registered name of a Keras layer ('package>Name')")
        self._require(self.pool_size >= 1, "pool_size", "at least 1")
        self._require(self.sampling_ratio >= 1, "sampling_ratio", "at least 1")
        self._require(min(self.convs, default=1) >= 1, "convs", "positive numbers")
        self._require(self.residual_blocks >= 0, "residual_blocks", "at least 0")
        enough = (self.units or self.residual_blocks) and min(self.units, default=1) >= 1
        self._require(bool(enough), "units", "at least one positive number, or none behind residual blocks")
        self._require(0 <= self.dropout < 1, "dropout", "in [0, 1)")
        self._require(min(self.box_weights) > 0, "box_weights", "four positive numbers")
        self._require(self.box_loss_weight >= 0, "box_loss_weight", "at least 0")
        self._require(self.class_loss_weight >= 0, "class_loss_weight", "at least 0")
        self._check_cascade()
        self._require(len(self.convs) <= 16, "convs", "at most 16 convolutions")
        self._require(len(self.units) <= 8, "units", "at most 8 layers")
        self._require_at_most(pool_size=64, sampling_ratio=64, convs=MAX_CHANNELS, units=16_384, box_weights=1e6)
        self._require_at_most(residual_blocks=16, box_loss_weight=1e6, class_loss_weight=1e6)


@dataclass(frozen=True)
class DetectorConfig(Config):
    """A whole Faster R-CNN.

    Attributes:
        backbone: the feature extractor.
        categories: what is detected; a preset leaves them empty.
        image: preprocessing.
        fpn: the feature pyramid; None uses the backbone's last feature map for RPN and head.
        anchors: reference boxes.
        rpn: the region proposal network.
        train_proposals: proposals in training.
        test_proposals: proposals in detection.
        head: the Fast R-CNN head.
        detections: which head outputs become detections.
        shared_features: True lets RPN and head share one set of feature maps, which is the paper's point; False gives
            the RPN its own backbone and pyramid: two networks, as after step 2 of the paper's section 3.2.
        preset: name of the preset that the configuration was made from.

    Example:
        config = tfrcnn.preset("resnet50_fpn", categories).detector
        config = config.replace(detections=config.detections.replace(max_detections=20))
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
        self._require(len(self.categories) <= MAX_CATEGORIES, "categories", f"at most {MAX_CATEGORIES:,}")
        if self.categories:  # a preset has none
            self.detections.check_names(self.names)
        # Each bound alone still lets the first dense layer of the head grow beyond any memory.
        channels = self.head.convs[-1] if self.head.convs else self.fpn.channels if self.fpn else 512
        # a residual stage averages its 2048 channels over the bins
        inputs = 2048 if self.head.residual_blocks else channels * self.head.pool_size**2
        heads = len(self.head.stages)
        units = MAX_DENSE_WEIGHTS // (inputs * heads)
        expected = f"at most {units:,} in the first layer, which has {inputs:,} inputs"
        expected += f" in each of {heads} heads" if heads > 1 else ""
        self.head._require(sum(self.head.units[:1]) <= units, "units", expected)

    @property
    def num_classes(self) -> int:
        """C: categories without the background."""
        return len(self.categories)

    @property
    def names(self) -> list[str]:
        """The names of the categories, by label."""
        return [category.name for category in self.categories]
