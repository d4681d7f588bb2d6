"""A detector whose RPN has features of its own, in every export."""

import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.export import TARGETS, ExportOptions, export
from tfrcnn.export.check.differences import first_divergent, stage_differences
from tfrcnn.export.check.ties import replays
from tfrcnn.export.check.verification import match
from tfrcnn.export.onnx import to_onnx
from tfrcnn.export.stages import run_stages
from tfrcnn.export.tflite import to_tflite
from tfrcnn.export.tflite.flatbuffer import operators
from tfrcnn.inference import Predictor
from tfrcnn.models.transfer import unshare

from .random_detectors import make_detector, make_image

SIZE = (96, 128)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def detector():
    """Two networks with different weights: with equal ones, a mix-up of their features would not show."""
    return unshare(make_detector(size=SIZE), make_detector(size=SIZE, seed=1))


def test_its_stages_end_with_what_the_network_detects(detector):
    images, sizes = tf.constant(make_image(*SIZE), tf.float32), tf.constant([SIZE], tf.float32)
    outputs, whole = run_stages(detector, images, sizes), detector.network([images, sizes])
    np.testing.assert_array_equal(outputs["detections_0"], whole["boxes"])
    np.testing.assert_array_equal(outputs["detections_1"], whole["scores"])
    assert sum(name.startswith("backbone") for name in outputs) == 2 * 4  # the levels of both pyramids


def test_its_replays_are_what_it_detects(detector):
    picture = make_image()[0]
    expected = Predictor(detector).detect(picture)
    assert len(expected.scores) > 10
    (replay,) = replays(detector, picture, tries=1)
    assert match(replay, expected, 150, detector.config.detections, 1e-3)[2:] == ([], [])


@pytest.mark.parametrize("format", ["onnx", pytest.param("tflite", marks=pytest.mark.soak)])
def test_its_file_detects_what_keras_does_and_no_stage_diverges(format, detector, tmp_path):
    options = ExportOptions(format)
    report = export(detector, tmp_path / f"a{TARGETS[format].suffix}", options)
    assert report.passed, report.faults
    assert report.detections > 10
    outputs = stage_differences(detector, options, make_image()[0])
    assert first_divergent(outputs, "float32") is None, outputs


@pytest.mark.soak
def test_both_its_networks_are_in_8_bits_in_a_tflite_file_but_for_their_stems(detector, tmp_path):
    images = [make_image(seed=seed)[0] for seed in range(4)]
    path = to_tflite(detector, tmp_path / "a.tflite", precision="int8", representative=images)
    rows = [row for row in operators(path) if row["op"] == "CONV_2D"]
    in_float = sum(row["count"] for row in rows if row["dtypes"].endswith("float32"))
    assert in_float == 2 * 3 + 4 * 2  # and the objectness and deltas of four levels
    outputs = stage_differences(detector, ExportOptions("tflite", "int8", representative=images), images[0])
    assert outputs["preprocessing"] < 1e-5
    assert 1e-5 < outputs["backbone"] < 0.1


def test_both_its_stems_are_float32_in_an_onnx_file_of_8_bits(detector, tmp_path):
    import onnx

    path = to_onnx(detector, tmp_path / "a.onnx", precision="int8", representative=[make_image()[0]])
    graph = onnx.load(path).graph
    rounded = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    exact = [node for node in graph.node if node.op_type == "Conv" and node.input[1] not in rounded]
    for layer in ("/backbone", "/rpn_backbone"):
        assert sum(layer in node.name for node in exact) == 3
