"""Batch norm folded into the convolution before it, wherever its statistics are fixed.

TensorFlow adds a bias, and computes an activation behind it, within the convolution; a batch norm is two passes over
the feature map of its own. The price is that a folded kernel is rounded once more: docs/performance.md has figures.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import keras
import tensorflow as tf

from tfrcnn.layers.base import register


def convolve_and_normalize(
    conv: keras.layers.Layer, norm: keras.layers.BatchNormalization, x: tf.Tensor, training: bool | None
) -> tf.Tensor:
    """norm(conv(x)), but for round-off, of two layers that are built and `can_fold`.

    With m, v the statistics and s = gamma / sqrt(v + epsilon): s (K x + b - m) + beta == (s K) x + s (b - m) + beta.

    Args:
        x: [B, rows, columns, .].
        training: True normalises by the batch, and updates the statistics, unless the batch norm is frozen. Gradients
            reach kernel, bias, gamma and beta in either form.

    Returns:
        [B, rows, columns, .] of the convolution's compute dtype; the kernel is folded in float32.
    """
    if training and norm.trainable:
        return norm(conv(x), training=True)
    scale = tf.math.rsqrt(_value(norm.moving_variance) + norm.epsilon)
    if norm.scale:
        scale *= _value(norm.gamma)
    offset = (_value(conv.bias) if conv.use_bias else 0.0) - _value(norm.moving_mean)
    shift = offset * scale
    if norm.center:
        shift += _value(norm.beta)
    x, shift = (tf.cast(value, conv.compute_dtype) for value in (x, shift))
    padding, dilations = conv.padding.upper(), list(conv.dilation_rate)
    if isinstance(conv, keras.layers.DepthwiseConv2D):
        kernel = tf.cast(_value(conv.kernel) * scale[:, None], conv.compute_dtype)
        y = tf.nn.depthwise_conv2d(x, kernel, [1, *conv.strides, 1], padding, dilations=dilations)
    else:
        kernel = tf.cast(_value(conv.kernel) * scale, conv.compute_dtype)
        y = tf.nn.conv2d(x, kernel, list(conv.strides), padding, dilations=dilations)
    return tf.nn.bias_add(y, shift)


def can_fold(conv: keras.layers.Layer, norm: keras.layers.Layer) -> bool:
    """Whether they are a convolution and a batch norm that `convolve_and_normalize` understands."""
    if type(conv) not in (keras.layers.Conv2D, keras.layers.DepthwiseConv2D):
        return False
    if type(norm) is not keras.layers.BatchNormalization or norm.axis not in (-1, 3):
        return False
    return (
        conv.activation is keras.activations.linear
        and conv.data_format == "channels_last"
        and getattr(conv, "depth_multiplier", 1) == 1
        and conv.dtype_policy == norm.dtype_policy
        and conv.activity_regularizer is norm.activity_regularizer is None
    )


class FoldedConv(keras.layers.Layer):
    """A convolution and the batch norm behind it as one layer, without weights but theirs."""

    def __init__(self, conv: keras.layers.Layer, norm: keras.layers.BatchNormalization) -> None:
        super().__init__(dtype=conv.dtype_policy, name=conv.name, autocast=False)
        self.conv = conv
        self.norm = norm
        self.built = True

    def call(self, x: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """[B, rows, columns, .] -> [B, rows, columns, .]."""
        return convolve_and_normalize(self.conv, self.norm, x, training)


class FoldedNorm(keras.layers.Layer):
    """In the place of a batch norm that a `FoldedConv` computes: what it is given."""

    def call(self, x: tf.Tensor, training: bool | None = None, mask: Any = None) -> tf.Tensor:
        return x


@register
class FoldedModel(keras.Model):
    """A functional model that computes each batch norm within the convolution before it.

    Layers, their names and weights are those of the model as it was written. It is computed by a second one, in which
    a convolution whose output nothing but a batch norm takes is a `FoldedConv` of both, if the model uses each of them
    once; freezing a layer, or giving it weights, is seen by it.
    """

    # these arguments, or Keras does not save it as the functional model that it is
    def __init__(self, inputs: Any, outputs: Any, name: str | None = None, **kwargs: Any) -> None:
        super().__init__(inputs=inputs, outputs=outputs, name=name, **kwargs)
        folded = _folded(keras.Model(inputs, outputs, name="folded"))
        self._compute = lambda x, training: folded(x, training=training)  # a function, lest Keras count layers twice

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: Any = None) -> Any:
        return self._compute(inputs, training)


def _folded(model: keras.Model) -> keras.Model:
    norms = _foldable(model)
    folded = {norm.name for norm in norms.values()}

    def replaced(layer: keras.layers.Layer) -> keras.layers.Layer:
        if layer.name in norms:
            return FoldedConv(layer, norms[layer.name])
        if layer.name in folded:
            return FoldedNorm(dtype=layer.dtype_policy, name=layer.name)
        return layer

    return keras.models.clone_model(model, clone_function=replaced) if norms else model


def _foldable(model: keras.Model) -> dict[str, keras.layers.BatchNormalization]:
    """The batch norm to fold into a convolution, by the convolution's name."""
    # the calls that make up the model, of layers and of Keras' operations; it has no public list of them
    calls = [call for depth in model._nodes_by_depth.values() for call in depth]
    used = Counter(id(call.operation) for call in calls)
    taken = Counter(id(tensor) for call in calls for tensor in call.input_tensors)
    taken.update(id(tensor) for tensor in model.outputs)
    makers = {id(tensor): call.operation for call in calls for tensor in call.output_tensors}
    found = {}
    for call in calls:
        if not call.input_tensors:  # where the model's input comes in
            continue
        norm, given = call.operation, call.input_tensors[0]
        conv = makers[id(given)]
        if can_fold(conv, norm) and used[id(conv)] == used[id(norm)] == taken[id(given)] == 1:
            found[conv.name] = norm
    return found


def _value(variable: Any) -> tf.Tensor:
    return tf.cast(tf.convert_to_tensor(variable), tf.float32)
