"""Receptive fields: the paper's, small ones by hand, and a check by gradients."""

import keras
import numpy as np
import tensorflow as tf

from tfrcnn.models.backbones.zf import zf
from tfrcnn.models.receptive_field import receptive_field

RPN_CONVOLUTION = keras.layers.Conv2D(1, 3)


def test_that_of_zf_is_171_pixels_as_the_paper_says():
    assert receptive_field([*zf().layers, RPN_CONVOLUTION]) == (171, 16)


def test_that_of_vgg_is_228_pixels_as_the_paper_says():
    layers = keras.applications.VGG16(include_top=False, weights=None).layers
    shared = layers[: [layer.name for layer in layers].index("block5_conv3") + 1]
    assert receptive_field([*shared, RPN_CONVOLUTION]) == (228, 16)


def test_two_convolutions_by_three_see_five_pixels():
    assert receptive_field([keras.layers.Conv2D(1, 3), keras.layers.Conv2D(1, 3)]) == (5, 1)


def test_a_stride_multiplies_what_follows():
    # 7 pixels, plus 2 more cells that are 2 pixels apart
    layers = [keras.layers.Conv2D(1, 7, strides=2), keras.layers.ReLU(), keras.layers.MaxPooling2D(3, 2)]
    assert receptive_field(layers) == (7 + 2 * 2, 4)


def test_no_layer_sees_its_own_pixel():
    assert receptive_field([]) == (1, 1)


def test_gradients_reach_as_far_and_no_further():
    layers = [
        keras.layers.Conv2D(2, 5, strides=2, padding="same", kernel_initializer="ones"),
        keras.layers.Conv2D(2, 3, dilation_rate=2, padding="same", kernel_initializer="ones"),
        keras.layers.AveragePooling2D(2, 2),
    ]
    model = keras.Sequential(layers)
    image = tf.Variable(tf.random.stateless_uniform([1, 64, 64, 1], [0, 0]))
    with tf.GradientTape() as tape:
        center = model(image)[0, 8, 8, 0]
    columns = np.flatnonzero(np.abs(tape.gradient(center, image)[0, :, :, 0]).sum(axis=0))
    assert receptive_field(layers) == (columns.max() - columns.min() + 1, 4)
