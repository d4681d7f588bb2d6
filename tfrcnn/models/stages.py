"""The stages of a detector, from images at network size to detections; figure 2 of the paper.

Everyone who runs a part of a detector runs it from here: the assembly, training, proposals, exports, benchmarks.

Legend: B batch, A anchors, P proposals, p pool_size, C classes, D max_detections.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import keras
import tensorflow as tf

from tfrcnn.layers import (
    AnchorGenerator,
    BoxHead,
    BoxRefiner,
    CascadeHeads,
    DetectionDecoder,
    Normalizer,
    ProposalLayer,
    RPNHead,
)
from tfrcnn.models.fpn import FeaturePyramid


class Features(NamedTuple):
    """The feature maps of both stages.

    Attributes:
        pixels: [B, N_h, N_w, 3] normalised images.
        head: per level [B, rows, columns, channels], finest first; boxes are pooled from them. Empty if skipped.
        rpn: per level, the maps that the RPN sees: the same list, if the detector shares features.
    """

    pixels: tf.Tensor
    head: list[tf.Tensor]
    rpn: list[tf.Tensor]


class RPNOutputs(NamedTuple):
    """The RPN's outputs for every anchor.

    Attributes:
        logits: per level [B, A_l].
        deltas: per level [B, A_l, 4].
        anchors: per level [A_l, 4] yxyx pixels.
    """

    logits: list[tf.Tensor]
    deltas: list[tf.Tensor]
    anchors: list[tf.Tensor]


class HeadOutputs(NamedTuple):
    """What the box head computes; with a cascade, one item per stage.

    Attributes:
        pooled: [B, P, p, p, channels] features.
        class_logits: [B, P, C + 1].
        deltas: [B, P, C, 4]; [B, P, 1, 4] if class-agnostic.
        proposals: the regions, as `Stages.propose` returns; a later stage has the boxes of the stage before.
    """

    pooled: list[tf.Tensor]
    class_logits: list[tf.Tensor]
    deltas: list[tf.Tensor]
    proposals: list[dict[str, tf.Tensor]]


@dataclass(frozen=True)
class Extractor:
    """Normalised images -> feature maps.

    Attributes:
        backbone: the convolutional network.
        fpn: the pyramid on its maps; None uses the backbone's last map.
    """

    backbone: keras.Model
    fpn: FeaturePyramid | None

    def __call__(self, pixels: tf.Tensor, training: bool | None = None) -> list[tf.Tensor]:
        """
        Args:
            pixels: [B, N_h, N_w, 3].
            training: None leaves it to Keras. A frozen backbone runs as in detection, without dropout.

        Returns:
            per level [B, rows, columns, channels], finest first.
        """
        if training is not None:
            training = training and self.backbone.trainable
        features = tf.nest.flatten(self.backbone(pixels, training=training))  # Keras unpacks a list of one map
        return list(self.fpn(features, training=training)) if self.fpn else features[-1:]


@dataclass(frozen=True)
class Stages:
    """The layers of a detector, and the way of the data through them.

    Attributes:
        extractor: the feature maps of the box head; of the RPN too, if the detector shares features.
        rpn_extractor: the RPN's, or None if the detector shares features.
        pooled_levels: how many levels boxes are pooled from, the finest first.
        box_head: the head of the first stage; the only one without a cascade.
        cascade: the heads of the stages after the first, or None.

    Example:
        stages = detector.stages
        features = stages.features(images, image_sizes, training=False)
        proposals = stages.propose(stages.rpn(features.rpn, images), image_sizes)
        outputs = stages.second_stage(features.head, proposals, image_sizes, training=False)
        detections = stages.decode(outputs.class_logits, outputs.deltas[-1], outputs.proposals[-1], image_sizes)
    """

    normalizer: Normalizer
    extractor: Extractor
    rpn_extractor: Extractor | None
    rpn_head: RPNHead
    anchor_generator: AnchorGenerator
    proposal_layer: ProposalLayer
    roi_pooling: keras.layers.Layer
    pooled_levels: int
    box_head: BoxHead
    box_refiner: BoxRefiner
    decoder: DetectionDecoder
    cascade: CascadeHeads | None = None

    @property
    def heads(self) -> tuple[BoxHead, ...]:
        """The box heads that run one after another: a single one without a cascade."""
        return (self.box_head, *(self.cascade.heads if self.cascade else ()))

    def features(
        self, images: tf.Tensor, image_sizes: tf.Tensor, training: bool | None = None, head: bool = True
    ) -> Features:
        """Normalise images and compute feature maps.

        Args:
            images: [B, N_h, N_w, 3] at network size, RGB 0..255.
            image_sizes: [B, 2] (h, w) inside the padding.
            training: see `Extractor`.
            head: False skips the maps that only the box head uses.

        Returns:
            The feature maps of both stages.
        """
        pixels = self.normalizer(images, image_sizes)
        if self.rpn_extractor is None:
            shared = self.extractor(pixels, training)
            return Features(pixels, shared, shared)
        return Features(pixels, self.extractor(pixels, training) if head else [], self.rpn_extractor(pixels, training))

    def rpn(self, features: list[tf.Tensor], images: tf.Tensor) -> RPNOutputs:
        """Run the RPN's head.

        Args:
            features: `Features.rpn`.
            images: [B, N_h, N_w, 3]; only the shape matters.
        """
        logits, deltas = self.rpn_head(features)
        return RPNOutputs(logits, deltas, self.anchor_generator(features, images))

    def propose(
        self, rpn: RPNOutputs, image_sizes: tf.Tensor, layer: ProposalLayer | None = None
    ) -> dict[str, tf.Tensor]:
        """Choose proposals.

        Args:
            rpn: from `rpn`.
            image_sizes: [B, 2] (h, w).
            layer: other options of the choice; None takes the detector's for detection.

        Returns:
            boxes [B, P, 4], scores [B, P] and valid [B, P], as `ProposalLayer` returns.
        """
        layer = layer or self.proposal_layer
        proposals: dict[str, tf.Tensor] = layer(rpn.logits, rpn.deltas, rpn.anchors, image_sizes)
        return proposals

    def first_stage(
        self, images: tf.Tensor, image_sizes: tf.Tensor, layer: ProposalLayer, training: bool | None = None
    ) -> dict[str, tf.Tensor]:
        """Run everything before the box head; arguments as `features` and `propose`, result as `propose`."""
        features = self.features(images, image_sizes, training, head=False)
        return self.propose(self.rpn(features.rpn, images), image_sizes, layer)

    def pool(self, features: Sequence[tf.Tensor], boxes: tf.Tensor) -> tf.Tensor:
        """Pool boxes [B, P, 4] from `Features.head`: [B, P, p, p, channels]."""
        return self.roi_pooling(features[: self.pooled_levels], boxes)

    def classify(
        self, roi_features: tf.Tensor, training: bool | None = None, stage: int = 0
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Run the box head of a stage.

        Args:
            roi_features: [B, P, p, p, channels].
            training: None leaves it to Keras.
            stage: of the cascade, 0 for the first.

        Returns:
            class_logits: [B, P, C + 1].
            deltas: [B, P, C, 4]; [B, P, 1, 4] if class-agnostic.
        """
        outputs: tuple[tf.Tensor, tf.Tensor]
        if stage and self.cascade:
            outputs = self.cascade(roi_features, stage=stage, training=training)
        else:
            outputs = self.box_head(roi_features, training=training)
        return outputs

    def refine(self, deltas: tf.Tensor, boxes: tf.Tensor, image_sizes: tf.Tensor, stage: int) -> tf.Tensor:
        """Return the regions [B, P, 4] of the stage after `stage`; arguments as `BoxRefiner`."""
        return self.box_refiner(deltas, boxes, image_sizes, stage=stage)

    def second_stage(
        self,
        features: Sequence[tf.Tensor],
        proposals: dict[str, tf.Tensor],
        image_sizes: tf.Tensor,
        training: bool | None = None,
    ) -> HeadOutputs:
        """Pool and classify the proposals; in a cascade, do so again with the boxes that each stage predicts.

        Args:
            features: `Features.head`.
            proposals: from `propose`.
            image_sizes: [B, 2] (h, w).
            training: None leaves it to Keras.

        Returns:
            The outputs of each stage.
        """
        outputs = HeadOutputs([], [], [], [])
        for stage in range(len(self.heads)):
            if stage:
                boxes = self.refine(outputs.deltas[-1], proposals["boxes"], image_sizes, stage - 1)
                proposals = {**proposals, "boxes": boxes}
            outputs.proposals.append(proposals)
            outputs.pooled.append(self.pool(features, proposals["boxes"]))
            class_logits, deltas = self.classify(outputs.pooled[-1], training, stage)
            outputs.class_logits.append(class_logits)
            outputs.deltas.append(deltas)
        return outputs

    def decode(
        self,
        class_logits: tf.Tensor | Sequence[tf.Tensor],
        deltas: tf.Tensor,
        proposals: dict[str, tf.Tensor],
        image_sizes: tf.Tensor,
        from_logits: bool = True,
    ) -> dict[str, tf.Tensor]:
        """Turn the box head's outputs into detections.

        Args:
            class_logits: [B, P, C + 1], background last, or a list with those of each stage, whose scores are averaged;
                probabilities if `from_logits` is False.
            deltas: of the last stage, [B, P, C, 4] or [B, P, 1, 4].
            proposals: of the last stage.
            image_sizes: [B, 2] (h, w).
            from_logits: whether to compute scores from them, see `DetectionDecoder.scores_of`.

        Returns:
            boxes [B, D, 4] in pixels of the network input, scores, labels and num_detections, as `DetectionDecoder`
            returns.
        """
        detections: dict[str, tf.Tensor] = self.decoder(
            class_logits, deltas, proposals["boxes"], proposals["valid"], image_sizes, from_logits=from_logits
        )
        return detections

    def detect(self, images: tf.Tensor, image_sizes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Run all stages: images [B, N_h, N_w, 3] and image_sizes [B, 2] -> detections, as `decode` returns."""
        features = self.features(images, image_sizes)
        proposals = self.propose(self.rpn(features.rpn, images), image_sizes)
        outputs = self.second_stage(features.head, proposals, image_sizes)
        return self.decode(outputs.class_logits, outputs.deltas[-1], outputs.proposals[-1], image_sizes)
