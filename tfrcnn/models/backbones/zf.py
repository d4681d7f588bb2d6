"""Zeiler and Fergus' network (arXiv 1311.2901) as the paper shares it: five convolutions, stride 16, 256 channels.

The layers are the same as in py-faster-rcnn (models/pascal_voc/ZF), the fast version. Each side is padded so that cell
i of the last map is centred at pixel 16 i. One thing differs: Caffe's pooling rounds sizes up, which adds a row and a
column of cells beyond the image. Here 16 n pixels give n cells, as in all other backbones.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfrcnn.layers.base import register
from tfrcnn.models.backbones.spec import BackboneSpec

TAPS = ("conv5",)
STAGES = ("pool1", "pool2", "conv3", "conv4", "conv5")
WINDOW, ALPHA, BETA = 3, 5e-5, 0.75  # as in py-faster-rcnn's LRN layers


@register
class LocalResponseNormalization(keras.layers.Layer):
    """Caffe's LRN within a channel: x (1 + alpha m)^-beta.

    m is the mean of x^2 over 3 x 3 cells, with zeros beyond the map.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})  # float16 cannot hold squares of activations

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Normalise [B, H, W, C] -> [B, H, W, C]."""
        margin = WINDOW // 2
        squares = tf.pad(tf.square(x), [[0, 0], [margin, margin], [margin, margin], [0, 0]])
        mean = tf.nn.avg_pool2d(squares, WINDOW, 1, "VALID")
        return x * tf.pow(1.0 + ALPHA * mean, -BETA)


def zf() -> keras.Model:
    """Build the network, with 3.7 M weights: normalised images [B, H, W, 3] -> [B, H / 16, W / 16, 256]."""
    inputs = keras.Input((None, None, 3), name="images")
    x = inputs
    for i, (channels, kernel_size) in enumerate(((96, 7), (256, 5)), start=1):
        x = _conv(x, channels, kernel_size, 2, f"conv{i}")
        x = LocalResponseNormalization(name=f"norm{i}")(x)
        # Zero padding does not change the maximum of numbers >= 0.
        x = keras.layers.ZeroPadding2D(1, name=f"pool{i}_pad")(x)
        x = keras.layers.MaxPooling2D(3, 2, name=f"pool{i}")(x)
    for i, channels in enumerate((384, 384, 256), start=3):
        x = _conv(x, channels, 3, 1, f"conv{i}")
    return keras.Model(inputs, x, name="zf")


def _conv(x: Any, channels: int, kernel_size: int, strides: int, name: str) -> Any:
    """Apply convolution and ReLU with half a kernel of padding on each side.

    Keras' "same" would pad one pixel less at the top and left at stride 2.
    """
    x = keras.layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x)
    conv = keras.layers.Conv2D(
        channels, kernel_size, strides, activation="relu", kernel_initializer="he_normal", name=name
    )
    return conv(x)


SPEC = BackboneSpec(build=lambda config: zf(), taps=TAPS, stages=STAGES, default_weights=lambda config: None)
