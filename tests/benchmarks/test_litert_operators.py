"""The table of operators: how LiteRT's summary is read, and that its profiler answers."""

import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SUMMARY = """
=== Run Order ===
               Delegate/Convolution 0    1.0    1.000    10.000%    10.000%    0.000    1    Delegate/Convolution:0
=== Summary by node type ===
        [Node type]    [count]   [avg ms]    [avg %]    [cdf %]   [mem KB] [times called]
    Delegate/Multiply (ND)         27      0.050     6.0%    84.3%      0.000            940
                    GATHER        179      0.040     4.2%    93.2%      0.000            895
=== Delegate Statistics ===
Delegate/Multiply (ND)                                                                  940      57.35          0
"""


@pytest.fixture
def litert_operators(monkeypatch):
    package = pytest.importorskip("ai_edge_litert")
    if not Path(package.__file__).with_name("libLiteRt.so").is_file():
        pytest.skip("LiteRT's C interface comes with ai-edge-litert 2 on Linux")
    monkeypatch.syspath_prepend(BENCHMARKS)
    import litert_operators

    yield litert_operators
    del sys.modules["litert_operators"]


def test_time_per_run_is_the_time_of_a_call_times_the_calls(litert_operators):
    rows = litert_operators.rows(SUMMARY, runs=5)
    assert rows == [("Delegate/Multiply (ND)", 188, pytest.approx(9.4)), ("GATHER", 179, pytest.approx(7.16))]


def test_the_profiler_counts_the_operators_of_a_file(litert_operators, tmp_path):
    model = tf.Module()
    weights = tf.constant(np.ones((64, 32), np.float32))

    @tf.function(input_signature=[tf.TensorSpec([1, 64], tf.float32, "image")])
    def serve(image):
        return {"best": tf.argmax(tf.matmul(image, weights), axis=1, output_type=tf.int32)}

    converter = tf.lite.TFLiteConverter.from_concrete_functions([serve.get_concrete_function()], model)
    path = tmp_path / "model.tflite"
    path.write_bytes(converter.convert())
    counts = {kind: count for kind, count, _ in litert_operators.profile(path, threads=1, runs=3)}
    assert counts["ARG_MAX"] == 1
    assert sum(count for kind, count in counts.items() if "Fully Connected" in kind) == 1
