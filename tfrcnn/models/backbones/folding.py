"""Fold batch norms with fixed statistics into the convolutions before them.

TensorFlow adds a bias and applies an activation inside the convolution. A batch norm costs two more passes over the
feature map. The price of folding is one more rounding of the kernel: docs/performance.md has figures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfrcnn.compat import calls_of
from tfrcnn.layers.base import register


def convolve_and_normalize(
    conv: keras.layers.Layer, norm: keras.layers.BatchNormalization, x: tf.Tensor, training: bool | None
) -> tf.Tensor:
    """Compute norm(conv(x)) up to round-off.

    m and v are the statistics, s = gamma / sqrt(v + epsilon): s (K x + b - m) + beta == (s K) x + s (b - m) + beta.
    Gradients reach kernel, bias, gamma and beta, folded or not.

    Args:
        conv: A built convolution.
        norm: A built batch norm; `can_fold(conv, norm)` must be true.
        x: [B, rows, columns, C].
        training: True normalises by the batch and updates the statistics, unless the batch norm is frozen.

    Returns:
        [B, rows, columns, O] in the convolution's compute dtype. The kernel is folded in float32.
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
    weight = _value(conv.weights[0])  # the kernel, whatever attribute holds it
    padding, dilations = conv.padding.upper(), list(conv.dilation_rate)
    if isinstance(conv, keras.layers.DepthwiseConv2D):
        kernel = tf.cast(weight * scale[:, None], conv.compute_dtype)
        y = tf.nn.depthwise_conv2d(x, kernel, [1, *conv.strides, 1], padding, dilations=dilations)
    else:
        kernel = tf.cast(weight * scale, conv.compute_dtype)
        y = tf.nn.conv2d(x, kernel, list(conv.strides), padding, dilations=dilations)
    return tf.nn.bias_add(y, shift)


def can_fold(conv: keras.layers.Layer, norm: keras.layers.Layer) -> bool:
    """Return whether `convolve_and_normalize` supports these two layers."""
    if type(conv) not in (keras.layers.Conv2D, keras.layers.DepthwiseConv2D):
        return False
    if type(norm) is not keras.layers.BatchNormalization or tf.nest.flatten(norm.axis) not in ([-1], [3]):
        return False
    return (
        conv.activation is keras.activations.linear
        and conv.data_format == "channels_last"
        and getattr(conv, "depth_multiplier", 1) == 1
        and conv.dtype_policy.name == norm.dtype_policy.name
        and conv.activity_regularizer is norm.activity_regularizer is None
    )


class FoldedConv(keras.layers.Layer):
    """A convolution and the batch norm behind it as one layer. It has no further weights."""

    def __init__(self, conv: keras.layers.Layer, norm: keras.layers.BatchNormalization) -> None:
        super().__init__(dtype=conv.dtype_policy, name=conv.name, autocast=False)
        self.conv = conv
        self.norm = norm
        self.built = True

    def call(self, x: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Compute [B, rows, columns, C] -> [B, rows, columns, O]."""
        return convolve_and_normalize(self.conv, self.norm, x, training)


class FoldedNorm(keras.layers.Layer):
    """Stands for a batch norm that a `FoldedConv` has computed already: returns its input."""

    def call(self, x: tf.Tensor, training: bool | None = None, mask: Any = None) -> tf.Tensor:
        return x


@register
class FoldedModel(keras.Model):
    """A functional model that computes each batch norm within the convolution before it.

    It has the layers, names and weights of the plain functional model. A second model with the same variables does the
    computing: a convolution and a batch norm become one `FoldedConv` there if the model calls each of them once, and
    nothing else uses the convolution's output. Frozen layers and new weights take effect as usual.
    """

    # Keras saves a functional model as such only if its class has these arguments.
    def __init__(self, inputs: Any, outputs: Any, name: str | None = None, **kwargs: Any) -> None:
        super().__init__(inputs=inputs, outputs=outputs, name=name, **kwargs)
        folded = _folded(keras.Model(inputs, outputs, name="folded"))
        # A function hides the second model from Keras, which would count its layers twice.
        self._compute: Callable[..., Any] = lambda x, training: folded(x, training=training)

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
    """Return the batch norm to fold into a convolution, by the convolution's name."""
    calls = calls_of(model)
    called = Counter(id(layer) for layer, _, _ in calls)
    uses = Counter(id(tensor) for _, inputs, _ in calls for tensor in inputs)
    uses.update(id(tensor) for tensor in model.outputs)
    makers = {id(tensor): layer for layer, _, outputs in calls for tensor in outputs}
    norms: dict[str, keras.layers.BatchNormalization] = {}
    for norm, inputs, _ in calls:
        if not inputs:  # the model's input
            continue
        x = inputs[0]
        conv = makers[id(x)]
        if can_fold(conv, norm) and called[id(conv)] == called[id(norm)] == uses[id(x)] == 1:
            norms[conv.name] = norm
    return norms


def _value(variable: Any) -> tf.Tensor:
    return tf.cast(tf.convert_to_tensor(variable), tf.float32)
