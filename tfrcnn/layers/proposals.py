"""Proposals: the RPN's output as a short list of boxes (paper section 3.3, "Implementation details").

Legend: B batch, A_l anchors at level l, P = post_nms_top_n.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfrcnn import boxes as box_ops
from tfrcnn.config import ProposalConfig
from tfrcnn.config_base import Config
from tfrcnn.layers.base import GeometryLayer, register
from tfrcnn.layers.nms import batched_nms

# Scores are probabilities: anything below zero marks a box that is not there.
ABSENT = -1.0
PRESENT_ABOVE = -0.5
RANDOM_SEED = 2  # behind the level's number; table 2 of the paper


@register
class ProposalLayer(GeometryLayer[ProposalConfig]):
    """Top-k, decode, clip, drop tiny boxes, NMS, each at its own level; then the best of all levels.

    The result is a fixed number of boxes with a mask, and carries no gradient: proposals are inputs of the second
    stage (approximate joint training, paper section 3.2).
    """

    config_class: type[Config] = ProposalConfig

    def __init__(self, config: ProposalConfig | dict[str, Any], nms: str = "combined", **kwargs: Any) -> None:
        """nms: implementation, see `tfrcnn.layers.nms.batched_nms`."""
        super().__init__(config, **kwargs)
        self.nms = nms
        self.supports_jit = nms != "combined"

    def call(
        self, logits: list[tf.Tensor], deltas: list[tf.Tensor], anchors: list[tf.Tensor], image_sizes: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """
        Args:
            logits, deltas: per level [B, A_l], [B, A_l, 4].
            anchors: per level [A_l, 4], yxyx pixels.
            image_sizes: [B, 2] float32 (h, w), what boxes are clipped to.

        Returns:
            boxes [B, P, 4] yxyx pixels, zero where absent; scores [B, P] in [0, 1], descending, 0 where absent;
            valid [B, P] bool. Without `use_scores` the scores are random, other ones at each level, the same
            for all images of a size wherever they are in a batch.
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
        valid = scores > PRESENT_ABOVE
        return {
            "boxes": tf.stop_gradient(tf.where(valid[..., None], boxes, 0.0)),
            "scores": tf.stop_gradient(tf.where(valid, scores, 0.0)),
            "valid": valid,
        }

    def _level(
        self, logits: tf.Tensor, deltas: tf.Tensor, anchors: tf.Tensor, image_sizes: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Boxes [B, K, 4] and scores [B, K] kept at one level, `ABSENT` where there is none."""
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
        kept, count = batched_nms(boxes, good, config.post_nms_top_n, config.nms_iou, self.nms)
        present = tf.range(config.post_nms_top_n)[None] < count[:, None]
        scores = tf.where(present, tf.gather(scores, kept, batch_dims=1), ABSENT)
        return tf.gather(boxes, kept, batch_dims=1), scores

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "nms": self.nms}


def _random_like(logits: tf.Tensor, seed: tuple[int, int]) -> tf.Tensor:
    """Numbers between -1 and 1 in place of the logits [B, A_l] of a level, the same for every image."""
    drawn = tf.random.stateless_uniform([1, tf.shape(logits)[1]], seed, -1.0, alg="philox")
    return tf.broadcast_to(drawn, tf.shape(logits))
