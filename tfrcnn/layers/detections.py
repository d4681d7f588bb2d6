"""Detections: the box head's output as the final list of boxes.

Legend: B batch, P proposals, C classes, S = B C sets of one image and class, K candidates per set, M candidates per
image, D = max_detections.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfrcnn import boxes as box_ops
from tfrcnn.config import DetectionConfig
from tfrcnn.deprecation import warn_deprecated
from tfrcnn.kernels import ABSENT, Kernels
from tfrcnn.layers.base import GeometryLayer, KernelLayer, register, spec
from tfrcnn.layers.suppression import soft_nms, weighted_fusion

# Pairs of a proposal and a class per image that compete in every NMS but the hard one of each class. A trained detector
# has a few hundred above its score threshold.
MAX_CANDIDATES = 2000


@register
class DetectionDecoder(KernelLayer[DetectionConfig], GeometryLayer[DetectionConfig]):
    """Scores, score threshold, decode for each class, clip, NMS, then the best D of all classes.

    NMS is hard and within each class, or as `DetectionConfig.nms` and `class_agnostic_nms` say. The scores of the
    stages of a cascade are averaged.

    Example:
        decoder = DetectionDecoder(DetectionConfig(), box_weights=(10, 10, 5, 5))
        detections = decoder(class_logits, deltas, proposals["boxes"], proposals["valid"], image_sizes)
    """

    config_class = DetectionConfig

    def __init__(
        self,
        config: DetectionConfig | dict[str, Any],
        box_weights: tuple[float, ...] | list[float],
        kernels: Kernels | str = "tensorflow",
        scores: str = "softmax",
        names: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        """
        Args:
            config: thresholds, and how many detections to keep.
            box_weights: (y, x, h, w), the factors in the head's deltas.
            kernels: a set of kernels or its name, see `tfrcnn.kernels`.
            scores: "softmax" or "sigmoid", see `ClassLossConfig.scores`.
            names: of the C classes, for `config.class_score_thresholds`; not needed without these.

        Raises:
            InputError: no set of kernels has this name, or no class has the name of a threshold.
        """
        super().__init__(config, kernels, **kwargs)
        self.box_weights = tuple(box_weights)
        self.scores = scores
        self.names = tuple(names)
        self.config.check_names(self.names)

    def call(
        self,
        class_logits: tf.Tensor | Sequence[tf.Tensor],
        deltas: tf.Tensor,
        proposals: tf.Tensor,
        valid: tf.Tensor,
        image_sizes: tf.Tensor,
        from_logits: bool = True,
    ) -> dict[str, tf.Tensor]:
        """
        Args:
            class_logits: [B, P, C + 1], background last, or a list with those of each stage of a cascade; probabilities
                if `from_logits` is False.
            deltas: [B, P, C, 4], or [B, P, 1, 4] for all classes.
            proposals: [B, P, 4] yxyx pixels, which the deltas are relative to.
            valid: [B, P] bool.
            image_sizes: [B, 2] (h, w); boxes are clipped to it.
            from_logits: whether to apply `scores_of`.

        Returns:
            A dict, zero in the slots from num_detections on:
                boxes: [B, D, 4] yxyx pixels of the network input.
                scores: [B, D] in (0, 1), descending.
                labels: [B, D] int32 in 0..C-1.
                num_detections: [B] int32.
        """
        stages = [self.scores_of(x) if from_logits else x for x in tf.nest.flatten(class_logits)]
        scores = (stages[0] if len(stages) == 1 else tf.add_n(stages) / len(stages))[..., :-1]
        scores = tf.where(valid[..., None] & (scores > self._thresholds()), scores, ABSENT)
        hard = self.config.nms == "hard" and not self.config.class_agnostic_nms
        select = self._best_of_classes if hard else self._best_of_image
        boxes, scores, labels = select(scores, deltas, proposals, image_sizes)
        present = scores > ABSENT
        return {
            "boxes": tf.where(present[..., None], boxes, 0.0),
            "scores": tf.where(present, scores, 0.0),
            "labels": tf.where(present, labels, 0),
            "num_detections": tf.reduce_sum(tf.cast(present, tf.int32), axis=1),
        }

    def compute_output_spec(self, class_logits: Any, deltas: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        batch, limit = deltas.shape[0], self.config.max_detections
        return {
            "boxes": spec(batch, limit, 4),
            "scores": spec(batch, limit),
            "labels": spec(batch, limit, dtype="int32"),
            "num_detections": spec(batch, dtype="int32"),
        }

    def _best_of_classes(
        self, scores: tf.Tensor, deltas: tf.Tensor, proposals: tf.Tensor, image_sizes: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """NMS within each class: boxes [B, D, 4], scores and labels [B, D] from scores [B, P, C]."""
        config, limit = self.config, self.config.max_detections
        batch, count, classes, images = tf.shape(deltas)[0], tf.shape(deltas)[1], scores.shape[2], scores.shape[0]
        # [B, P, C] -> one set of scores for each image and class
        scores = tf.reshape(tf.transpose(scores, [0, 2, 1]), [batch * classes, count])
        if images is not None:  # NMS can then count its sets
            scores = tf.ensure_shape(scores, [images * classes, None])
        scores, order = tf.math.top_k(scores, k=self._candidates(scores))
        candidates = tf.shape(scores)[1]
        order = tf.reshape(order, [batch, classes, candidates])
        each = deltas.shape[2]
        rows = tf.reshape(order * each + tf.range(each)[:, None], [batch, classes * candidates])  # 1 holds for all
        order = tf.reshape(order, [batch, classes * candidates])
        boxes = self._decode(rows, order, deltas, proposals, image_sizes)
        boxes = tf.ensure_shape(tf.reshape(boxes, [batch * classes, candidates, 4]), [*scores.shape, 4])
        kept = self.kernels.nms(boxes, scores, self._large(boxes) & (scores > ABSENT), limit, config.nms_iou)
        boxes = tf.gather(boxes, kept.indices, batch_dims=1)

        # the best D of each image's classes
        scores, order = tf.math.top_k(tf.reshape(kept.scores, [batch, classes * limit]), k=limit)
        boxes = tf.gather(tf.reshape(boxes, [batch, classes * limit, 4]), order, batch_dims=1)
        return boxes, scores, order // limit

    def _best_of_image(
        self, scores: tf.Tensor, deltas: tf.Tensor, proposals: tf.Tensor, image_sizes: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The other kinds of NMS, on the best M pairs of a proposal and a class; result as `_best_of_classes`."""
        config, limit, classes = self.config, self.config.max_detections, scores.shape[2]
        scores = tf.reshape(scores, [tf.shape(scores)[0], tf.shape(scores)[1] * classes])
        scores = tf.ensure_shape(scores, [deltas.shape[0], None])
        scores, pairs = tf.math.top_k(scores, k=tf.minimum(MAX_CANDIDATES, self._candidates(scores)))
        order, labels = pairs // classes, pairs % classes
        boxes = self._decode(order if deltas.shape[2] == 1 else pairs, order, deltas, proposals, image_sizes)
        boxes = tf.ensure_shape(boxes, [*scores.shape, 4])
        scores = tf.where(self._large(boxes), scores, ABSENT)
        if config.nms == "hard":
            best, scores, _ = self.kernels.nms(boxes, scores, scores > ABSENT, limit, config.nms_iou)
            return tf.gather(boxes, best, batch_dims=1), scores, tf.gather(labels, best, batch_dims=1)
        groups = tf.zeros_like(labels) if config.class_agnostic_nms else labels
        if config.nms == "weighted_fusion":
            boxes, scores = weighted_fusion(boxes, scores, groups, config.nms_iou)
        else:
            limits = tf.gather(self._thresholds(), labels) if config.class_score_thresholds else None
            scores = soft_nms(boxes, scores, groups, config, limits)
        missing = tf.maximum(limit - tf.shape(scores)[1], 0)
        scores = tf.pad(scores, [[0, 0], [0, missing]], constant_values=ABSENT)
        scores, best = tf.math.top_k(scores, k=limit)
        best = tf.where(scores > ABSENT, best, 0)
        return tf.gather(boxes, best, batch_dims=1), scores, tf.gather(labels, best, batch_dims=1)

    def _thresholds(self) -> tf.Tensor | float:
        """The score threshold, or [C] with one per class."""
        if self.config.class_score_thresholds:
            return tf.constant(self.config.score_thresholds(self.names), tf.float32)
        return self.config.score_threshold

    def _large(self, boxes: tf.Tensor) -> tf.Tensor:
        return tf.reduce_all(boxes[..., 2:] - boxes[..., :2] >= self.config.min_size, axis=-1)

    def scores_of(self, class_logits: tf.Tensor) -> tf.Tensor:
        """Compute scores [B, P, C + 1] from logits; with sigmoids, the last one means nothing."""
        return tf.sigmoid(class_logits) if self.scores == "sigmoid" else tf.nn.softmax(class_logits)

    def from_scores(self, scores: tf.Tensor, *args: tf.Tensor) -> dict[str, tf.Tensor]:
        """Deprecated: call the layer with `from_logits=False`."""
        warn_deprecated("DetectionDecoder.from_scores", "decoder(probabilities, ..., from_logits=False)")
        outputs: dict[str, tf.Tensor] = self(tf.pad(scores, [[0, 0], [0, 0], [0, 1]]), *args, from_logits=False)
        return outputs

    def _candidates(self, scores: tf.Tensor) -> tf.Tensor:
        """How many of each set of scores [S, P] to decode, the best first.

        As many as the largest set has present: a few of a thousand in a trained detector. All of them in a graph that
        is compiled before it runs.
        """
        count = tf.shape(scores)[1]
        if self.kernels.compiles:
            return count
        present = tf.reduce_sum(tf.cast(scores > ABSENT, tf.int32), axis=1)
        return tf.clip_by_value(tf.reduce_max(present), 1, count)  # at least one, for empty slots to point to

    def _decode(
        self, rows: tf.Tensor, order: tf.Tensor, deltas: tf.Tensor, proposals: tf.Tensor, image_sizes: tf.Tensor
    ) -> tf.Tensor:
        """Boxes [B, N, 4] of the proposals `order` [B, N], by the deltas `rows` [B, N] of all P C."""
        deltas = tf.reshape(deltas, [tf.shape(deltas)[0], tf.shape(deltas)[1] * deltas.shape[2], 4])
        deltas, anchors = tf.gather(deltas, rows, batch_dims=1), tf.gather(proposals, order, batch_dims=1)
        return box_ops.clip(box_ops.decode(deltas, anchors, self.box_weights), image_sizes)

    def get_config(self) -> dict[str, Any]:
        options = {"box_weights": list(self.box_weights), "scores": self.scores, "names": list(self.names)}
        return {**super().get_config(), **options}


@register
class DetectionRescaler(keras.layers.Layer):
    """Move detections from pixels of the network input to pixels of the original images.

    Example:
        detections = DetectionRescaler()(detections, prepared["image_sizes"], prepared["original_sizes"])
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})  # geometry, see `GeometryLayer`

    def call(
        self, detections: dict[str, tf.Tensor], image_sizes: tf.Tensor, original_sizes: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """
        Args:
            detections: as `DetectionDecoder` returns.
            image_sizes: [B, 2] (h, w).
            original_sizes: [B, 2] (H, W).

        Returns:
            The detections, with boxes times H / h and W / w.
        """
        ratio = tf.tile(original_sizes / image_sizes, [1, 2])[:, None]
        return {**detections, "boxes": detections["boxes"] * ratio}

    def compute_output_spec(self, detections: dict[str, Any], image_sizes: Any, original_sizes: Any) -> dict[str, Any]:
        return {name: spec(*value.shape, dtype=value.dtype) for name, value in detections.items()}
