"""A detector with its losses, for plain `model.fit`: all four for approximate joint training (paper section 3.2), two
of them for a step of the other schemes."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfrcnn.layers import ProposalLayer
from tfrcnn.layers.base import register
from tfrcnn.models.faster_rcnn import FasterRCNN
from tfrcnn.training.losses import head_losses, rpn_losses
from tfrcnn.training.schemes import BOTH, HEAD, RPN
from tfrcnn.training.targets import roi_targets, rpn_targets

LOSSES_OF = {RPN: ("rpn_objectness_loss", "rpn_box_loss"), HEAD: ("classifier_loss", "box_loss")}
LOSSES = LOSSES_OF[RPN] + LOSSES_OF[HEAD]


@register
class TrainingModel(keras.Model):
    """A detector being trained: shares the detector's layers, adds targets and losses.

    `fit` it on batches of the form of `tfrcnn.data.pipeline`:
        images [B, N_h, N_w, 3] float32 RGB 0..255 at network size, padded; image_sizes [B, 2] float32 (h, w) inside the
        padding; boxes [B, M, 4] float32 yxyx pixels of the network input; labels [B, M] int32 in 0..C-1, -1 for
        padding.

    `call` runs features, RPN and proposals; `compute_loss` assigns targets, samples RoIs and runs the box head on them
    once. What the losses that are asked for do not need is not run, and features whose backbone has `trainable` False
    are those of detection, without dropout. Proposals are but boxes to the head: no gradient of its losses goes through
    them. Which anchors and RoIs are sampled is a function of the seed and of the optimizer's step, so that a resumed
    run draws what the uninterrupted one would have.

    A `.keras` file of it holds weights and optimizer, but not which layers are frozen: call `freeze` again after
    loading one. Runs (`tfrcnn.train`) resume from their own state file instead.
    """

    def __init__(
        self, detector: FasterRCNN, seed: int = 0, losses: tuple[str, ...] | list[str] = BOTH, **kwargs: Any
    ) -> None:
        """
        Args:
            detector: what is trained, in place, as far as it is not frozen: see `freeze`.
            seed: of the sampling of anchors and RoIs.
            losses: "rpn", "head" or both: whose losses are minimised.
        """
        # the detector's policy, so that `compile` scales the loss under mixed_float16; but boxes and sizes stay float32
        super().__init__(**{"name": "training", "dtype": detector.dtype_policy, **kwargs}, autocast=False)
        self.detector = detector
        self.seed = seed
        self.active = tuple(losses)
        self.proposal_layer = ProposalLayer(detector.config.train_proposals, detector.kernels, name="train_proposals")
        self.loss_metrics = [keras.metrics.Mean(name=name) for stage in self.active for name in LOSSES_OF[stage]]

    def build(self, input_shape: Any) -> None:
        """The detector's layers are built already."""

    def make_train_function(self, force: bool = False) -> Any:
        # Keras would build the optimizer within the first step, and TensorFlow trace again a step that makes variables
        if not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)
        return super().make_train_function(force)

    def call(self, batch: dict[str, tf.Tensor], training: bool | None = None) -> dict[str, Any]:
        """
        Returns:
            rpn_logits [B, A], rpn_deltas [B, A, 4], anchors [A, 4]; and for the head's losses features (list of [B,
            rows, columns, channels]) and proposals as of `ProposalLayer`.
        """
        stages, images, sizes = self.detector.stages, batch["images"], batch["image_sizes"]
        features = stages.features(images, sizes, bool(training), head=HEAD in self.active)
        rpn = stages.rpn(features.rpn, images)
        outputs = {
            "rpn_logits": tf.concat(rpn.logits, axis=1),
            "rpn_deltas": tf.concat(rpn.deltas, axis=1),
            "anchors": tf.concat(rpn.anchors, axis=0),
        }
        if HEAD in self.active:
            outputs["features"] = features.head
            outputs["proposals"] = stages.propose(rpn, sizes, self.proposal_layer)
        return outputs

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool | None = True
    ) -> tf.Tensor:
        """The sum of the losses and of the layers' own regularisation; updates their metrics.

        Args:
            x: the batch; y_pred: what `call` gave for it.
        """
        losses = self.losses_of(x, y_pred, training)
        for metric in self.loss_metrics:
            metric.update_state(losses[metric.name])
        total = tf.add_n([*losses.values(), *(tf.cast(extra, tf.float32) for extra in self.losses)])
        # under tf.distribute gradients are summed over replicas: their mean is wanted
        return total / tf.distribute.get_strategy().num_replicas_in_sync

    def losses_of(
        self, batch: dict[str, tf.Tensor], outputs: dict[str, Any], training: bool | None = True
    ) -> dict[str, tf.Tensor]:
        """The losses that are active, by name: scalars, float32; nothing is updated.

        Args:
            outputs: what `call` gave for the batch.
            training: False draws the same samples whatever the step, so that epochs can be compared.
        """
        losses: list[tf.Tensor] = []
        if RPN in self.active:
            losses += self._rpn_losses(batch, outputs, training)
        if HEAD in self.active:
            losses += self._head_losses(batch, outputs, training)
        return dict(zip((metric.name for metric in self.loss_metrics), losses))

    def _rpn_losses(self, batch: dict[str, tf.Tensor], outputs: dict[str, Any], training: bool | None) -> Any:
        config, logits = self.detector.config.rpn, outputs["rpn_logits"]
        priority = self._draw(0, tf.shape(logits), training)
        targets = rpn_targets(
            outputs["anchors"], batch["boxes"], batch["labels"], batch["image_sizes"], config, priority
        )
        return rpn_losses(logits, outputs["rpn_deltas"], targets, config.match.beta, config.box_loss_weight)

    def _head_losses(self, batch: dict[str, tf.Tensor], outputs: dict[str, Any], training: bool | None) -> Any:
        detector, config = self.detector, self.detector.config
        proposals, gt_boxes, gt_labels = outputs["proposals"], batch["boxes"], batch["labels"]
        candidates = tf.shape(proposals["boxes"])[1] + tf.shape(gt_boxes)[1]
        priority = self._draw(1, [tf.shape(gt_boxes)[0], candidates], training)
        targets = roi_targets(
            proposals["boxes"], proposals["valid"], gt_boxes, gt_labels, config.num_classes, config.head, priority
        )
        pooled = detector.stages.pool(outputs["features"], targets.boxes)
        class_logits, deltas = detector.stages.classify(pooled, training=training)
        return head_losses(class_logits, deltas, targets, config.head.match.beta)

    def _draw(self, stream: int, shape: Any, training: bool | None) -> tf.Tensor:
        """Uniform numbers for this step."""
        counted = training and self.compiled  # a model that is not has no optimizer to count steps
        step = tf.cast(self.optimizer.iterations, tf.int32) if counted else tf.zeros([], tf.int32)
        # one named generator: by itself TensorFlow takes another under XLA, and a run would not be the same run
        return tf.random.stateless_uniform(shape, seed=[2 * self.seed + stream, step], alg="philox")

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [self._loss_tracker, *self.loss_metrics]

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        return self.get_metrics_result()

    def get_config(self) -> dict[str, Any]:
        detector = keras.saving.serialize_keras_object(self.detector)
        return {"name": self.name, "detector": detector, "seed": self.seed, "losses": list(self.active)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> TrainingModel:
        detector = keras.saving.deserialize_keras_object(config["detector"])
        return cls(**{**config, "detector": detector})
