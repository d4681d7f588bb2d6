"""What is changed in a converted model."""

import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.export.tflite.flatbuffer import operators, restore_depthwise

CHANNELS = 128  # 3 x 3 x 128: the converter leaves filters of up to 1024 numbers alone
RNG = np.random.default_rng(0)
FILTERS = RNG.normal(size=(3, 3, CHANNELS, 1)).astype(np.float32)
MIXING = RNG.normal(size=(1, 1, CHANNELS, 16)).astype(np.float32)
FILTERS[..., 5, :] *= 100.0  # scales differ between channels


@pytest.fixture(scope="module")
def dynamic():
    """A depthwise and a pointwise convolution with weights in 8 bits."""

    @tf.function(input_signature=[tf.TensorSpec([1, 8, 8, CHANNELS], tf.float32)])
    def compute(image):
        depthwise = tf.nn.depthwise_conv2d(image, FILTERS, [1, 1, 1, 1], "SAME")
        return depthwise, tf.nn.conv2d(depthwise, MIXING, 1, "SAME")

    converter = tf.lite.TFLiteConverter.from_concrete_functions([compute.get_concrete_function()])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return bytes(converter.convert())


def weights(model, path):
    path.write_bytes(model)
    return {row["op"]: row["dtypes"] for row in operators(path)}


def test_depthwise_filters_become_float32_and_others_stay_in_8_bits(dynamic, tmp_path):
    before, after = weights(dynamic, tmp_path / "a"), weights(restore_depthwise(dynamic), tmp_path / "b")
    assert "int8" in before["DEPTHWISE_CONV_2D"]
    assert "int8" not in after["DEPTHWISE_CONV_2D"]
    assert "int8" in after["CONV_2D"]
    assert after["CONV_2D"] == before["CONV_2D"]


def test_restored_filters_have_the_values_of_their_8_bits(dynamic):
    interpreter_module = pytest.importorskip("ai_edge_litert.interpreter")
    interpreter = interpreter_module.Interpreter(model_content=restore_depthwise(dynamic))
    interpreter.allocate_tensors()
    image = RNG.normal(size=(1, 8, 8, CHANNELS)).astype(np.float32)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    outputs = [interpreter.get_tensor(one["index"]) for one in interpreter.get_output_details()]
    (restored,) = [output for output in outputs if output.shape[-1] == CHANNELS]
    scale = np.abs(FILTERS).max(axis=(0, 1), keepdims=True) / 127
    expected = tf.nn.depthwise_conv2d(image, np.round(FILTERS / scale) * scale, [1, 1, 1, 1], "SAME").numpy()
    size = np.abs(expected).max(axis=(0, 1, 2))
    assert (np.abs(restored - expected).max(axis=(0, 1, 2)) < 1e-5 * size).all()
    exact = tf.nn.depthwise_conv2d(image, FILTERS, [1, 1, 1, 1], "SAME").numpy()
    assert np.abs(exact - expected).max() > 1e-3 * size.min()  # 8 bits differ from the filters


def test_a_float32_model_stays_as_it_is(tmp_path):
    @tf.function(input_signature=[tf.TensorSpec([1, 8, 8, CHANNELS], tf.float32)])
    def compute(image):
        return tf.nn.depthwise_conv2d(image, FILTERS, [1, 1, 1, 1], "SAME")

    model = bytes(tf.lite.TFLiteConverter.from_concrete_functions([compute.get_concrete_function()]).convert())
    before, after = weights(model, tmp_path / "a"), weights(restore_depthwise(model), tmp_path / "b")
    assert before == after
    assert len(restore_depthwise(model)) == pytest.approx(len(model), rel=0.1)
