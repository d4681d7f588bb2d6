"""Nearest-neighbour upsampling for the feature pyramid."""

from __future__ import annotations

import tensorflow as tf


def repeat(x: tf.Tensor, factor: int, like: tf.Tensor) -> tf.Tensor:
    """Repeat rows and columns of [B, h, w, C] by a whole factor, cut to the size of `like` [B, H, W, C].

    The gradient of TensorFlow's nearest resize does not compile under XLA. Concatenating cells and rows with themselves
    does, and unlike the tiles of tf.repeat it exists in 8 bits and in XNNPACK.
    """
    if factor == 1:
        return x
    batch, rows, columns = tf.unstack(tf.shape(x)[:3])
    x = tf.reshape(tf.concat([x] * factor, axis=-1), [batch, rows, factor * columns * x.shape[-1]])
    x = tf.reshape(tf.concat([x] * factor, axis=-1), [batch, factor * rows, factor * columns, like.shape[-1]])
    if like.shape[1] is None or like.shape[1:3] != x.shape[1:3]:
        shape = tf.shape(like)
        x = x[:, : shape[1], : shape[2]]
    x.set_shape(like.shape)  # with the number of images, or NMS cannot count its sets
    return x
