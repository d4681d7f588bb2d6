"""Approximate joint training (paper section 3.2) by plain `model.fit`."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfrcnn.config import TrainingConfig
from tfrcnn.errors import InputError
from tfrcnn.layers import ProposalLayer
from tfrcnn.layers.base import register
from tfrcnn.models.faster_rcnn import FasterRCNN
from tfrcnn.training.losses import head_losses, rpn_losses
from tfrcnn.training.targets import roi_targets, rpn_targets

LOSSES = ("rpn_objectness_loss", "rpn_box_loss", "classifier_loss", "box_loss")


@register
class TrainingModel(keras.Model):
    """A detector being trained: shares the detector's layers, adds targets and losses.

    `fit` it on batches of the form of `tfrcnn.data.pipeline`:
        images [B, N_h, N_w, 3] float32 RGB 0..255 at network size, padded; image_sizes [B, 2] float32 (h, w) inside the
        padding; boxes [B, M, 4] float32 yxyx pixels of the network input; labels [B, M] int32 in 0..C-1, -1 for
        padding.

    `call` runs features, RPN and proposals; `compute_loss` assigns targets, samples RoIs and runs the box head on them
    once. Which anchors and RoIs are sampled is a function of the seed and of the optimizer's step, so that a resumed
    run draws what the uninterrupted one would have.

    A `.keras` file of it holds weights and optimizer, but not which layers are frozen: call `freeze` again after
    loading one. Runs (`tfrcnn.train`) resume from their own state file instead.
    """

    def __init__(self, detector: FasterRCNN, seed: int = 0, **kwargs: Any) -> None:
        """
        Args:
            detector: what is trained, in place.
            seed: of the sampling of anchors and RoIs.
        """
        # the detector's policy, so that `compile` scales the loss under mixed_float16; but boxes and sizes stay float32
        super().__init__(**{"name": "training", "dtype": detector.dtype_policy, **kwargs}, autocast=False)
        self.detector = detector
        self.seed = seed
        self.proposal_layer = ProposalLayer(detector.config.train_proposals, name="train_proposals")
        self.loss_metrics = [keras.metrics.Mean(name=name) for name in LOSSES]

    def build(self, input_shape: Any) -> None:
        """The detector's layers are built already."""

    def call(self, batch: dict[str, tf.Tensor], training: bool | None = None) -> dict[str, Any]:
        """
        Returns:
            features (list of [B, rows, columns, channels]), rpn_logits [B, A], rpn_deltas [B, A, 4], anchors [A, 4],
            and proposals as of `ProposalLayer`.
        """
        detector = self.detector
        features = detector.extract_features(batch["images"], batch["image_sizes"], training=training)
        logits, deltas = detector.rpn_head(features)
        anchors = detector.anchor_generator(features, batch["images"])
        return {
            "features": features,
            "rpn_logits": tf.concat(logits, axis=1),
            "rpn_deltas": tf.concat(deltas, axis=1),
            "anchors": tf.concat(anchors, axis=0),
            "proposals": self.proposal_layer(logits, deltas, anchors, batch["image_sizes"]),
        }

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool | None = True
    ) -> tf.Tensor:
        """The sum of the four losses and of the layers' own regularisation; updates their metrics.

        Args:
            x: the batch; y_pred: what `call` gave for it.
        """
        config = self.detector.config
        gt_boxes, gt_labels = x["boxes"], x["labels"]
        proposals, logits = y_pred["proposals"], y_pred["rpn_logits"]
        candidates = tf.shape(proposals["boxes"])[1] + tf.shape(gt_boxes)[1]
        rpn = rpn_targets(
            y_pred["anchors"], gt_boxes, gt_labels, x["image_sizes"], config.rpn, self._draw(0, tf.shape(logits))
        )
        roi = roi_targets(
            proposals["boxes"],
            proposals["valid"],
            gt_boxes,
            gt_labels,
            config.num_classes,
            config.head,
            self._draw(1, [tf.shape(logits)[0], candidates]),
        )
        pooled = self.detector.roi_pooling(y_pred["features"][: len(self.detector.roi_pooling.strides)], roi.boxes)
        class_logits, deltas = self.detector.box_head(pooled, training=training)
        losses = [
            *rpn_losses(logits, y_pred["rpn_deltas"], rpn, config.rpn.match.beta, config.rpn.box_loss_weight),
            *head_losses(class_logits, deltas, roi, config.head.match.beta),
        ]
        for metric, loss in zip(self.loss_metrics, losses):
            metric.update_state(loss)
        total = tf.add_n([*losses, *(tf.cast(extra, tf.float32) for extra in self.losses)])
        # under tf.distribute gradients are summed over replicas: their mean is wanted
        return total / tf.distribute.get_strategy().num_replicas_in_sync

    def _draw(self, stream: int, shape: Any) -> tf.Tensor:
        """Uniform numbers for this step."""
        step = tf.cast(self.optimizer.iterations, tf.int32) if self.optimizer else tf.zeros([], tf.int32)
        # one named generator: by itself TensorFlow takes another under XLA, and a run would not be the same run
        return tf.random.stateless_uniform(shape, seed=[2 * self.seed + stream, step], alg="philox")

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [self._loss_tracker, *self.loss_metrics]

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        return self.get_metrics_result()

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "detector": keras.saving.serialize_keras_object(self.detector), "seed": self.seed}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> TrainingModel:
        detector = keras.saving.deserialize_keras_object(config["detector"])
        return cls(**{**config, "detector": detector})


def freeze(detector: FasterRCNN, training: TrainingConfig) -> None:
    """Set what of the backbone is trained: `training.frozen_stages` and `training.freeze_batch_norm`.

    A frozen batch norm uses its loaded statistics and trains nothing, also inside `fit`.

    Raises:
        InputError: more stages than the backbone has.
    """
    stages = detector.backbone_stages
    if training.frozen_stages > len(stages):
        raise InputError(
            f"TrainingConfig.frozen_stages must be at most {len(stages)} for {detector.config.backbone.name}, "
            f"found {training.frozen_stages}"
        )
    last_frozen = stages[training.frozen_stages - 1] if training.frozen_stages else None
    frozen = last_frozen is not None
    for layer in detector.backbone.layers:
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = not frozen and not (is_norm and training.freeze_batch_norm)
        if layer.name == last_frozen:
            frozen = False
