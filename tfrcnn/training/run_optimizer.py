"""The optimizer of a run: momentum SGD, or another that `TrainingConfig.optimizer` names."""

from __future__ import annotations

import inspect
from typing import Any

import keras
import tensorflow as tf

from tfrcnn.config import TrainingConfig
from tfrcnn.errors import InputError, check_type
from tfrcnn.layers.base import register
from tfrcnn.training.optimizer import REFERENCE_BATCH, SGD, WarmupSchedule
from tfrcnn.training.optimizer_names import check_optimizer, optimizer_class
from tfrcnn.training.replicas import replica_count


class _GroupValue(keras.optimizers.schedules.LearningRateSchedule):
    """A multiple of the rate of the next step."""

    def __init__(self, optimizer: GroupedOptimizer, multiple: float) -> None:
        self.optimizer, self.multiple = optimizer, multiple

    def __call__(self, step: Any) -> tf.Tensor:
        return tf.cast(self.multiple, tf.float32) * self.optimizer.current_rate


@register
class GroupedOptimizer(SGD):
    """Another optimizer in place of the momentum: schedule, clipping, accumulation and averages are those of `SGD`.

    Weights that learn at one multiple of the rate, and decay or do not, make a group. Each group has an optimizer, as
    the parameter groups of torch. The weight decay is the optimizer's: for most w = w - rate decay w, next to the step
    (Loshchilov and Hutter, arXiv 1711.05101). Convolution and dense kernels decay, biases and norms do not.

    Attributes:
        kind: name of the optimizer, see `optimizer_names`.
        options: its further arguments.
        decay: its weight decay.
    """

    def __init__(
        self,
        *args: Any,
        kind: str = "adamw",
        options: dict[str, Any] | None = None,
        decay: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.kind, self.options, self.decay = kind, dict(options or {}), decay
        self._groups: list[Any] = []
        self._group_of: dict[str, int] = {}

    def build(self, variables: list[Any]) -> None:
        if self._groups:
            return
        super().build(variables)
        groups: dict[tuple[float, float], list[Any]] = {}
        for variable in variables:
            decay = self.decay if len(variable.shape) > 1 else 0.0  # biases and norms are vectors
            groups.setdefault((self._multiple(variable), decay), []).append(variable)
        for i, ((multiple, decay), members) in enumerate(groups.items()):
            optimizer = self._make(multiple, decay)
            # tensorflow-addons has the interface of Keras before 2.11: other names, and methods for properties
            build = optimizer.build if hasattr(optimizer, "build") else optimizer._create_all_weights
            build(members)
            self._groups.append(optimizer)
            self._group_of.update({str(self._var_key(variable)): i for variable in members})

    def _make(self, multiple: float, decay: float) -> Any:
        kind, arguments = optimizer_class(self.kind), dict(self.options)
        parameters = inspect.signature(kind).parameters
        if "epsilon_1" in parameters:
            # the square of Adafactor's 1e-30 is 0 in float32: where a row and a column have no gradient, it makes NaN
            arguments.setdefault("epsilon_1", 1e-16)
        if parameter := parameters.get("weight_decay"):
            # two classes of tensorflow-addons need a decay, and do not multiply it by the rate
            is_absolute = parameter.default is parameter.empty
            arguments["weight_decay"] = _GroupValue(self, multiple * decay) if is_absolute else decay
        return kind(learning_rate=_GroupValue(self, multiple), **arguments)

    @property
    def variables(self) -> list[Any]:
        lists = [optimizer.variables for optimizer in self._groups]
        return [*super().variables, *(v for each in lists for v in (each() if callable(each) else each))]

    def _backend_update_step(self, grads: Any, trainable_variables: Any, learning_rate: Any) -> None:
        if (replicas := replica_count()) > 1:  # each group's optimizer sums over the replicas again
            summed = self._all_reduce_sum_gradients(zip(grads, trainable_variables))
            grads = [None if gradient is None else gradient / replicas for gradient, _ in summed]
        steps: list[list[Any]] = [[] for _ in self._groups]
        for gradient, variable in zip(grads, trainable_variables):
            steps[self._group_of[str(self._var_key(variable))]].append((gradient, variable))
        for optimizer, step in zip(self._groups, steps):
            if step:
                optimizer.apply_gradients(step)

    def _internal_apply_gradients(self, grads_and_vars: Any) -> Any:
        # Keras 2 calls this where Keras 3 calls `_backend_update_step`
        gradients, variables = zip(*grads_and_vars)
        self._backend_update_step(gradients, variables, self.current_rate)
        self._update_model_variables_moving_average(variables)
        return self.iterations.assign_add(1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kind": self.kind, "options": self.options, "decay": self.decay}


def check_accumulation(training: TrainingConfig) -> None:
    """Check that gradients are not accumulated over steps and replicas at once.

    Raises:
        InputError: they are.
    """
    replicas, accumulated = tf.distribute.get_strategy().num_replicas_in_sync, training.accumulation_steps
    if replicas > 1 and accumulated > 1:
        raise InputError(
            f"TrainingConfig.accumulation_steps must be 1 under a strategy of {replicas} replicas, found "
            f"{accumulated}: raise batch_size instead, which the replicas share"
        )


def make_optimizer(training: TrainingConfig, steps_per_epoch: int) -> SGD:
    """Make the optimizer of a run: rate scaled by batch size, warm-up and schedule, decay, clipping, averaging.

    Under `tf.distribute`, call it in the scope of the strategy.

    Args:
        training: the configuration of the run.
        steps_per_epoch: whole batches per epoch.

    Returns:
        The optimizer, for `model.compile`.

    Raises:
        InputError: gradients are to be accumulated over steps and replicas at once; the optimizer or one of its
            options is unknown.

    Example:
        data = tfrcnn.training_data(dataset, detector.config.image, preset.training)
        model.compile(optimizer=tfrcnn.make_optimizer(preset.training, data.steps_per_epoch))
    """
    check_type(training, TrainingConfig, "training", "preset.training")
    check_accumulation(training)
    check_optimizer(training)
    accumulated = training.accumulation_steps
    total_steps = max(training.epochs * steps_per_epoch // accumulated, 1)
    schedule = WarmupSchedule(
        training.learning_rate * training.batch_size * accumulated / REFERENCE_BATCH,
        total_steps,
        min(training.warmup_steps, total_steps // 4),  # a short run warms up for a quarter of it at most
        training.schedule,
        training.milestones,
    )
    shared: dict[str, Any] = {
        "global_clipnorm": training.gradient_clip_norm,
        "bias_learning_rate_scale": training.bias_learning_rate_scale,
        "backbone_learning_rate_scale": training.backbone_learning_rate_scale,
        "gradient_accumulation_steps": accumulated if accumulated > 1 else None,
        "use_ema": training.ema is not None or training.swa is not None,
        "ema_momentum": training.ema or 0.0,  # without `ema` the averages are the weights until `swa` begins
        "swa_start": None if training.swa is None else int(training.swa * total_steps),
    }
    name, options = training.optimizer, training.optimizer_options or {}
    if name != "sgd":
        return GroupedOptimizer(schedule, kind=name, options=options, decay=training.weight_decay, **shared)
    decay = training.weight_decay
    return SGD(schedule, momentum=training.momentum, coupled_weight_decay=decay, **shared, **options)
