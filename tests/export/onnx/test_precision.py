"""ONNX files in float16 and int8."""

import numpy as np
import pytest

from tfrcnn.errors import InputError
from tfrcnn.export import ExportOptions, export
from tfrcnn.export.onnx import to_onnx
from tfrcnn.export.onnx.precision import body_nodes, stem_nodes, to_float16
from tfrcnn.export.onnx.runtime import OnnxRuntime

from .detectors import make_detector, picture

onnx = pytest.importorskip("onnx")


def types_of_weights(path, op_type):
    graph = onnx.load(path).graph
    names = {name for node in graph.node if node.op_type == op_type for name in node.input}
    return {tensor.data_type for tensor in graph.initializer if tensor.name in names}


def test_float16_is_half_the_size_and_detects_the_same_to_its_precision(detector, path, tmp_path, reconverted):
    half = to_onnx(detector, tmp_path / "half.onnx", precision="float16")
    assert half.stat().st_size < 0.55 * path.stat().st_size
    runtime = OnnxRuntime(half)
    assert runtime.description["precision"] == "float16"
    images = picture(2, 120, 160)
    outputs, reference = runtime.run(images), OnnxRuntime(path).run(images)
    assert {value.dtype.name for value in outputs.values()} == {"float32"}
    assert abs(outputs["num_detections"] - reference["num_detections"]).max() <= 3
    np.testing.assert_allclose(outputs["detection_scores"][:, :5], reference["detection_scores"][:, :5], atol=0.02)


def test_float16_stops_at_the_layers_that_score_and_at_geometry(detector, tmp_path, reconverted):
    model = onnx.load(to_onnx(detector, tmp_path / "half.onnx", precision="float16"))
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    types = {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    for node in model.graph.node:
        in_float16 = types.get(node.output[0]) == onnx.TensorProto.FLOAT16
        if node.op_type == "Conv":
            assert in_float16 != any(layer in node.name for layer in ("/objectness", "/deltas"))
        if node.op_type in ("RoiAlign", "NonMaxSuppression", "TopK", "Softmax", "Exp"):
            assert not in_float16


def test_a_stage_that_ends_inside_the_body_is_returned_in_float32():
    runtime = pytest.importorskip("onnxruntime")
    make, tensor = onnx.helper.make_node, onnx.numpy_helper.from_array
    kernel = np.full((2, 3, 1, 1), 0.1, np.float32)
    nodes = [make("Conv", ["x", "k"], ["y"]), make("Relu", ["y"], ["z"]), make("Neg", ["y"], ["w"])]
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, None, 2, 2]) for name in "xyzw"]
    graph = onnx.helper.make_graph(nodes, "a", ends[:1], ends[1:], [tensor(kernel, "k")])
    opset = onnx.helper.make_opsetid("", 18)
    model = to_float16(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8))
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    y, z, w = session.run(list("yzw"), {"x": np.full((1, 3, 2, 2), 2, np.float32)})
    assert {value.dtype.name for value in (y, z, w)} == {"float32"}
    for value, expected in ((y, 0.6), (z, 0.6), (w, -0.6)):
        np.testing.assert_allclose(value, np.full((1, 2, 2, 2), expected), rtol=2e-3)
    assert onnx.TensorProto.FLOAT16 in {weight.data_type for weight in model.graph.initializer}


@pytest.mark.soak
def test_a_float16_file_whose_activations_overflow_is_out_of_tolerance(tmp_path):
    detector, scale = make_detector(), 2.0**15
    head, rpn = detector.box_head, detector.rpn_head
    for large, small in (
        (head.hidden[-1], (head.classifier, head.regressor)),
        (rpn.convs[-1], (rpn.objectness, rpn.deltas)),
    ):
        large.kernel.assign(large.kernel * scale)  # a ReLU follows, so that in float32 the detections stay the same
        large.bias.assign(large.bias * scale)
        for layer in small:
            layer.kernel.assign(layer.kernel / scale)
    report = export(detector, tmp_path / "a.onnx", ExportOptions("onnx", "float16"))
    assert report.detections > 100
    assert report.verdict == "out of tolerance", report.faults
    assert [path.name for path in tmp_path.glob("*.onnx")] == ["a.failed.onnx"]


def test_int8_has_8_bit_weights_in_a_third_of_the_size_and_finds_much_the_same(detector, path, tmp_path, reconverted):
    images = [picture(1, 96 + 16 * i, 128, seed=i)[0] for i in range(6)]
    small = to_onnx(detector, tmp_path / "int8.onnx", precision="int8", representative=images)
    assert small.stat().st_size < 0.4 * path.stat().st_size
    assert onnx.TensorProto.INT8 in types_of_weights(small, "DequantizeLinear")
    runtime = OnnxRuntime(small)
    assert runtime.description["precision"] == "int8"
    outputs, reference = runtime.run(images[2][None]), OnnxRuntime(path).run(images[2][None])
    assert abs(outputs["num_detections"][0] / reference["num_detections"][0] - 1) < 0.3
    assert {entry.key for entry in onnx.load(small).metadata_props} == {"tfrcnn", "categories"}


def test_convolutions_of_the_stem_are_known_by_their_kernels_whatever_tf2onnx_calls_them():
    make, tensor = onnx.helper.make_node, onnx.numpy_helper.from_array
    kernel = np.zeros((1, 1, 1, 1), np.float32)
    nodes = [make("Conv", [f"x{i}", f"a/backbone/conv{i}/convolution"], [f"x{i + 1}"], f"Conv__{i}") for i in range(5)]
    nodes.append(make("Conv", ["x5", "a/fpn/lateral0/convolution"], ["x6"], "Conv__5"))
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 1, 8, 8]) for name in ("x0", "x6")]
    weights = [tensor(kernel, node.input[1]) for node in nodes]
    graph = onnx.helper.make_graph(nodes, "a", ends[:1], ends[1:], weights)
    model = onnx.helper.make_model(graph)
    assert stem_nodes(model, body_nodes(model)) == {"Conv__0", "Conv__1", "Conv__2"}


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "needs representative images, found none"),
        ([np.zeros((9, 9, 3), np.float32)], r"representative\[0\] must be RGB 0\.\.255, found 0\.\.0 of float32"),
        (
            [picture(1, 9, 9), np.zeros((3, 9, 9), np.uint8)],
            r"representative\[1\] must be .* found \[3, 9, 9\], channels",
        ),
    ],
)
def test_images_that_int8_cannot_measure_are_refused(detector, tmp_path, reconverted, images, message):
    with pytest.raises(InputError, match=message):
        to_onnx(detector, tmp_path / "a.onnx", precision="int8", representative=images)
    assert list(tmp_path.iterdir()) == []
