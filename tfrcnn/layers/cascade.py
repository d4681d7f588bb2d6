"""The stages of a Cascade R-CNN after the first (Cai and Vasconcelos, arXiv 1712.00726).

Legend: B batch, P regions, C classes.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrcnn import boxes as box_ops
from tfrcnn.config import HeadConfig
from tfrcnn.layers.base import ConfiguredLayer, GeometryLayer, register
from tfrcnn.layers.box_head import BoxHead


@register
class CascadeHeads(ConfiguredLayer[HeadConfig]):
    """The box heads of the stages after the first, each with weights that it does not share.

    Attributes:
        heads: the `BoxHead` of each stage after the first.

    Example:
        config = HeadConfig(class_agnostic=True, cascade=CascadeConfig())
        class_logits, deltas = CascadeHeads(config, num_classes=20)(roi_features, stage=1)
    """

    config_class = HeadConfig

    def __init__(self, config: HeadConfig | dict[str, Any], num_classes: int, **kwargs: Any) -> None:
        """
        Args:
            config: the head, with its cascade.
            num_classes: C, without the background.
        """
        super().__init__(config, **kwargs)
        self.num_classes = num_classes
        self.heads = [
            BoxHead(stage, num_classes, dtype=self.dtype_policy, name=f"box_head_{number}")
            for number, stage in enumerate(self.config.stages[1:], start=2)
        ]

    def build(self, roi_features_shape: tuple[int, ...]) -> None:
        for head in self.heads:
            head.build(roi_features_shape)
        super().build(roi_features_shape)

    def call(self, roi_features: tf.Tensor, stage: int, training: bool | None = None) -> tuple[tf.Tensor, tf.Tensor]:
        """
        Args:
            roi_features: [B, P, p, p, channels].
            stage: 1 for the second, and so on.
            training: whether batch norm and dropout run as in training.

        Returns:
            class_logits: [B, P, C + 1] float32.
            deltas: [B, P, 1, 4] float32.
        """
        outputs: tuple[tf.Tensor, tf.Tensor] = self.heads[stage - 1](roi_features, training=training)
        return outputs

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_classes": self.num_classes}


@register
class BoxRefiner(GeometryLayer[HeadConfig]):
    """Move the regions of a stage to the boxes that it predicts: they are the regions of the next stage.

    No gradient passes.

    Args:
        config: the head, with the box weights of each stage.

    Example:
        boxes = BoxRefiner(config)(deltas, proposals["boxes"], image_sizes, stage=0)
    """

    config_class = HeadConfig

    def call(self, deltas: tf.Tensor, boxes: tf.Tensor, image_sizes: tf.Tensor, stage: int) -> tf.Tensor:
        """
        Args:
            deltas: [B, P, 1, 4] of the stage's head.
            boxes: [B, P, 4] yxyx pixels, the stage's regions.
            image_sizes: [B, 2] (h, w); boxes are clipped to it.
            stage: 0 for the first.

        Returns:
            [B, P, 4]; some may be empty.
        """
        refined = box_ops.decode(deltas[:, :, 0], boxes, self.config.stages[stage].box_weights)
        return tf.stop_gradient(box_ops.clip(refined, image_sizes))
