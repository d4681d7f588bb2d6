"""Which operators of a TFLite model become integers, by their names."""

import re

import keras
import tensorflow as tf

from tfrcnn.export.tflite import flatbuffer
from tfrcnn.export.tflite.quantize import LARGE, _network_without

STEM, LATER = (f"faster_rcnn/network/backbone/{name}/convolution;" for name in ("stem", "stage1"))


def test_the_networks_operators_are_taken_but_for_the_stem():
    pattern = _network_without([STEM[:-1]])
    assert re.search(pattern, LATER)
    assert not re.search(pattern, STEM)
    assert not re.search(pattern, "faster_rcnn/network/decoder/mul;")


def test_the_later_heads_of_a_cascade_are_taken_but_for_their_outputs():
    pattern = _network_without([STEM[:-1]])
    assert re.search(pattern, "network_1/cascade_1/box_head_2_1/fc6_1/Tensordot/MatMul;")
    assert not re.search(pattern, "network_1/cascade_1/box_head_2_1/box_deltas_1/Tensordot;")


def test_the_residual_blocks_of_a_head_are_taken():
    pattern = _network_without([STEM[:-1]])
    assert re.search(pattern, "network_1/box_head_1/block0_1/conv2_1/conv_1/convolution;")
    assert re.search(pattern, "network_1/box_head_1/block0_1/add;")


def test_without_a_stem_all_of_the_network_is_taken():
    assert all(re.search(_network_without([]), name) for name in (STEM, LATER))


def test_a_convolution_is_named_if_its_kernel_is_large():
    inputs = keras.Input((4, 4, 8), batch_size=1)
    small = keras.layers.Conv2D(8, 3, padding="same", name="small")(inputs)  # 576 weights
    model = keras.Model(inputs, keras.layers.Conv2D(16, 3, padding="same", name="large")(small))  # 1152
    traced = tf.function(lambda x: model(x)).get_concrete_function(tf.TensorSpec([1, 4, 4, 8]))
    file = bytes(tf.lite.TFLiteConverter.from_concrete_functions([traced]).convert())
    assert len(flatbuffer.convolutions(file)) == 2
    assert flatbuffer.convolutions(file, 577) == flatbuffer.convolutions(file)[1:]
    assert flatbuffer.convolutions(file, 1153) == []
    assert 3 * 3 * 1024 * 1024 > LARGE > 3 * 3 * 512 * 512
