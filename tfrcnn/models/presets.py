"""Named detectors with the hyper-parameters of record, and how each is trained by default.

| preset | source of the numbers |
|---|---|
| vgg16, zf | the paper, as released in py-faster-rcnn (end-to-end, VGG-16 and ZF) |
| resnet50_fpn, resnet101_fpn | torchvision's fasterrcnn_resnet50_fpn, on keras.applications' ResNets |
| fasterrcnn_... | torchvision's detector of that name, to the last digit |
| mobilenet_v2_fpn | torchvision's fasterrcnn_mobilenet_v3_large_320_fpn, made smaller: 128 channels, 128 RoIs |
| tiny_fpn | this project: trains from scratch on a CPU within minutes |

A preset of your own is a JSON file that says what is different from one of these:

    {"preset": "vgg16", "detector": {"anchors": {"sizes": [[64, 128, 256, 512]]}}, "training": {"epochs": 32}}

It is named like its file, and has no categories: those are the data's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfrcnn.config import (
    AnchorConfig,
    BackboneConfig,
    BoxLossConfig,
    Category,
    DetectionConfig,
    DetectorConfig,
    FPNConfig,
    HeadConfig,
    ImageConfig,
    MatchConfig,
    ProposalConfig,
    RPNConfig,
    TrainingConfig,
)
from tfrcnn.errors import InputError
from tfrcnn.files import read_json
from tfrcnn.models.backbones.applications import APPLICATIONS, CAFFE
from tfrcnn.models.backbones.resnet import APPLICATIONS_EPSILON

SUFFIX = ".json"  # of a file that is a preset


@dataclass(frozen=True)
class Preset:
    """A detector (its categories still empty) and its default training."""

    detector: DetectorConfig
    training: TrainingConfig
    summary: str


def preset_names() -> tuple[str, ...]:
    """The names that `preset` knows."""
    return tuple(_PRESETS)


def preset(name: str, categories: tuple[Category, ...] = (), image_size: int | None = None) -> Preset:
    """A preset for given categories.

    Args:
        name: one of `preset_names`, or a file, FILE.json, of the form above.
        image_size: N makes the network input N x N, static (letterbox); None keeps the preset's min/max size.

    Raises:
        InputError: unknown name, a file of another form, or a size that is not a positive multiple of the preset's
            divisor.
    """
    found = _read(Path(name)) if name.endswith(SUFFIX) else _PRESETS.get(name)
    if found is None:
        raise InputError(f"unknown model {name!r}: expected one of {', '.join(_PRESETS)}, or FILE{SUFFIX}")
    detector = with_image_size(found.detector, image_size).replace(categories=tuple(categories))
    return Preset(detector, found.training, found.summary)


def _read(path: Path) -> Preset:
    """A preset from its file: what the file does not say is as in the preset that it names.

    Raises:
        InputError: no such file or preset; a name that is taken; a field that there is not, or a value out of range;
            names the file.
    """
    if not path.is_file():
        raise InputError(f"model: expected a preset's name or its file, found no file at {path}")
    if path.stem in _PRESETS:
        raise InputError(f"{path}: {path.stem} is one of the library's presets: give the file another name")
    values = read_json(path)
    parts = ("detector", "training")
    if not isinstance(values, dict) or set(values) - {"preset", *parts, "summary"}:
        raise InputError(f"{path}: expected an object of preset, detector, training and summary, found {values!r:.200}")
    if (base := _PRESETS.get(str(values.get("preset")))) is None:
        raise InputError(f"{path}: preset must be one of {', '.join(_PRESETS)}, found {values.get('preset')!r}")
    if not isinstance(summary := values.get("summary", f"as {path} says"), str):
        raise InputError(f"{path}: summary must be text, found {summary!r:.200}")
    for field in ("preset", "categories"):
        if isinstance(values.get("detector"), dict) and field in values["detector"]:
            raise InputError(f"{path}: expected no detector.{field}, which is not a preset's to say")
    detector, training = (_merged(getattr(base, part).to_dict(), values.get(part, {})) for part in parts)
    try:
        config = DetectorConfig.from_dict(detector).replace(preset=path.stem)
        return Preset(config, TrainingConfig.from_dict(training), summary)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _merged(base: Any, changes: Any) -> Any:
    """Nested objects, with some of their fields replaced."""
    if not isinstance(base, dict) or not isinstance(changes, dict):
        return changes
    return {**base, **{name: _merged(base.get(name), value) for name, value in changes.items()}}


def with_image_size(config: DetectorConfig, image_size: int | None) -> DetectorConfig:
    """A detector whose input is N x N, static; None changes nothing.

    Raises:
        InputError: a size that is not a positive multiple of the detector's divisor.
    """
    if image_size is None:
        return config
    if image_size < 1 or image_size % config.image.divisor:
        expected = f"a positive multiple of {config.image.divisor} for {config.preset}"
        raise InputError(f"image size must be {expected}, found {image_size}")
    return config.replace(image=config.image.replace(static_size=(image_size, image_size)))


def _vgg16() -> Preset:
    """Differs from py-faster-rcnn in four things: proposals are dropped under 16 pixels of the input (there times the
    image's scale), biases are not decayed (there as the kernels), the rate rises over 500 steps, and gradients are
    clipped at a norm of 10 (there neither)."""
    detector = DetectorConfig(
        preset="vgg16",
        backbone=BackboneConfig("VGG16", taps=("block5_conv3",)),
        image=ImageConfig(600, 1000, divisor=16, **APPLICATIONS["VGG16"].image),
        fpn=None,
        anchors=AnchorConfig(sizes=((128.0, 256.0, 512.0),), rounding="paper", offset=0.5),
        rpn=RPNConfig(
            channels=512,
            match=MatchConfig(0.7, 0.3, samples=256, positive_fraction=0.5, allow_low_quality=True),
            ignore_cross_boundary=True,
        ),
        train_proposals=ProposalConfig(12000, 2000, min_size=16.0),
        test_proposals=ProposalConfig(6000, 300, min_size=16.0),
        head=HeadConfig(
            pooling="roi_pool",
            units=(4096, 4096),
            dropout=0.5,
            match=MatchConfig(0.5, 0.5, samples=128, positive_fraction=0.25),
            box_loss=BoxLossConfig(beta=1.0),
        ),
        detections=DetectionConfig(nms_iou=0.3),
    )
    # 1e-3 for two images a step (iter_size 2) is 8e-3 for sixteen
    training = TrainingConfig(
        learning_rate=0.008,
        bias_learning_rate_scale=2.0,
        weight_decay=5e-4,
        milestones=(0.7,),
        frozen_stages=2,
    )
    return Preset(detector, training, "the paper: VGG-16, stride 16, nine anchors, two fc-4096")


def _zf() -> Preset:
    """VGG-16's, but for the network in front, an RPN of 256 channels, 6 x 6 bins, and no stage that is kept as it was
    pre-trained. py-faster-rcnn subtracts these means whatever the network."""
    vgg16 = _vgg16()
    detector = vgg16.detector.replace(
        preset="zf",
        backbone=BackboneConfig("zf"),
        image=vgg16.detector.image.replace(mean=(102.9801, 115.9465, 122.7717)),
        rpn=vgg16.detector.rpn.replace(channels=256),
        head=vgg16.detector.head.replace(pool_size=6),
    )
    return Preset(detector, vgg16.training.replace(frozen_stages=0), "the paper's smaller: Zeiler-Fergus, 256-d RPN")


def _resnet_fpn(depth: int) -> Preset:
    """keras.applications' ResNet, so that its ImageNet weights fit."""
    detector = DetectorConfig(
        preset=f"resnet{depth}_fpn",
        backbone=BackboneConfig(f"resnet{depth}", stride_in_1x1=True, norm_epsilon=APPLICATIONS_EPSILON),
        image=ImageConfig(800, 1333, **CAFFE),
    )
    training = TrainingConfig(epochs=26, milestones=(16 / 26, 22 / 26), frozen_stages=2)
    return Preset(detector, training, f"ResNet-{depth} with feature pyramid, the workhorse")


# torchvision's recipe: 26 epochs, a tenth of the rate after 16 and 22, the stem and the first stage frozen
_TORCHVISION = TrainingConfig(epochs=26, milestones=(16 / 26, 22 / 26), frozen_stages=2)


def _fasterrcnn_resnet50_fpn() -> Preset:
    detector = DetectorConfig(preset="fasterrcnn_resnet50_fpn", backbone=BackboneConfig("resnet50"))
    return Preset(detector, _TORCHVISION, "torchvision's: ResNet-50, COCO box AP 37.0 with its weights")


def _fasterrcnn_resnet50_fpn_v2() -> Preset:
    detector = DetectorConfig(
        preset="fasterrcnn_resnet50_fpn_v2",
        backbone=BackboneConfig("resnet50"),
        fpn=FPNConfig(norm=True),
        rpn=RPNConfig(convs=2),
        head=HeadConfig(convs=(256,) * 4, units=(1024,)),
    )
    training = _TORCHVISION.replace(freeze_batch_norm=False)
    return Preset(detector, training, "torchvision's second version: norms and deeper heads, COCO box AP 46.7")


def _fasterrcnn_mobilenet_v3_large(preset: str, image: ImageConfig, test_proposals: ProposalConfig) -> Preset:
    detector = DetectorConfig(
        preset=preset,
        backbone=BackboneConfig("mobilenet_v3_large"),
        image=image,
        anchors=AnchorConfig(sizes=((32.0, 64.0, 128.0, 256.0, 512.0),) * 3),
        train_proposals=ProposalConfig(2000, 2000, score_threshold=0.05),
        test_proposals=test_proposals,
    )
    training = _TORCHVISION.replace(frozen_stages=3)
    return Preset(detector, training, "torchvision's: MobileNetV3-Large, two maps at stride 32")


def _mobilenet_v2_fpn() -> Preset:
    detector = DetectorConfig(
        preset="mobilenet_v2_fpn",
        backbone=BackboneConfig("MobileNetV2"),
        image=ImageConfig(320, 640, **APPLICATIONS["MobileNetV2"].image),
        fpn=FPNConfig(128),
        anchors=AnchorConfig(sizes=((16.0,), (32.0,), (64.0,), (128.0,), (256.0,))),
        train_proposals=ProposalConfig(1000, 1000),
        test_proposals=ProposalConfig(300, 300),
        head=HeadConfig(match=MatchConfig(0.5, 0.5, samples=128, positive_fraction=0.25)),
    )
    # twice the usual rate: the pyramid and the heads start from nothing, and small data sets give few steps
    training = TrainingConfig(
        epochs=20,
        batch_size=4,
        learning_rate=0.04,
        schedule="cosine",
        warmup_steps=200,
        frozen_stages=1,
        ema=0.998,
        scale_jitter=(0.8, 1.25),
        color_jitter=0.2,
    )
    return Preset(detector, training, "MobileNetV2 with a 128-channel feature pyramid, for small machines")


def _tiny_fpn() -> Preset:
    detector = DetectorConfig(
        preset="tiny_fpn",
        backbone=BackboneConfig("tiny"),
        image=ImageConfig(128, 256, divisor=32),
        fpn=FPNConfig(64),
        anchors=AnchorConfig(sizes=((16.0,), (32.0,), (64.0,), (128.0,))),
        train_proposals=ProposalConfig(300, 300),
        test_proposals=ProposalConfig(100, 100),
        head=HeadConfig(units=(256,), match=MatchConfig(0.5, 0.5, samples=64, positive_fraction=0.25)),
    )
    training = TrainingConfig(
        epochs=13,
        batch_size=8,
        learning_rate=0.1,
        schedule="cosine",
        warmup_steps=100,
        freeze_batch_norm=False,
        horizontal_flip=False,
    )
    return Preset(detector, training, "a small network from scratch, for demonstrations and tests")


_PRESETS = {
    p.detector.preset: p
    for p in (
        _vgg16(),
        _zf(),
        _resnet_fpn(50),
        _resnet_fpn(101),
        _fasterrcnn_resnet50_fpn(),
        _fasterrcnn_resnet50_fpn_v2(),
        _fasterrcnn_mobilenet_v3_large(
            "fasterrcnn_mobilenet_v3_large_fpn",
            ImageConfig(),
            ProposalConfig(1000, 1000, score_threshold=0.05),
        ),
        _fasterrcnn_mobilenet_v3_large(
            "fasterrcnn_mobilenet_v3_large_320_fpn",
            ImageConfig(320, 640),
            ProposalConfig(150, 150, score_threshold=0.05),
        ),
        _mobilenet_v2_fpn(),
        _tiny_fpn(),
    )
}
