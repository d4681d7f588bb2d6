"""SGD as in the papers, and its learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf

from tfrcnn import compat
from tfrcnn.compat import ONLY_FIRST_REPLICA, path_of, tensorflow_variable
from tfrcnn.layers.base import register
from tfrcnn.training.replicas import replica_count

REFERENCE_BATCH = 16  # images per step that TrainingConfig.learning_rate is for


@register
class WarmupSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Raises the rate from 1/1000 over `warmup_steps` (Goyal et al., arXiv 1706.02677), then lowers it.

    "step" multiplies the rate by 0.1 at each fraction of `total_steps` in `milestones`. "cosine" is
    rate (1 + cos(pi t / T)) / 2.
    """

    def __init__(
        self,
        learning_rate: float,
        total_steps: int,
        warmup_steps: int = 0,
        kind: str = "step",
        milestones: tuple[float, ...] | list[float] = (),
    ) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps
        self.kind = kind
        self.milestones = tuple(milestones)

    def __call__(self, step: Any) -> tf.Tensor:
        return self.learning_rate * (self._decay(step) * self.warmup(step))

    def target(self, step: Any) -> tf.Tensor:
        """Return the rate of a step without its warm-up."""
        return self.learning_rate * self._decay(step)

    def warmup(self, step: Any) -> tf.Tensor:
        """Return the factor of the warm-up at a step, in (0, 1]."""
        if not self.warmup_steps:
            return tf.ones([])
        return tf.minimum(1.0, 0.001 + 0.999 * tf.cast(step, tf.float32) / self.warmup_steps)

    def _decay(self, step: Any) -> tf.Tensor:
        progress = tf.cast(step, tf.float32) / self.total_steps
        if self.kind == "cosine":
            return 0.5 * (1.0 + tf.cos(math.pi * tf.minimum(progress, 1.0)))
        passed = tf.reduce_sum(tf.cast(progress >= tf.constant(self.milestones, tf.float32), tf.float32))
        return 0.1**passed

    def get_config(self) -> dict[str, Any]:
        return {
            "learning_rate": self.learning_rate,
            "total_steps": self.total_steps,
            "warmup_steps": self.warmup_steps,
            "kind": self.kind,
            "milestones": list(self.milestones),
        }


def _unset(shape: Any, dtype: Any = None) -> tf.Tensor:
    """Return the initial value of a learning rate that nobody has set."""
    return tf.fill(shape, tf.constant(math.nan, dtype))


@register
class SGD(compat.SGD):
    """Momentum SGD whose weight decay is part of the gradient, on convolution and dense kernels only.

    v = momentum v - rate (gradient + decay w); w = w + v, after clipping the gradient. Caffe and torch.optim.SGD do
    the same, and published weight decays (1e-4, 5e-4) mean it. Keras' `weight_decay` bypasses the momentum, and so
    decays ten times less at momentum 0.9. Biases and batch norms are not decayed.

    Biases learn at `bias_learning_rate_scale` times the rate of other weights: Caffe's lr_mult, 2 in its models. The
    variables of the backbone, as `TrainingModel.compile` names them, learn at `backbone_learning_rate_scale` times it.

    `learning_rate` can be set, for example by `keras.callbacks.ReduceLROnPlateau`, even if a schedule decides it. The
    value replaces the schedule from then on and is saved with the optimizer, but the warm-up of a `WarmupSchedule` goes
    on. So `learning_rate` is the rate that the warm-up leads to, and `current_rate` is the rate of the next step.

    The decay of the averages (`use_ema`) rises as min(ema_momentum, t / (9 + t)) over t = 0, 1, ..., so that the first
    steps do not dominate the averages of a short run. From update `swa_start` on, the averages are the mean of the
    weights after each update (stochastic weight averaging): the decay is n / (n + 1) over n = 0, 1, ... The count n is
    saved with the optimizer. A resumed run whose start comes later averages as before until then, and counts again.

    `iterations` counts updates: with `gradient_accumulation_steps` k, every k-th step is one.
    """

    def __init__(
        self,
        *args: Any,
        coupled_weight_decay: float = 0.0,
        bias_learning_rate_scale: float = 1.0,
        backbone_learning_rate_scale: float = 1.0,
        swa_start: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.coupled_weight_decay = coupled_weight_decay
        self.bias_learning_rate_scale = bias_learning_rate_scale
        self.backbone_learning_rate_scale = backbone_learning_rate_scale
        self.swa_start = swa_start
        self._averaged = None
        if swa_start is not None:
            self._averaged = self.add_variable(
                shape=(), dtype="int64", aggregation=ONLY_FIRST_REPLICA, name="averaged_updates"
            )
        self._backbone: frozenset[int] = frozenset()
        self._set_rate = None
        if callable(self._learning_rate):
            self._set_rate = self.add_variable(shape=(), initializer=_unset, dtype="float32", name="set_learning_rate")

    def set_backbone(self, variables: Iterable[keras.Variable]) -> None:
        """Name the variables that learn at `backbone_learning_rate_scale` times the rate."""
        self._backbone = frozenset(id(variable) for variable in variables)

    @property
    def learning_rate(self) -> Any:
        """Return the rate that the warm-up leads to."""
        schedule = self._learning_rate
        target = schedule.target(self.iterations) if isinstance(schedule, WarmupSchedule) else self._scheduled()
        return target if self._set_rate is None else self._set_rate_or(target)

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if self._set_rate is not None:
            self._set_rate.assign(math.nan if callable(value) else value)
        if self._set_rate is None or callable(value):
            keras.optimizers.SGD.learning_rate.fset(self, value)

    @property
    def current_rate(self) -> Any:
        """Return the rate of the next step."""
        if self._set_rate is None:
            return super().learning_rate
        schedule = self._learning_rate
        warmup = schedule.warmup(self.iterations) if isinstance(schedule, WarmupSchedule) else 1.0
        # the schedule itself, since its product in another order would round differently
        return self._set_rate_or(self._scheduled(), warmup)

    def _scheduled(self) -> Any:
        """Return the rate of the next update, unless one is set."""
        if isinstance(self._learning_rate, keras.optimizers.schedules.LearningRateSchedule):
            return self._learning_rate(self.iterations)  # Keras passes steps, of which several make an update
        return super().learning_rate

    def _set_rate_or(self, scheduled: Any, factor: Any = 1.0) -> tf.Tensor:
        rate = tf.convert_to_tensor(self._set_rate)
        return tf.where(tf.math.is_nan(rate), scheduled, rate * factor)

    def _clip_gradients(self, grads: Any) -> Any:
        # a replica's gradients are a part of the batch's, which are clipped once they are summed
        is_part = replica_count() > 1 and not compat.SUMS_BEFORE_CLIPPING
        return grads if is_part else super()._clip_gradients(grads)

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> Any:
        summed = super()._all_reduce_sum_gradients(grads_and_vars)
        if replica_count() == 1:
            return summed
        gradients, variables = zip(*summed)
        return list(zip(super()._clip_gradients(gradients), variables))

    def _backend_update_step(self, grads: Any, trainable_variables: Any, learning_rate: Any) -> None:
        super()._backend_update_step(grads, trainable_variables, self.current_rate)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        # look variables up by index: Keras passes TensorFlow's variables, whose names it has changed
        index = self._get_variable_index(variable)
        decay = self.coupled_weight_decay if len(variable.shape) > 1 else 0.0  # biases and norms are vectors
        learning_rate = learning_rate * self._multiple(self._trainable_variables[index])
        if not self.momentum or self.nesterov:
            gradient, decay = gradient + decay * tf.convert_to_tensor(variable), 0.0
        # Two operators in place: v = v - (rate decay / momentum) w, then v = momentum v - rate gradient, w = w + v.
        # Keras' operators copy the largest kernel several times, a tenth of the memory of a step of ResNet-50.
        rate, momentum = (tf.cast(value, variable.dtype) for value in (learning_rate, self.momentum))
        if not self.momentum:
            variable.assign_sub(rate * tf.cast(gradient, variable.dtype))
            return
        velocity = tensorflow_variable(self.momentums[index]).handle
        if decay:
            tf.raw_ops.ResourceApplyGradientDescent(
                var=velocity, alpha=rate * decay / momentum, delta=tf.convert_to_tensor(variable)
            )
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle,
            accum=velocity,
            lr=rate,
            grad=tf.cast(gradient, variable.dtype),
            momentum=momentum,
            use_nesterov=self.nesterov,
        )

    def _multiple(self, variable: keras.Variable) -> float:
        """Return the multiple of the rate that a variable learns at."""
        multiple = self.bias_learning_rate_scale if path_of(variable).split("/")[-1] == "bias" else 1.0
        return multiple * (self.backbone_learning_rate_scale if id(variable) in self._backbone else 1.0)

    def _update_model_variables_moving_average(self, trainable_variables: Any) -> None:
        if not self.use_ema:
            return
        step, is_update = tf.cast(self.iterations, tf.float32), tf.constant(True)
        if self.gradient_accumulation_steps:
            is_update = (self._iterations + 1) % self.gradient_accumulation_steps == 0
        decay = tf.minimum(self.ema_momentum, step / (9.0 + step))
        if self._averaged is not None:
            has_begun, count = step >= self.swa_start, tf.convert_to_tensor(self._averaged)
            decay = tf.where(has_begun, tf.cast(count / (count + 1), tf.float32), decay)
            after = tf.where(has_begun, count + 1, tf.zeros_like(count))
            self._averaged.assign(tf.where(is_update, after, count))
        decay = tf.where(is_update, decay, 1.0)
        # not `trainable_variables`, which lacks variables without a gradient
        for variable, average in zip(self._trainable_variables, self._model_variables_moving_average):
            average.assign(decay * tf.convert_to_tensor(average) + (1.0 - decay) * tf.convert_to_tensor(variable))

    @property
    def is_averaging(self) -> bool:
        """Whether stochastic weight averaging has begun."""
        return self._averaged is not None and int(self._averaged.numpy()) > 0

    def swap_averages(self) -> None:
        """Exchange the trained weights with their moving averages, exactly; a second call restores them."""
        for variable, average in zip(self._trainable_variables, self._model_variables_moving_average):
            value = variable.numpy()
            variable.assign(average)
            average.assign(value)

    def get_config(self) -> dict[str, Any]:
        names = ("coupled_weight_decay", "bias_learning_rate_scale", "backbone_learning_rate_scale", "swa_start")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
