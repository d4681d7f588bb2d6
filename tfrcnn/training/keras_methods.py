"""What Keras' methods do with a training model: they work, or refuse at once with what to do instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from tfrcnn.compat import TrainedModel
from tfrcnn.errors import InputError
from tfrcnn.models import FasterRCNN
from tfrcnn.models.keras_methods import NOT_QUANTIZED, check_file_name
from tfrcnn.training.arguments import check_arguments, weights_of
from tfrcnn.training.loss_scale import shared_scale
from tfrcnn.training.optimizer import SGD
from tfrcnn.training.workers import position


class TrainingMethods(TrainedModel):
    """The base of `TrainingModel`: methods of Keras with checked arguments.

    Attributes:
        detector: the detector that is trained.
        optimizer: as `compile` keeps it.
    """

    detector: FasterRCNN
    optimizer: Any
    _class_weights: list[float] | None = None
    _compiled_for: list[int] | None = None

    def _maybe_symbolic_build(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: Keras would reduce a batch over the replicas, which several workers cannot."""

    def train_step(self, data: Any) -> Any:
        results = super().train_step(data)
        # Keras takes the mean of several workers' results along an axis
        return results if position().workers == 1 else {name: value[None] for name, value in results.items()}

    def build(self, input_shape: Any) -> None:
        """Do nothing: the detector's layers are built already."""

    def compile(self, optimizer: Any = "rmsprop", *args: Any, **kwargs: Any) -> None:
        """Choose the optimizer, as `keras.Model.compile`.

        Batch norms that are trained take their statistics over all replicas of a `tf.distribute` strategy.

        Raises:
            InputError: loss, loss_weights, metrics or weighted_metrics is given; the detector has its own.
        """
        check_arguments(super().compile, (optimizer, *args), kwargs)
        super().compile(optimizer, *args, **kwargs)
        with self.distribute_strategy.scope():
            optimizer = shared_scale(self.optimizer)
        if optimizer is not self.optimizer:
            self.optimizer = optimizer
        sgd = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        if isinstance(sgd, SGD):
            networks = (self.detector.backbone, self.detector.rpn_backbone)
            sgd.set_backbone(variable for network in networks if network for variable in network.trainable_variables)
        for layer in self.detector._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = self.distribute_strategy.num_replicas_in_sync > 1
        self._compiled_for = self._trained()
        # Keras would do this in the first step, and TensorFlow traces a step that makes variables twice
        with self.distribute_strategy.scope():
            if hasattr(self.optimizer, "build"):  # an optimizer of tensorflow-addons has none
                self.optimizer.build(self.trainable_variables)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        # Keras does not do this for a model with its own `compile`
        self.compile(**keras.saving.deserialize_keras_object(config))

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """Train, as `keras.Model.fit`.

        `class_weight` maps a label to a factor of the classifier's loss for RoIs of that label: 0..C-1, or C for the
        background.

        Raises:
            InputError: sample_weight or y is given, or the batches have no end and no number of steps.
        """
        values = check_arguments(super().fit, args, kwargs)
        self._weigh(values.pop("class_weight", None))
        return super().fit(**values)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the mean losses, as `keras.Model.evaluate`.

        Raises:
            InputError: as `fit`.
        """
        return super().evaluate(**check_arguments(super().evaluate, args, kwargs))

    def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Train one step, as `keras.Model.train_on_batch`.

        Raises:
            InputError: as `fit`.
        """
        values = check_arguments(super().train_on_batch, args, kwargs)
        self._weigh(values.pop("class_weight", None))
        return super().train_on_batch(**values)

    def _weigh(self, class_weight: dict[int, float] | None) -> None:
        self._check_trained()  # not only below: Keras 2 trains what it compiled
        weights = weights_of(class_weight, self.detector.config.num_classes)
        if weights != self._class_weights:
            self._class_weights, self.train_function = weights, None  # the traced step has the former weights

    def make_predict_function(self, force: bool = False) -> Any:
        raise InputError("a TrainingModel does not predict: use model.detector, or tfrcnn.Predictor(model.detector)")

    def quantize(self, *args: Any, **kwargs: Any) -> None:
        raise InputError(NOT_QUANTIZED)

    def export(self, *args: Any, **kwargs: Any) -> None:
        raise InputError("a TrainingModel is not exported: export its detector, see tfrcnn.export")

    def save(self, filepath: str | Path, *args: Any, **kwargs: Any) -> None:
        """Write the model to a `.keras` file, as `keras.Model.save`.

        Raises:
            InputError: the file name does not end in `.keras`.
        """
        check_file_name(filepath)
        super().save(filepath, *args, **kwargs)

    def _trained(self) -> list[int]:
        return [id(variable) for variable in self.trainable_variables]

    def make_train_function(self, force: bool = False) -> Any:
        self._check_trained()
        return super().make_train_function(force)

    def _check_trained(self) -> None:
        if self._compiled_for not in (None, self._trained()):
            raise InputError("layers were frozen or unfrozen after TrainingModel.compile: call compile again")
