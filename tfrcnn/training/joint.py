"""A detector with its losses, for plain `model.fit`.

Approximate joint training (paper section 3.2) has all four losses; a step of another scheme has two.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfrcnn.compat import ONLY_FIRST_REPLICA
from tfrcnn.errors import check_type
from tfrcnn.layers import ProposalLayer
from tfrcnn.layers.base import register
from tfrcnn.models.faster_rcnn import FasterRCNN
from tfrcnn.seeds import check_seed, stream_seed
from tfrcnn.training.arguments import check_batch, check_values
from tfrcnn.training.class_losses import class_loss
from tfrcnn.training.foreground import ForegroundCounts
from tfrcnn.training.keras_methods import TrainingMethods
from tfrcnn.training.losses import box_loss, head_losses, rpn_losses
from tfrcnn.training.replicas import replica_count, uniform_rows
from tfrcnn.training.schemes import BOTH, HEAD, RPN
from tfrcnn.training.targets import refined_roi_targets, roi_targets, rpn_targets

LOSSES_OF = {RPN: ("rpn_objectness_loss", "rpn_box_loss"), HEAD: ("classifier_loss", "box_loss")}
LOSSES = LOSSES_OF[RPN] + LOSSES_OF[HEAD]


@register
class TrainingModel(TrainingMethods):
    """Train a detector: share its layers, add targets and losses.

    `fit` it on batches as `tfrcnn.training_data` makes them:
        images: [B, N_h, N_w, 3] float32 RGB 0..255 at network size, padded.
        image_sizes: [B, 2] float32 (h, w) inside the padding.
        boxes: [B, M, 4] float32 yxyx pixels of the network input.
        labels: [B, M] int32 in 0..C-1, -1 for padding.

    `call` runs features, RPN and proposals. `compute_loss` assigns targets, samples RoIs and runs the box head on them
    once. Each further head of a cascade runs on the boxes of the head before, which are labelled again; the losses of
    all stages are added. Stages that the active losses do not need are skipped, and a frozen backbone runs as in
    detection, without dropout. Proposals are constants to the head: its losses do not backpropagate into the RPN.

    The sampled anchors and RoIs are a function of the seed and the step. The model counts its steps, also in a training
    loop of your own: each gradient of `compute_loss` is one. The count is one of the model's weights, so a resumed run
    draws the same as an uninterrupted one.

    A `.keras` file of it holds weights and optimizer, but not which layers are frozen: call `freeze` after loading it.
    Runs (`tfrcnn.train`) resume from their state file instead.

    Attributes:
        detector: the detector, trained in place.
        active: the stages whose losses are minimised, "rpn", "head" or both.

    Example:
        model = tfrcnn.TrainingModel(detector)
        model.compile(optimizer=tfrcnn.make_optimizer(training, data.steps_per_epoch))
        model.fit(data.batches(), steps_per_epoch=data.steps_per_epoch, epochs=12)
    """

    def __init__(
        self, detector: FasterRCNN, seed: int = 0, losses: tuple[str, ...] | list[str] = BOTH, **kwargs: Any
    ) -> None:
        """
        Args:
            detector: the detector to train, in place; `freeze` excludes parts of it.
            seed: for the sampling of anchors and RoIs, at least 0.
            losses: "rpn", "head" or both: the stages whose losses are minimised.
        """
        check_type(detector, FasterRCNN, "detector", "tfrcnn.build_detector(preset.detector)")
        check_seed(seed)
        # the detector's policy, so that `compile` scales the loss under mixed_float16; boxes and sizes stay float32
        super().__init__(**{"name": "training", "dtype": detector.dtype_policy, **kwargs}, autocast=False)
        self.detector = detector
        self.seed = seed
        self.active = tuple(stage for stage in BOTH if stage in losses)  # `losses_of` computes them in this order
        self.proposal_layer = ProposalLayer(detector.config.train_proposals, detector.kernels, name="train_proposals")
        self.loss_metrics = [keras.metrics.Mean(name, "float32") for stage in self.active for name in LOSSES_OF[stage]]
        # in every replica of tf.distribute the same value
        self.steps = self.add_weight(
            shape=(),
            initializer="zeros",
            dtype="int64",
            trainable=False,
            aggregation=ONLY_FIRST_REPLICA,
            name="steps",
        )
        self.foreground = ForegroundCounts()
        self.built = True  # the detector's layers are

    def __call__(self, batch: Any, *args: Any, **kwargs: Any) -> Any:
        """Run `call`.

        Raises:
            InputError: the batch is not as `tfrcnn.training_data` makes it.
        """
        # not in `call`, whose errors Keras wraps in many lines
        check_batch(batch)
        return super().__call__(batch, *args, **kwargs)

    def call(self, batch: dict[str, tf.Tensor], training: bool | None = None) -> dict[str, Any]:
        """
        Args:
            batch: see `TrainingModel`.
            training: whether batch norm and dropout run as in training.

        Returns:
            A dict:
                rpn_logits: [B, A].
                rpn_deltas: [B, A, 4].
                anchors: [A, 4] yxyx pixels.
                features: per level [B, rows, columns, channels]; only for the head's losses.
                proposals: as `ProposalLayer` returns; only for the head's losses.
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
        """Sum the losses and the layers' regularisation, and update the metrics.

        Args:
            x: the batch.
            y: not used.
            y_pred: the result of `call` for the batch.
            sample_weight: not used.
            training: as `losses_of`.

        Returns:
            A scalar.
        """
        check_values({"y": y, "sample_weight": sample_weight})
        losses = self.losses_of(x, y_pred, training)
        for metric in self.loss_metrics:
            metric.update_state(losses[metric.name])
        total = tf.add_n([*losses.values(), *(tf.cast(extra, tf.float32) for extra in self.losses)])
        total = total / replica_count()  # tf.distribute sums gradients over replicas; the optimizer needs their mean
        return self._counted(total) if training else total

    def _counted(self, loss: tf.Tensor) -> tf.Tensor:
        """Return the same loss; whoever takes its gradient counts a step."""
        step = self._step() + 1

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            self.steps.assign(step)
            return upstream

        counted: tf.Tensor = tf.custom_gradient(lambda value: (value, gradient))(loss)
        return counted

    def losses_of(
        self, batch: dict[str, tf.Tensor], outputs: dict[str, Any], training: bool | None = True
    ) -> dict[str, tf.Tensor]:
        """Compute the active losses, without updating anything.

        Args:
            batch: see `TrainingModel`.
            outputs: the result of `call` for the batch.
            training: False draws the same samples at every step, so that epochs can be compared.

        Returns:
            float32 scalars by the names of `LOSSES`.
        """
        losses: list[tf.Tensor] = []
        if RPN in self.active:
            losses += self._rpn_losses(batch, outputs, training)
        if HEAD in self.active:
            losses += self._head_losses(batch, outputs, training)
        return dict(zip((metric.name for metric in self.loss_metrics), losses))

    def _rpn_losses(self, batch: dict[str, tf.Tensor], outputs: dict[str, Any], training: bool | None) -> Any:
        config, logits = self.detector.config.rpn, outputs["rpn_logits"]
        priority = self._draw("rpn_samples", tf.shape(logits), training)
        targets = rpn_targets(
            outputs["anchors"], batch["boxes"], batch["labels"], batch["image_sizes"], config, priority
        )
        if training:
            self.foreground.update(RPN, targets.samples.positive)
        return rpn_losses(logits, outputs["rpn_deltas"], targets, box_loss(config.box_loss), config.box_loss_weight)

    def _head_losses(self, batch: dict[str, tf.Tensor], outputs: dict[str, Any], training: bool | None) -> Any:
        stages, config = self.detector.stages, self.detector.config
        proposals, gt_boxes, gt_labels = outputs["proposals"], batch["boxes"], batch["labels"]
        candidates = tf.shape(proposals["boxes"])[1] + tf.shape(gt_boxes)[1]
        priority = self._draw("roi_samples", [tf.shape(gt_boxes)[0], candidates], training)
        heads, losses = config.head.stages, []
        targets = roi_targets(
            proposals["boxes"], proposals["valid"], gt_boxes, gt_labels, config.num_classes, heads[0], priority
        )
        if training:
            is_proposal = targets.samples.index < tf.shape(proposals["boxes"])[1]
            self.foreground.update(HEAD, targets.samples.positive & is_proposal)
        class_weights = self._class_weights if training else None
        for stage, (head, weight) in enumerate(zip(heads, config.head.loss_weights)):
            pooled = stages.pool(outputs["features"], targets.boxes)
            class_logits, deltas = stages.classify(pooled, training, stage)
            of_stage = head_losses(
                class_logits,
                deltas,
                targets,
                box_loss(head.box_loss, head.box_weights),
                class_weights,
                class_loss(head.class_loss),
                (head.class_loss_weight, head.box_loss_weight),
            )
            losses.append([weight * loss for loss in of_stage])
            if stage + 1 < len(heads):
                boxes, valid = stages.refine(deltas, targets.boxes, batch["image_sizes"], stage), targets.samples.valid
                targets = refined_roi_targets(boxes, valid, gt_boxes, gt_labels, config.num_classes, heads[stage + 1])
        return [tf.add_n(of_stages) for of_stages in zip(*losses)]

    def _draw(self, stream: str, shape: Any, training: bool | None) -> tf.Tensor:
        """Draw this step's uniform numbers of a named stream."""
        step = tf.cast(self._step(), tf.int32) if training else tf.zeros([], tf.int32)
        return uniform_rows(shape, [stream_seed(self.seed, stream), step])

    def _step(self) -> tf.Tensor:
        """Count the steps of training; those of the optimizer count too, for files that lack the model's own count."""
        steps, optimizer = tf.convert_to_tensor(self.steps), getattr(self, "optimizer", None)
        return tf.maximum(steps, tf.cast(optimizer.iterations, steps.dtype)) if optimizer else steps

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return [self._loss_tracker, *self.loss_metrics]

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        results: dict[str, Any] = self.get_metrics_result()
        return results

    def get_config(self) -> dict[str, Any]:
        detector = keras.saving.serialize_keras_object(self.detector)
        return {"name": self.name, "detector": detector, "seed": self.seed, "losses": list(self.active)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> TrainingModel:
        detector = keras.saving.deserialize_keras_object(config["detector"])
        return cls(**{**config, "detector": detector})
