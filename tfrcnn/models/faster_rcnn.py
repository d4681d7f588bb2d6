"""Faster R-CNN: images -> detections, assembled from the layers as a Keras functional model.

`tfrcnn.models.stages` says how data flow: backbone -> (feature pyramid) -> region proposal network -> proposals -> RoI
pooling -> box head -> detections (figure 2 of the paper). Ground truth belongs to `tfrcnn.training`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfrcnn.compat import no_autocast
from tfrcnn.config import DetectorConfig, ProposalConfig
from tfrcnn.errors import InputError
from tfrcnn.kernels import RENAMED, Kernels, find_kernels
from tfrcnn.layers import (
    AnchorGenerator,
    BoxHead,
    BoxRefiner,
    CascadeHeads,
    DetectionDecoder,
    Normalizer,
    Preprocessor,
    ProposalLayer,
    RoIAlign,
    RoIPool,
    RPNHead,
)
from tfrcnn.layers.base import register
from tfrcnn.models.backbones import Backbone, BackboneSpec, build_backbone
from tfrcnn.models.fpn import FeaturePyramid
from tfrcnn.models.keras_methods import DescribedRescaler, DetectorMethods, description_in, layer_defaults
from tfrcnn.models.stages import Extractor, Stages

POOLINGS = {"roi_align": RoIAlign, "roi_pool": RoIPool}


@register
class FasterRCNN(DetectorMethods):
    """A detector: images [B, H, W, 3], RGB 0..255, any size -> detections in pixels of those images.

    Outputs (D = config.detections.max_detections):
        boxes [B, D, 4] float32: [y1, x1, y2, x2] in pixels of the input images, within them.
        scores [B, D] float32: in (0, 1), descending.
        labels [B, D] int32: 0..C-1, positions in `config.categories`.
        num_detections [B] int32: slots from there on hold zeros.

    Attributes:
        config: the `DetectorConfig`.
        kernels: the operators that it is assembled with, see `tfrcnn.kernels`.
        network: the part after the preprocessing. It takes images at network size, padded, and their image_sizes [B,
            2], and returns detections in pixels of the network input. A batch may hold images of several sizes.
        stages: the same part in steps, see `tfrcnn.models.stages`.
        rpn_backbone: the RPN's backbone; None if `config.shared_features`.
        rpn_fpn: the RPN's feature pyramid; None if `config.shared_features` or without a pyramid.
        cascade: the box heads of the stages after the first; None if `config.head.cascade` is.
        backbone_spec: the spec of a backbone that was passed by `backbone=`; None otherwise.
        weights_note: which layers of a VGG-16's or a C4 box head came with the backbone's weights; "" for others.

    Example:
        config = tfrcnn.preset("tiny_fpn", (tfrcnn.Category(1, "cell"),)).detector
        detections = FasterRCNN(config)(images)
    """

    def __init__(
        self,
        config: DetectorConfig | dict[str, Any],
        backbone_weights: str | Path = "none",
        kernels: Kernels | str = "tensorflow",
        precision: str = "float32",
        roi_align: str | None = None,
        backbone: BackboneSpec | keras.Model | None = None,
        *_: Any,
        **kwargs: Any,
    ) -> None:
        """
        `keras.models.clone_model` passes the inputs and outputs of a copy as `config` and `backbone_weights`, but only
        to a class that takes any arguments: hence `*_`.

        Args:
            config: the detector; a dict is read by `DetectorConfig.from_dict`.
            backbone_weights: "none", "imagenet" or a file, see `build_backbone`. The box head of VGG-16 takes its
                fully connected layers from them too, see `BackboneSpec.load_head`.
            kernels: a set of operators or its name, see `tfrcnn.kernels`; XLA needs "portable".
            precision: dtype policy, "float32", "mixed_bfloat16" or "mixed_float16"; geometry stays float32.
            roi_align: deprecated name of `kernels`.
            backbone: a backbone that is not registered under `config.backbone.name`.

        Raises:
            InputError: no categories, an unknown backbone, weights or kernels, preprocessing that does not fit the
                ImageNet weights, anchors that do not fit the levels, a pooling that `make_pooling` refuses.
        """
        if not isinstance(config, DetectorConfig | dict):  # but the symbolic inputs of a copy
            self.__init__(**description_in(config, backbone_weights), **kwargs)  # the usual way
            return
        if isinstance(config, dict):
            config = DetectorConfig.from_dict(config)
        if not config.categories:
            raise InputError("DetectorConfig.categories must name at least one category, found none")
        kernels = find_kernels(roi_align or kernels)
        with layer_defaults(precision):
            self._assemble(config, backbone_weights, kernels, backbone, kwargs)

    def _assemble(
        self,
        config: DetectorConfig,
        weights: str | Path,
        kernels: Kernels,
        custom: BackboneSpec | keras.Model | None,
        kwargs: dict[str, Any],
    ) -> None:
        backbone, extractor = _extractor(config, weights, kernels, custom)
        rpn_extractor = None if config.shared_features else _extractor(config, weights, kernels, custom, "rpn_")[1]
        stages, level_strides = _stages(config, backbone.strides, extractor, rpn_extractor, kernels)

        # === Functional model ===
        images = keras.Input((*(config.image.static_size or (None, None)), 3), name="images", dtype="float32")
        image_sizes = keras.Input((2,), name="image_sizes", dtype="float32")
        # without autocast: sizes must not be rounded to the 8 bits of bfloat16 on their way in
        network = no_autocast(keras.Model([images, image_sizes], stages.detect(images, image_sizes), name="network"))

        raw = keras.Input((None, None, 3), name="images", dtype="float32")
        prepared = Preprocessor(config.image, name="preprocessor")(raw)
        detections = network([prepared["images"], prepared["image_sizes"]])
        precision = keras.mixed_precision.global_policy().name
        description = {"config": config.to_dict(), "kernels": kernels.name, "precision": precision}
        rescaler = DescribedRescaler(description, name="rescaler")
        detections = rescaler(detections, prepared["image_sizes"], prepared["original_sizes"])
        super().__init__(inputs=raw, outputs=detections, **{"name": "faster_rcnn", **kwargs})
        no_autocast(self)

        # === Config ===
        self.config, self.kernels = config, kernels
        # Keras' jit_compile="auto" must not choose XLA for images of many sizes: it would compile for each
        self.supports_jit = config.image.static_size is not None
        self.network, self.stages = network, stages
        # weights files name the layers by these attributes
        self.normalizer = stages.normalizer
        self.backbone = backbone.model
        self.backbone_stages = backbone.stages
        self.backbone_spec = None if custom is None else backbone.spec
        self.fpn = extractor.fpn
        self.rpn_backbone = rpn_extractor.backbone if rpn_extractor else None
        self.rpn_fpn = rpn_extractor.fpn if rpn_extractor else None
        self.rpn_head = stages.rpn_head
        self.anchor_generator = stages.anchor_generator
        self.proposal_layer = stages.proposal_layer
        self.roi_pooling = stages.roi_pooling
        self.box_head = stages.box_head
        self.cascade = stages.cascade
        self.decoder = stages.decoder
        self.rescaler = rescaler
        self.level_strides = level_strides
        self.weights_note, *_ = [backbone.spec.load_head(head, weights) for head in stages.heads]

    def extract_features(
        self, images: tf.Tensor, image_sizes: tf.Tensor, training: bool | None = None
    ) -> list[tf.Tensor]:
        """Compute the feature maps that boxes are pooled from.

        Args:
            images: [B, N_h, N_w, 3] at network size.
            image_sizes: [B, 2] (h, w) inside the padding.
            training: whether batch norm and dropout run as in training, unless the backbone is frozen.

        Returns:
            per level [B, rows, columns, channels], finest first.
        """
        return self.stages.features(images, image_sizes, training).head

    def extract_rpn_features(
        self, images: tf.Tensor, image_sizes: tf.Tensor, training: bool | None = None
    ) -> list[tf.Tensor]:
        """Compute the feature maps that the RPN sees; arguments and result as `extract_features`."""
        return self.stages.features(images, image_sizes, training, head=False).rpn

    def proposer(self, config: ProposalConfig) -> keras.Model:
        """Make a model of the first stage with other options.

        Args:
            config: how many proposals to keep, and which.

        Returns:
            A model: images [B, N_h, N_w, 3] at network size and image_sizes [B, 2] -> proposals in pixels of the
            network input, as `ProposalLayer` returns.
        """
        images, image_sizes = self.network.inputs
        layer = ProposalLayer(config, self.kernels, name="proposals")
        proposals = self.stages.first_stage(images, image_sizes, layer)
        return no_autocast(keras.Model([images, image_sizes], proposals, name="proposer"))

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "config": self.config.to_dict(),
            "kernels": self.kernels.name,
            "precision": self.dtype_policy.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> FasterRCNN:
        """Make the detector from `get_config`, or from a file that tfrcnn 0.1 saved."""
        config = dict(config)
        if "roi_align" in config:
            config["kernels"] = RENAMED[config.pop("roi_align")]
        return cls(**config)


def _extractor(
    config: DetectorConfig,
    weights: str | Path,
    kernels: Kernels,
    custom: BackboneSpec | keras.Model | None,
    prefix: str = "",
) -> tuple[Backbone, Extractor]:
    """Build a backbone, with its pyramid if the detector has one; `prefix` distinguishes the RPN's layers."""
    backbone = build_backbone(config.backbone, weights, config.image, f"{prefix}backbone", custom)
    fpn = FeaturePyramid(config.fpn, backbone.strides, kernels, name=f"{prefix}fpn") if config.fpn else None
    return backbone, Extractor(backbone.model, fpn)


def _stages(
    config: DetectorConfig,
    strides: tuple[int, ...],
    extractor: Extractor,
    rpn_extractor: Extractor | None,
    kernels: Kernels,
) -> tuple[Stages, tuple[int, ...]]:
    """Make the layers behind a backbone of these strides; return the strides of the anchors' levels too."""
    head, names = config.head, config.names
    level_strides = (*strides, 2 * strides[-1]) if config.fpn else strides[-1:]
    if len(config.anchors.sizes) != len(level_strides):
        expected = f"one entry for each of the {len(level_strides)} levels of {config.backbone.name}"
        raise InputError(f"AnchorConfig.sizes must have {expected}, found {len(config.anchors.sizes)}")
    roi_strides = _pooled_strides(strides) if config.fpn else strides[-1:]
    stages = Stages(
        normalizer=Normalizer(config.image, kernels, name="normalizer"),
        extractor=extractor,
        rpn_extractor=rpn_extractor,
        rpn_head=RPNHead(config.rpn, config.anchors.per_cell, name="rpn_head"),
        anchor_generator=AnchorGenerator(config.anchors, level_strides, name="anchors"),
        proposal_layer=ProposalLayer(config.test_proposals, kernels, name="proposals"),
        roi_pooling=make_pooling(config, roi_strides, kernels),
        pooled_levels=len(roi_strides),
        box_head=BoxHead(head, config.num_classes, name="box_head"),
        box_refiner=BoxRefiner(head, name="box_refiner"),
        decoder=DetectionDecoder(
            config.detections, head.stages[-1].box_weights, kernels, head.class_loss.scores, names, name="decoder"
        ),
        cascade=CascadeHeads(head, config.num_classes, name="cascade") if head.cascade else None,
    )
    return stages, level_strides


def make_pooling(config: DetectorConfig, strides: tuple[int, ...], kernels: Kernels) -> keras.layers.Layer:
    """Make the layer that `HeadConfig.pooling` names: RoIAlign, RoIPool, or a Keras layer that is registered.

    A layer of yours is constructed as `Layer(config.head, strides, name="roi_pooling")` and called as `RoIAlign`:
    feature maps [B, H_l, W_l, C] per level and boxes [B, P, 4] -> [B, P, pool_size, pool_size, channels].

    Args:
        config: the detector.
        strides: pixels of the network input per cell of each level that boxes are pooled from, finest first.
        kernels: for RoIAlign and RoIPool.

    Raises:
        InputError: RoIPool after a feature pyramid, or a layer that is not registered.

    Example:
        @keras.saving.register_keras_serializable(package="mine")
        class MeanPool(keras.layers.Layer): ...

        head = tfrcnn.HeadConfig(pooling="mine>MeanPool")
    """
    name = config.head.pooling
    if name == "roi_pool" and config.fpn:
        raise InputError(
            "HeadConfig.pooling 'roi_pool' takes boxes from one feature map: expected DetectorConfig.fpn None, or "
            "'roi_align' with a feature pyramid, found both"
        )
    if name in POOLINGS:
        return POOLINGS[name](config.head, strides, kernels, name=name)
    layer = keras.saving.get_registered_object(name)
    if layer is None:
        raise InputError(
            f"HeadConfig.pooling {name!r} is not a registered Keras layer: import the module that defines it"
        )
    return layer(config.head, strides, name="roi_pooling")


def _pooled_strides(strides: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of the levels that boxes are pooled from: one map per stride, as torchvision's pooler counts them.

    Two maps of its MobileNetV3 have stride 32. Boxes are pooled from the first; the other serves the RPN alone.
    """
    return strides[: int(math.log2(strides[-1] // strides[0])) + 1]
