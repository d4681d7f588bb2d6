"""tf2onnx with its faults fixed."""

import subprocess
import sys

import keras
import pytest
import tensorflow as tf

from tfrcnn.compat import HARD_SIGMOID, HARD_SILU
from tfrcnn.export.onnx import graph as onnx_graph
from tfrcnn.export.onnx.writer import _fixed_tf2onnx

tf2onnx = pytest.importorskip("tf2onnx")

WEIGHTS = """
import resource
import numpy as np, tensorflow as tf, tf2onnx
from tfrcnn.export.onnx.writer import _fixed_tf2onnx

random = np.random.default_rng(0)
weights = [tf.Variable(random.random((1024, 2048), np.float32)) for _ in range(8)]  # 8 MiB each
function = tf.function(lambda x: [x @ w for w in weights], input_signature=[tf.TensorSpec([1, 1024])])
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
with _fixed_tf2onnx():
    model, _ = tf2onnx.convert.from_function(function, function.input_signature, opset=17)
assert len(model.graph.initializer) == 8
print((peak() - before) / 64)
"""


def test_a_number_added_to_a_convolution_without_a_bias_leaves_no_transposes():
    kernel = tf.random.normal([3, 3, 3, 3])

    def network(images):
        features = tf.nn.relu(tf.nn.conv2d(images, kernel, 1, "SAME") + 3.0)
        return tf.nn.conv2d(features, kernel, 1, "SAME")

    function = tf.function(network, input_signature=[tf.TensorSpec([None, None, None, 3])])
    with _fixed_tf2onnx():
        model, _ = tf2onnx.convert.from_function(function, function.input_signature, opset=17)
    assert [node.op_type for node in model.graph.node].count("Transpose") == 3  # of input, output and kernel


def test_tensorflows_hard_swish_becomes_onnxs():
    silu, sigmoid = (keras.activations.get(name) for name in (HARD_SILU, HARD_SIGMOID))

    def network(images):
        return tf.stack([silu(images), sigmoid(-images)])

    function = tf.function(network, input_signature=[tf.TensorSpec([None, None, None, 3])])
    model, _ = tf2onnx.convert.from_function(function, function.input_signature, opset=17)
    onnx_graph.fuse_hard_swish(model)
    operators = [node.op_type for node in model.graph.node]
    assert (operators.count("HardSwish"), operators.count("HardSigmoid"), operators.count("Clip")) == (1, 1, 0)


@pytest.mark.slow
def test_the_converter_does_not_pile_up_copies_of_the_weights():
    """At its peak it holds 32 times their size, most of it in TensorFlow's own freezing; without our care, 46 times."""
    process = subprocess.run([sys.executable, "-c", WEIGHTS], capture_output=True, text=True, check=True)
    assert float(process.stdout) < 38, process.stdout
