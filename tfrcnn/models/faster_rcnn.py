"""Faster R-CNN: images -> detections, assembled from the layers as a Keras functional model.

Reads as figure 2 of the paper: backbone -> (feature pyramid) -> region proposal network -> proposals -> RoI pooling ->
box head -> detections. There is nothing about ground truth here; see `tfrcnn.training` for that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfrcnn.config import DetectorConfig, ProposalConfig
from tfrcnn.errors import InputError
from tfrcnn.layers import (
    AnchorGenerator,
    BoxHead,
    DetectionDecoder,
    DetectionRescaler,
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


@register
class FasterRCNN(keras.Model):
    """A detector: images [B, H, W, 3], RGB 0..255, any size -> detections in pixels of those images.

    Outputs (D = config.detections.max_detections):
        boxes [B, D, 4] float32: [y1, x1, y2, x2] in pixels of the images as given, within them.
        scores [B, D] float32: in (0, 1), descending.
        labels [B, D] int32: 0..C-1, positions in `config.categories`.
        num_detections [B] int32: slots from there on hold zeros.

    `network` is the part behind the preprocessing: (images already at network size and padded, their image_sizes [B,
    2]) -> the same detections in pixels of the network input. Batches of images of several sizes go through it.

    `weights_note` says which layers of a VGG-16's box head the backbone's weights came with, if weights were asked for.

    `backbone_spec` is the spec of a backbone that was passed by `backbone=`, and None otherwise.

    Without `config.shared_features` the RPN has `rpn_backbone` and `rpn_fpn` of its own, which are None otherwise.
    """

    def __init__(
        self,
        config: DetectorConfig | dict[str, Any],
        backbone_weights: str | Path = "none",
        roi_align: str = "crop_and_resize",
        precision: str = "float32",
        backbone: BackboneSpec | keras.Model | None = None,
        **kwargs: Any,
    ) -> None:
        """
        Args:
            config: the detector; a dict is read by `DetectorConfig.from_dict`.
            backbone_weights: "none", "imagenet" or a file, see `build_backbone`; behind VGG-16 the box head takes its
                fully connected layers from them too, see `BackboneSpec.load_head`.
            roi_align: implementation of `RoIAlign`, where the head has that; with any but "crop_and_resize" all layers
                take operators that XLA and TFLite have, NMS too.
            precision: dtype policy, "float32", "mixed_bfloat16" or "mixed_float16"; geometry stays float32.
            backbone: A backbone that is not registered under `config.backbone.name`.

        Raises:
            InputError: no categories, an unknown backbone or weights, preprocessing that is not that of the ImageNet
                weights, anchors that do not fit the levels, RoIPool behind a feature pyramid.
        """
        if isinstance(config, dict):
            config = DetectorConfig.from_dict(config)
        if not config.categories:
            raise InputError("DetectorConfig.categories must name at least one category, found none")
        with _dtype_policy(precision):
            self._assemble(config, backbone_weights, roi_align, backbone, kwargs)

    def _assemble(
        self,
        config: DetectorConfig,
        backbone_weights: str | Path,
        roi_align: str,
        custom: BackboneSpec | keras.Model | None,
        kwargs: Any,
    ) -> None:
        # === Layers ===
        preprocessor = Preprocessor(config.image, name="preprocessor")
        normalizer = Normalizer(config.image, name="normalizer")
        backbone, fpn = _extractor(config, backbone_weights, custom)
        own = None if config.shared_features else _extractor(config, backbone_weights, custom, "rpn_")
        level_strides = (*backbone.strides, 2 * backbone.strides[-1]) if fpn else backbone.strides[-1:]
        if len(config.anchors.sizes) != len(level_strides):
            expected = f"one entry for each of the {len(level_strides)} levels of {config.backbone.name}"
            raise InputError(f"AnchorConfig.sizes must have {expected}, found {len(config.anchors.sizes)}")
        anchor_generator = AnchorGenerator(config.anchors, level_strides, name="anchors")
        rpn_head = RPNHead(config.rpn, config.anchors.per_cell, name="rpn_head")
        nms = "combined" if roi_align == "crop_and_resize" else "padded"  # what XLA and TFLite take
        proposal_layer = ProposalLayer(config.test_proposals, nms, name="proposals")
        roi_strides = _pooled_strides(backbone.strides) if fpn else backbone.strides[-1:]
        roi_pooling = _roi_pooling(config, roi_strides, roi_align)
        box_head = BoxHead(config.head, config.num_classes, name="box_head")
        decoder = DetectionDecoder(config.detections, config.head.box_weights, nms, name="decoder")

        # === Functional model ===
        size = config.image.static_size or (None, None)
        images = keras.Input((*size, 3), name="images", dtype="float32")
        image_sizes = keras.Input((2,), name="image_sizes", dtype="float32")
        pixels = normalizer(images, image_sizes)
        features = _features(backbone.model, fpn, pixels)
        rpn_features = _features(own[0].model, own[1], pixels) if own else features
        logits, deltas = rpn_head(rpn_features)
        anchors = anchor_generator(rpn_features, images)
        proposals = proposal_layer(logits, deltas, anchors, image_sizes)
        roi_features = roi_pooling(features[: len(roi_strides)], proposals["boxes"])
        class_logits, box_deltas = box_head(roi_features)
        detections = decoder(class_logits, box_deltas, proposals["boxes"], proposals["valid"], image_sizes)
        # autocast=False: sizes must not be rounded to the 8 bits of bfloat16 on their way in
        network = keras.Model([images, image_sizes], detections, name="network", autocast=False)

        raw = keras.Input((None, None, 3), name="images", dtype="float32")
        prepared = preprocessor(raw)
        detections = network([prepared["images"], prepared["image_sizes"]])
        detections = DetectionRescaler(name="rescaler")(detections, prepared["image_sizes"], prepared["original_sizes"])
        super().__init__(inputs=raw, outputs=detections, **{"name": "faster_rcnn", "autocast": False, **kwargs})

        # === Config ===
        self.config = config
        # Keras' jit_compile="auto" must not choose XLA for images of many sizes: each would be compiled anew
        self.supports_jit = config.image.static_size is not None
        self.network = network
        self.normalizer = normalizer
        self.backbone, self.backbone_stages = backbone.model, backbone.stages
        self.backbone_spec = None if custom is None else backbone.spec
        self.fpn = fpn
        self.rpn_backbone = own[0].model if own else None
        self.rpn_fpn = own[1] if own else None
        self.rpn_head = rpn_head
        self.anchor_generator = anchor_generator
        self.proposal_layer = proposal_layer
        self.roi_pooling = roi_pooling
        self.roi_align_implementation = roi_align
        self.box_head = box_head
        self.decoder = decoder
        self.rescaler = self.get_layer("rescaler")
        self.level_strides = level_strides
        self.weights_note = backbone.spec.load_head(box_head, backbone_weights)

    def extract_features(
        self, images: tf.Tensor, image_sizes: tf.Tensor, training: bool | None = None
    ) -> list[tf.Tensor]:
        """Feature maps of network-sized images [B, N_h, N_w, 3] with image_sizes [B, 2]: one a level, finest first.

        They are those of the box head, and of the RPN too where it has none of its own.
        """
        return _features(self.backbone, self.fpn, self.normalizer(images, image_sizes), training)

    def extract_rpn_features(
        self, images: tf.Tensor, image_sizes: tf.Tensor, training: bool | None = None
    ) -> list[tf.Tensor]:
        """The feature maps that the RPN sees, as of `extract_features`, of which they are a repetition where shared."""
        if self.config.shared_features:
            return self.extract_features(images, image_sizes, training)
        return _features(self.rpn_backbone, self.rpn_fpn, self.normalizer(images, image_sizes), training)

    def proposer(self, config: ProposalConfig) -> keras.Model:
        """The detector's first stage with other options of its proposals: network-sized images [B, N_h, N_w, 3] and
        image_sizes [B, 2] -> proposals as of `ProposalLayer`, in pixels of the network input."""
        anchors, outputs = (tf.nest.flatten(self.network.get_layer(name).output) for name in ("anchors", "rpn_head"))
        logits, deltas = outputs[: len(anchors)], outputs[len(anchors) :]
        proposals = ProposalLayer(config, self.proposal_layer.nms, name="proposals")(
            logits, deltas, anchors, self.network.inputs[1]
        )
        return keras.Model(self.network.inputs, proposals, name="proposer", autocast=False)

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "config": self.config.to_dict(),
            "roi_align": self.roi_align_implementation,
            "precision": self.dtype_policy.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> FasterRCNN:
        return cls(**config)


def _extractor(
    config: DetectorConfig, weights: str | Path, custom: BackboneSpec | keras.Model | None, prefix: str = ""
) -> tuple[Backbone, FeaturePyramid | None]:
    """What makes feature maps of pixels; `prefix` tells the RPN's own from the box head's."""
    backbone = build_backbone(config.backbone, weights, config.image, f"{prefix}backbone", custom)
    return backbone, FeaturePyramid(config.fpn, backbone.strides, name=f"{prefix}fpn") if config.fpn else None


def _features(
    backbone: keras.Model, fpn: FeaturePyramid | None, pixels: tf.Tensor, training: bool | None = None
) -> list[tf.Tensor]:
    """Normalised pixels -> feature maps, one a level, finest first; without a pyramid the backbone's last."""
    features = tf.nest.flatten(backbone(pixels, training=training))  # Keras unpacks a list of one map
    return fpn(features, training=training) if fpn else features[-1:]


def _roi_pooling(config: DetectorConfig, strides: tuple[int, ...], roi_align: str) -> RoIAlign | RoIPool:
    if config.head.pooling == "roi_align":
        return RoIAlign(config.head, strides, roi_align, name="roi_align")
    if config.fpn:
        raise InputError(
            "HeadConfig.pooling 'roi_pool' takes boxes from one feature map: expected DetectorConfig.fpn None, or "
            "'roi_align' with a feature pyramid, found both"
        )
    return RoIPool(config.head, strides, name="roi_pool")


def _pooled_strides(strides: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of the levels that boxes are pooled from: one map a stride, as torchvision's pooler counts them. Of the
    two maps of its MobileNetV3, both at stride 32, that is the first; the other serves the RPN alone."""
    return strides[: int(math.log2(strides[-1] // strides[0])) + 1]


@contextmanager
def _dtype_policy(name: str) -> Iterator[None]:
    """Layers made within, keras.applications' too, get this policy."""
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.mixed_precision.set_dtype_policy(before)
