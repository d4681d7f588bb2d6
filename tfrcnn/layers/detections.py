"""Detections: the box head's output as the final list of boxes.

Legend: B batch, P proposals, C classes, D = max_detections.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfrcnn import boxes as box_ops
from tfrcnn.config import DetectionConfig
from tfrcnn.config_base import Config
from tfrcnn.layers.base import GeometryLayer, register
from tfrcnn.layers.nms import batched_nms

# Marks the boxes that take no part in NMS and the empty slots of the result; all scores are at least 0.
ABSENT = -1.0


@register
class DetectionDecoder(GeometryLayer[DetectionConfig]):
    """Softmax, score threshold, decode by the class, clip, NMS within each class, the best D of all classes."""

    config_class: type[Config] = DetectionConfig

    def __init__(
        self,
        config: DetectionConfig | dict[str, Any],
        box_weights: tuple[float, ...] | list[float],
        nms: str = "combined",
        **kwargs: Any,
    ) -> None:
        """
        Args:
            box_weights: (y, x, h, w) that the head's deltas were multiplied with.
            nms: implementation, see `tfrcnn.layers.nms.batched_nms`.
        """
        super().__init__(config, **kwargs)
        self.box_weights = tuple(box_weights)
        self.nms = nms
        self.supports_jit = nms != "combined"

    def call(
        self,
        class_logits: tf.Tensor,
        deltas: tf.Tensor,
        proposals: tf.Tensor,
        valid: tf.Tensor,
        image_sizes: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """
        Args:
            class_logits: [B, P, C + 1], background last.
            deltas: [B, P, C, 4].
            proposals: [B, P, 4] yxyx pixels; valid: [B, P] bool.
            image_sizes: [B, 2] (h, w), what boxes are clipped to.

        Returns:
            boxes [B, D, 4] yxyx pixels of the network input, scores [B, D] in (0, 1) descending, labels [B, D] int32 in
            0..C-1, num_detections [B] int32. Slots from num_detections on hold zeros.
        """
        scores = tf.nn.softmax(class_logits)[..., :-1]
        return self.from_scores(scores, deltas, proposals, valid, image_sizes)

    def from_scores(
        self, scores: tf.Tensor, deltas: tf.Tensor, proposals: tf.Tensor, valid: tf.Tensor, image_sizes: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """As `call`, of the classes' probabilities [B, P, C]."""
        config, limit = self.config, self.config.max_detections
        batch, count, classes, images = tf.shape(deltas)[0], tf.shape(deltas)[1], deltas.shape[2], scores.shape[0]
        # [B, P, C] -> one set of scores for each image and class
        scores = tf.where(valid[..., None] & (scores > config.score_threshold), scores, ABSENT)
        scores = tf.reshape(tf.transpose(scores, [0, 2, 1]), [batch * classes, count])
        if images is not None:  # so that NMS knows its sets
            scores = tf.ensure_shape(scores, [images * classes, None])
        scores, order = tf.math.top_k(scores, k=self._candidates(scores))
        looked_at = tf.shape(scores)[1]
        boxes = self._decode(tf.reshape(order, [batch, classes, looked_at]), deltas, proposals, image_sizes)
        boxes = tf.ensure_shape(tf.reshape(boxes, [batch * classes, looked_at, 4]), [*scores.shape, 4])
        large = tf.reduce_all(boxes[..., 2:] - boxes[..., :2] >= config.min_size, axis=-1)
        kept, counts = batched_nms(boxes, large & (scores > ABSENT), limit, config.nms_iou, self.nms)
        present = tf.range(limit)[None] < counts[:, None]
        scores = tf.where(present, tf.gather(scores, kept, batch_dims=1), ABSENT)
        boxes = tf.gather(boxes, kept, batch_dims=1)

        # the best D of each image's classes
        scores, order = tf.math.top_k(tf.reshape(scores, [batch, classes * limit]), k=limit)
        boxes = tf.gather(tf.reshape(boxes, [batch, classes * limit, 4]), order, batch_dims=1)
        present = scores > ABSENT
        return {
            "boxes": tf.where(present[..., None], boxes, 0.0),
            "scores": tf.where(present, scores, 0.0),
            "labels": tf.where(present, order // limit, 0),
            "num_detections": tf.reduce_sum(tf.cast(present, tf.int32), axis=1),
        }

    def _candidates(self, scores: tf.Tensor) -> tf.Tensor:
        """How many of each set [S, P], the best first, are looked at: no more than some set has, a few of a thousand
        in a trained detector. All of them where a graph wants to know their number beforehand."""
        count = tf.shape(scores)[1]
        if self.nms != "combined":
            return count
        present = tf.reduce_sum(tf.cast(scores > ABSENT, tf.int32), axis=1)
        return tf.clip_by_value(tf.reduce_max(present), 1, count)  # the slots that are left empty point to the first

    def _decode(self, order: tf.Tensor, deltas: tf.Tensor, proposals: tf.Tensor, image_sizes: tf.Tensor) -> tf.Tensor:
        """Boxes [B, C K, 4] of the proposals order [B, C, K], each by the deltas for its class."""
        batch, count, classes = tf.shape(deltas)[0], tf.shape(deltas)[1], deltas.shape[2]
        each = [batch, classes * tf.shape(order)[2]]
        rows = tf.reshape(order * classes + tf.range(classes)[:, None], each)
        deltas = tf.gather(tf.reshape(deltas, [batch, count * classes, 4]), rows, batch_dims=1)
        anchors = tf.gather(proposals, tf.reshape(order, each), batch_dims=1)
        return box_ops.clip(box_ops.decode(deltas, anchors, self.box_weights), image_sizes)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "box_weights": list(self.box_weights), "nms": self.nms}


@register
class DetectionRescaler(keras.layers.Layer):
    """Detections in pixels of the network input -> pixels of the original images."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})  # geometry, see `GeometryLayer`

    def call(
        self, detections: dict[str, tf.Tensor], image_sizes: tf.Tensor, original_sizes: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """`detections` as of `DetectionDecoder`; sizes [B, 2] (h, w) and (H, W): boxes times H / h and W / w."""
        ratio = tf.tile(original_sizes / image_sizes, [1, 2])[:, None]
        return {**detections, "boxes": detections["boxes"] * ratio}
