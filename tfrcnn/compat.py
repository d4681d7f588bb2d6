"""What differs between Keras 2 (TensorFlow 2.15) and Keras 3. No other file asks for the version."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import tensorflow as tf

from tfrcnn.errors import InputError

KERAS_2 = keras.__version__.startswith("2.")
SUMS_BEFORE_CLIPPING = KERAS_2  # the gradients of the replicas of `tf.distribute`
FOLDS_NORMS = not KERAS_2  # folding is not verified with Keras 2
KerasTensor = keras.__internal__.KerasTensor if KERAS_2 else keras.KerasTensor
Variable = tf.Variable if KERAS_2 else keras.Variable
ONLY_FIRST_REPLICA = tf.VariableAggregation.ONLY_FIRST_REPLICA if KERAS_2 else "only_first_replica"


def no_autocast(model: keras.Model) -> keras.Model:
    """Let a functional model take its inputs in their own precision; Keras 2 has no argument for it."""
    model.autocast = model._autocast = False
    return model


def name_of(variable: Any) -> str:
    """Return the last part of a variable's path, for example "kernel"; Keras 2 has names such as "conv/kernel:0"."""
    return str(variable.name).split("/")[-1].split(":")[0]


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
        """Writes and reads weights files as Keras 3 does, so that they move between the versions."""

        def save_weights(self, filepath: str | Path, *args: Any, **kwargs: Any) -> None:
            with h5py.File(filepath, "w") as file:
                for path, layer in _walk(self, "", set()):
                    layer.save_own_variables(file.create_group(f"{path}vars"))

        def load_weights(self, filepath: str | Path, *args: Any, **kwargs: Any) -> None:
            with h5py.File(filepath) as file:
                for path, layer in _walk(self, "", set()):
                    layer.load_own_variables(file.get(f"{path}vars", {}))

    class TrainedModel(keras.Model):  # type: ignore[no-redef]
        """Calls `compute_loss` with whether it is for training, and averages the loss over an epoch."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._loss_tracker = keras.metrics.Mean("loss")

        @property
        def compiled(self) -> bool:
            return bool(self._is_compiled)

        def train_step(self, data: Any) -> dict[str, Any]:
            with tf.GradientTape() as tape:
                loss = self._loss(data, training=True)
            self.optimizer.minimize(loss, self.trainable_variables, tape=tape)
            return self.get_metrics_result()  # type: ignore[no-any-return]  # Keras is untyped

        def test_step(self, data: Any) -> dict[str, Any]:
            self._loss(data, training=False)
            return self.get_metrics_result()  # type: ignore[no-any-return]

        def _loss(self, data: Any, training: bool) -> tf.Tensor:
            x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
            loss = self.compute_loss(x, y, self(x, training=training), sample_weight, training=training)
            self._loss_tracker.update_state(loss * tf.distribute.get_strategy().num_replicas_in_sync)
            return loss

    class SGD(keras.optimizers.SGD):  # type: ignore[no-redef]
        """Has what Keras 3 calls in a step: variables by index, and `update_step` with the learning rate."""

        built = False
        gradient_accumulation_steps = None
        _trainable_variables: tuple[tf.Variable, ...] = ()

        def __init__(self, *args: Any, gradient_accumulation_steps: int | None = None, **kwargs: Any) -> None:
            if gradient_accumulation_steps:
                raise InputError("TrainingConfig.accumulation_steps needs TensorFlow 2.16 or newer: set it to 1")
            super().__init__(*args, **{**kwargs, "jit_compile": False})

        def build(self, variables: Any) -> None:
            self._trainable_variables = self._trainable_variables or tuple(variables)
            super().build(variables)
            self.built = True

        def add_variable(self, shape: Any, initializer: Any, dtype: Any, aggregation: Any = 0, name: Any = None) -> Any:
            value = keras.initializers.get(initializer)(shape, dtype)
            variable = tf.Variable(value, False, name=name, aggregation=aggregation or tf.VariableAggregation.NONE)
            self._variables.append(variable)
            return variable

        def _get_variable_index(self, variable: Any) -> int:
            return int(self._index_dict[self._var_key(variable)])

        def _update_step(self, gradient: Any, variable: Any) -> None:
            self.update_step(gradient, variable, self.current_rate)


def _walk(layer: keras.layers.Layer, path: str, seen: set[int]) -> Iterator[tuple[str, keras.layers.Layer]]:
    """Yield a layer and the layers within it, each with its path in a weights file of Keras 3."""
    seen.add(id(layer))
    yield path, layer
    children = {"layers": layer.layers} if isinstance(layer, keras.Model) else vars(layer)
    attributes = sorted(children.keys() - vars(keras.layers.Layer()), key=lambda name: (name[0] == "_", name))
    for attribute in attributes:
        child, count = children[attribute], Counter[str]()
        if isinstance(child, keras.layers.Layer) and id(child) not in seen:
            yield from _walk(child, f"{path}{attribute}/", seen)
        for part in child if isinstance(child, list | tuple) else ():
            if isinstance(part, keras.layers.Layer) and id(part) not in seen:
                name = re.sub("(?<=[a-z])(?=[A-Z])|(?<=.)(?=[A-Z][a-z])", "_", type(part).__name__).lower()
                yield from _walk(part, f"{path}{attribute}/{name}{f'_{count[name]}' if count[name] else ''}/", seen)
                count[name] += 1
