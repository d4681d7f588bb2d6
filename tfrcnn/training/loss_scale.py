"""Loss scaling of mixed_float16 under `tf.distribute`."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfrcnn import compat
from tfrcnn.training.replicas import mean_over_replicas


class SharedLossScale(keras.mixed_precision.LossScaleOptimizer):
    """Skips a step on all replicas if a gradient of any replica overflows.

    Keras 3 looks at the gradients before they are summed, so each replica sees its own alone. In one process the
    replicas then follow the first. Several workers wait for each other for ever.
    """

    def check_finite(self, grads: Any) -> Any:
        is_finite = super().check_finite(grads)
        return tf.equal(mean_over_replicas(tf.cast(is_finite, tf.float32)), 1.0)


def shared_scale(optimizer: Any) -> Any:
    """Return the optimizer with one loss scale for all replicas; one that does not scale the loss is returned as it is.

    Call it in the scope of the strategy.
    """
    is_scaled = isinstance(optimizer, keras.mixed_precision.LossScaleOptimizer)
    if compat.SUMS_BEFORE_CLIPPING or not is_scaled or tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return optimizer
    return SharedLossScale(optimizer.inner_optimizer, optimizer.initial_scale, optimizer.dynamic_growth_steps)
