"""What differs between Keras 2 (TensorFlow 2.15) and Keras 3. No other file asks for the version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfrcnn.errors import InputError

KERAS_2 = keras.__version__.startswith("2.")
SUMS_BEFORE_CLIPPING = KERAS_2  # the gradients of the replicas of `tf.distribute`
CALLBACKS_SET_RATES = not KERAS_2  # there they assign to a variable, which a schedule is not
ONLY_FIRST_REPLICA = tf.VariableAggregation.ONLY_FIRST_REPLICA if KERAS_2 else "only_first_replica"
# Keras 2 has no hard_silu, and its hard_sigmoid is another function
HARD_SIGMOID = (lambda x: tf.nn.relu6(x + 3.0) * (1 / 6)) if KERAS_2 else "hard_sigmoid"
HARD_SILU = (lambda x: x * (tf.nn.relu6(x + 3.0) * (1 / 6))) if KERAS_2 else "hard_silu"


def no_autocast(model: keras.Model) -> keras.Model:
    """Let a functional model take its inputs in their own precision; Keras 2 has no argument for it."""
    model.autocast = model._autocast = False
    return model


def path_of(variable: Any) -> str:
    """Return the path of a variable, for example "rpn_head/conv0/kernel"."""
    return str(getattr(variable, "path", None) or variable.name).split(":")[0]


def tensorflow_variable(variable: Any) -> tf.Variable:
    """Return the TensorFlow variable of a Keras variable; in Keras 2 they are the same."""
    return variable if KERAS_2 else variable.value


def calls_of(model: keras.Model) -> list[tuple[keras.layers.Layer, list[Any], list[Any]]]:
    """List the calls that make up a functional model: the layer, its inputs and its outputs, the last call first."""
    nodes = [node for _, at_depth in sorted(model._nodes_by_depth.items()) for node in at_depth]  # no public list
    if KERAS_2:
        return [(node.layer, node.keras_inputs, tf.nest.flatten(node.outputs)) for node in nodes]
    return [(node.operation, node.input_tensors, node.output_tensors) for node in nodes]


if not KERAS_2:
    PortableModel = TrainedModel = keras.Model
    SGD = keras.optimizers.SGD
else:

    class PortableModel(keras.Model):  # type: ignore[no-redef]  # mypy knows one version of Keras
        """A functional model whose weights files have the names that Keras 3 gives, even in a subclass."""

        def save_weights(self, filepath: str | Path, *args: Any, **kwargs: Any) -> None:
            keras.Model(self.inputs, self.outputs).save_weights(filepath, *args, **kwargs)

        def load_weights(self, filepath: str | Path, *args: Any, **kwargs: Any) -> None:
            keras.Model(self.inputs, self.outputs).load_weights(filepath, *args, **kwargs)

    class TrainedModel(keras.Model):  # type: ignore[no-redef]
        """Averages the loss over an epoch, and tells `compute_loss` when it is not for training."""

        _loss_tracker = property(lambda self: self.compiled_loss._total_loss_mean)

        def _validate_target_and_loss(self, y: Any, loss: tf.Tensor) -> None:  # Keras passes the loss of each step
            self._loss_tracker.update_state(loss * tf.distribute.get_strategy().num_replicas_in_sync)

        def test_step(self, data: Any) -> dict[str, Any]:
            x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
            loss = self.compute_loss(x, y, self(x, training=False), sample_weight, training=False)
            self._validate_target_and_loss(y, loss)
            return self.get_metrics_result()  # type: ignore[no-any-return]  # Keras is untyped

    class SGD(keras.optimizers.SGD):  # type: ignore[no-redef]
        """Has what Keras 3 calls in a step: variables by index, and `update_step` with the learning rate."""

        gradient_accumulation_steps = None

        def __init__(self, *args: Any, gradient_accumulation_steps: int | None = None, **kwargs: Any) -> None:
            if gradient_accumulation_steps:
                raise InputError("TrainingConfig.accumulation_steps needs TensorFlow 2.16 or newer: set it to 1")
            super().__init__(*args, **{**kwargs, "jit_compile": False})

        def add_variable(self, *args: Any, aggregation: Any = None, **kwargs: Any) -> Any:
            return super().add_variable(*args, **kwargs)  # assigned across replicas, so it needs no aggregation

        def _build_index_dict(self, variables: Any) -> None:
            super()._build_index_dict(variables)
            self._trainable_variables = tuple(variables)

        def _get_variable_index(self, variable: Any) -> int:
            return int(self._index_dict[self._var_key(variable)])

        def _update_step(self, gradient: Any, variable: Any) -> None:
            self.update_step(gradient, variable, self.current_rate)
