"""The library's presets: named detectors with the hyper-parameters of record, and how each is trained by default.

| preset | source of the numbers |
|---|---|
| vgg16, zf | the paper, as released in py-faster-rcnn (end-to-end, VGG-16 and ZF) |
| resnet50_fpn, resnet101_fpn | torchvision's fasterrcnn_resnet50_fpn, on keras.applications' ResNets |
| resnet50_c4, resnet101_c4 | Detectron2's faster_rcnn_R_50_C4_1x, R_101_C4_3x, on keras.applications' ResNets |
| cascade_resnet50_fpn | resnet50_fpn with the three stages of Cascade R-CNN (arXiv 1712.00726) |
| fasterrcnn_... | torchvision's detector of that name, to the last digit |
| mobilenet_v2_fpn | torchvision's fasterrcnn_mobilenet_v3_large_320_fpn, made smaller: 128 channels, 128 RoIs |
| tiny_fpn | this project: trains from scratch on a CPU within minutes |

To add a preset, write a function like those below and add it to `PRESETS`.
"""

from __future__ import annotations

from dataclasses import dataclass

from tfrcnn.config import (
    AnchorConfig,
    BackboneConfig,
    BoxLossConfig,
    CascadeConfig,
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
from tfrcnn.models.backbones import BACKBONES
from tfrcnn.models.backbones.applications import CAFFE
from tfrcnn.models.backbones.resnet import APPLICATIONS_EPSILON, taps


@dataclass(frozen=True)
class Preset:
    """A detector and how it is trained by default.

    Attributes:
        detector: the network, without categories unless `preset` was called with some.
        training: the default training.
        summary: one line about it.

    Example:
        preset = tfrcnn.preset("mobilenet_v2_fpn", dataset.categories)
        detector = tfrcnn.build_detector(preset.detector, "imagenet")
    """

    detector: DetectorConfig
    training: TrainingConfig
    summary: str


def _vgg16() -> Preset:
    """Make the paper's VGG-16.

    It differs from py-faster-rcnn in four ways: proposals are dropped under 16 pixels of the network input (there: of
    the original image), biases are not decayed, the rate rises over 500 steps, and gradients are clipped at a norm of
    10.
    """
    detector = DetectorConfig(
        preset="vgg16",
        backbone=BackboneConfig("VGG16", taps=("block5_conv3",)),
        image=ImageConfig(600, 1000, divisor=16, **BACKBONES["VGG16"].image),
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
    """Make the paper's ZF: VGG-16's numbers, with a smaller network, an RPN of 256 channels, 6 x 6 bins and no frozen
    stage. py-faster-rcnn subtracts these means for every network."""
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
    """Make a detector on keras.applications' ResNet, so that its ImageNet weights fit."""
    detector = DetectorConfig(
        preset=f"resnet{depth}_fpn",
        backbone=BackboneConfig(f"resnet{depth}", stride_in_1x1=True, norm_epsilon=APPLICATIONS_EPSILON),
        image=ImageConfig(800, 1333, **CAFFE),
    )
    training = TrainingConfig(epochs=26, milestones=(16 / 26, 22 / 26), frozen_stages=2)
    return Preset(detector, training, f"ResNet-{depth} with feature pyramid, the workhorse")


def _resnet_c4(depth: int, epochs: int, milestones: tuple[float, float]) -> Preset:
    """Make the ResNet paper's Faster R-CNN: one map of stride 16, and the last stage of the ResNet as the head."""
    detector = _resnet_fpn(depth).detector
    detector = detector.replace(
        preset=f"resnet{depth}_c4",
        backbone=detector.backbone.replace(taps=(taps(depth)[2],)),
        image=detector.image.replace(divisor=16),
        fpn=None,
        anchors=AnchorConfig(sizes=((32.0, 64.0, 128.0, 256.0, 512.0),)),
        train_proposals=ProposalConfig(12000, 2000),
        test_proposals=ProposalConfig(6000, 1000),
        head=HeadConfig(pool_size=14, residual_blocks=3, units=()),
    )
    training = TrainingConfig(epochs=epochs, milestones=milestones, frozen_stages=2)
    return Preset(detector, training, f"ResNet-{depth} without a pyramid: stride 16, its last stage is the head")


def _cascade_resnet50_fpn() -> Preset:
    start = _resnet_fpn(50)
    head = start.detector.head.replace(class_agnostic=True, cascade=CascadeConfig())
    detector = start.detector.replace(preset="cascade_resnet50_fpn", head=head)
    return Preset(detector, start.training, "Cascade R-CNN on ResNet-50 with feature pyramid: three heads")


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
        image=ImageConfig(320, 640, **BACKBONES["MobileNetV2"].image),
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


PRESETS = {
    p.detector.preset: p
    for p in (
        _vgg16(),
        _zf(),
        _resnet_fpn(50),
        _resnet_fpn(101),
        _resnet_c4(50, 12, (60 / 90, 80 / 90)),
        _resnet_c4(101, 37, (210 / 270, 250 / 270)),
        _cascade_resnet50_fpn(),
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
