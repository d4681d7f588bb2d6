"""Proposals: the RPN's output as a short list of boxes (paper section 3.3, "Implementation details").

Legend: B batch, A_l anchors at level l, P = post_nms_top_n.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrcnn import boxes as box_ops
from tfrcnn.config import ProposalConfig
from tfrcnn.kernels import ABSENT, Kernels
from tfrcnn.layers.base import GeometryLayer, KernelLayer, register, spec

RANDOM_SEED = 2  # second part of the seed, after the level's number; table 2 of the paper


@register
class ProposalLayer(KernelLayer[ProposalConfig], GeometryLayer[ProposalConfig]):
    """Top-k, decode, clip, drop tiny boxes and NMS, at each level separately; then the best of all levels.

    The result is a fixed number of boxes with a mask. It carries no gradient: proposals are inputs of the second stage
    (approximate joint training, paper section 3.2).

    Example:
        proposals = ProposalLayer(ProposalConfig(post_nms_top_n=300))(logits, deltas, anchors, image_sizes)
        proposals["boxes"].shape  # [B, 300, 4]
    """

    config_class = ProposalConfig

    def __init__(
        self, config: ProposalConfig | dict[str, Any], kernels: Kernels | str = "tensorflow", **kwargs: Any
    ) -> None:
        """
        Args:
            config: how many proposals to keep, and which.
            kernels: a set of kernels or its name, see `tfrcnn.kernels`.

        Raises:
            InputError: no set of kernels has this name.
        """
        super().__init__(config, kernels, **kwargs)

    def call(
        self, logits: list[tf.Tensor], deltas: list[tf.Tensor], anchors: list[tf.Tensor], image_sizes: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """
        Args:
            logits: per level [B, A_l].
            deltas: per level [B, A_l, 4].
            anchors: per level [A_l, 4] yxyx pixels.
            image_sizes: [B, 2] float32 (h, w); boxes are clipped to it.

        Returns:
            A dict:
                boxes: [B, P, 4] yxyx pixels, zero where absent.
                scores: [B, P] in [0, 1], descending, zero where absent. Without `use_scores` they are random: different
                    at each level, and the same for all images of one size.
                valid: [B, P] bool.
        """
        if not self.config.use_scores:
            logits = [_random_like(level, (number, RANDOM_SEED)) for number, level in enumerate(logits)]
        if not self.config.use_deltas:
            deltas = [tf.zeros_like(level) for level in deltas]
        levels = [self._level(*level, image_sizes) for level in zip(logits, deltas, anchors)]
        boxes = tf.concat([level[0] for level in levels], axis=1)
        scores = tf.concat([level[1] for level in levels], axis=1)
        count = self.config.post_nms_top_n
        scores, order = tf.math.top_k(scores, k=tf.minimum(count, tf.shape(scores)[1]))
        boxes = tf.gather(boxes, order, batch_dims=1)
        missing = count - tf.shape(scores)[1]
        scores = tf.pad(scores, [[0, 0], [0, missing]], constant_values=ABSENT)
        boxes = tf.pad(boxes, [[0, 0], [0, missing], [0, 0]])
        scores = tf.ensure_shape(scores, [None, count])
        valid = scores > ABSENT
        return {
            "boxes": tf.stop_gradient(tf.where(valid[..., None], boxes, 0.0)),
            "scores": tf.stop_gradient(tf.where(valid, scores, 0.0)),
            "valid": valid,
        }

    def compute_output_spec(self, logits: Any, deltas: Any, anchors: Any, image_sizes: Any) -> dict[str, Any]:
        batch, count = logits[0].shape[0], self.config.post_nms_top_n
        return {
            "boxes": spec(batch, count, 4),
            "scores": spec(batch, count),
            "valid": spec(batch, count, dtype="bool"),
        }

    def _level(
        self, logits: tf.Tensor, deltas: tf.Tensor, anchors: tf.Tensor, image_sizes: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Boxes [B, K, 4] and scores [B, K] kept at one level; `ABSENT` in empty slots."""
        config = self.config
        logits, order = tf.math.top_k(logits, k=tf.minimum(config.pre_nms_top_n, tf.shape(logits)[1]))
        boxes = box_ops.decode(tf.gather(deltas, order, batch_dims=1), tf.gather(anchors, order))
        boxes = box_ops.clip(boxes, image_sizes)
        sides = boxes[..., 2:] - boxes[..., :2]
        scores = tf.sigmoid(logits)
        good = tf.reduce_all(sides >= config.min_size, axis=-1) & (scores >= config.score_threshold)
        scores = tf.where(good, scores, ABSENT)
        if config.nms_iou == 1:  # no IoU is above it
            return boxes, scores
        kept = self.kernels.nms(boxes, scores, good, config.post_nms_top_n, config.nms_iou)
        return tf.gather(boxes, kept.indices, batch_dims=1), kept.scores


def _random_like(logits: tf.Tensor, seed: tuple[int, int]) -> tf.Tensor:
    """Numbers between -1 and 1 in place of the logits [B, A_l] of a level, the same for every image."""
    drawn = tf.random.stateless_uniform([1, tf.shape(logits)[1]], seed, -1.0, alg="philox")
    return tf.broadcast_to(drawn, tf.shape(logits))
