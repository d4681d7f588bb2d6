"""Changes to a graph, on graphs small enough to compute by hand."""

import numpy as np
import pytest

from tfrcnn.export.onnx.graph import (
    count_in_64_bits,
    fold_pads,
    fuse_hard_swish,
    leave_out_empty_inputs,
    name_loop_outputs,
)

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def model_of(*nodes, **weights):
    """x [1, 2, 3, 3] -> nodes -> y, all float32."""
    value = onnx.helper.make_tensor_value_info
    nodes = [
        onnx.helper.make_node(op, inputs.split(), outputs.split(), **attrs) for op, inputs, outputs, attrs in nodes
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "graph",
        [value("x", onnx.TensorProto.FLOAT, [1, 2, 3, 3])],
        [value("y", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(np.asarray(array, np.float32), name) for name, array in weights.items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


def result(model):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {"x": np.arange(18, dtype=np.float32).reshape(1, 2, 3, 3)})[0]


SHIFTED = ("Sub", "x nine", "s", {})  # -9 .. 8, on both sides of what is clipped
HARD_SIGMOID = [SHIFTED, ("Add", "s three", "a", {}), ("Clip", "a zero six", "c", {}), ("Mul", "c sixth", "g", {})]
NUMBERS = {"nine": 9.0, "three": 3.0, "zero": 0.0, "six": 6.0, "sixth": 1 / 6}


@pytest.mark.parametrize(
    ("behind", "expected"),
    [
        ([("Mul", "s g", "y", {})], ["HardSwish"]),
        ([("Mul", "g s", "y", {})], ["HardSwish"]),
        ([("Mul", "g g", "y", {})], ["HardSigmoid", "Mul"]),
        ([("Mul", "x s", "d", {}), ("Mul", "d g", "y", {})], ["HardSigmoid", "Mul", "Mul"]),
        ([("Mul", "s g", "d", {}), ("Add", "d g", "y", {})], ["HardSigmoid", "Mul", "Add"]),  # g is used twice
        ([("Mul", "s g", "d", {}), ("Add", "d c", "y", {})], ["Add", "Clip", "Mul", "Mul", "Add"]),  # and here c
    ],
)
def test_hard_swish_is_one_operator(behind, expected):
    model = model_of(*HARD_SIGMOID, *behind, **NUMBERS)
    before = result(model)
    fuse_hard_swish(model)
    assert sorted(node.op_type for node in model.graph.node) == sorted(["Sub", *expected])
    np.testing.assert_allclose(result(model), before, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("changed", [{"three": 2.0}, {"six": 7.0}, {"sixth": 0.2}, {"zero": 1.0}])
def test_what_is_no_hard_sigmoid_stays(changed):
    model = model_of(*HARD_SIGMOID, ("Mul", "s g", "y", {}), **{**NUMBERS, **changed})
    fuse_hard_swish(model)
    assert [node.op_type for node in model.graph.node] == ["Sub", "Add", "Clip", "Mul", "Mul"]


ROW_BEHIND = [0, 0, 0, 0, 0, 0, 1, 0]  # before, then behind, of batch, channels, rows and columns
POOL = ("MaxPool", "p", "y", {"kernel_shape": [3, 3], "strides": [2, 2]})


def padded_pool(widths, first=(("Relu", "s", "r", {}),), pad="r widths", pool=POOL, **weights):
    """A pooling of what a ReLU makes of -9 .. 8, with zeros around it."""
    model = model_of(("Sub", "x nine", "s", {}), *first, ("Pad", pad, "p", {}), pool, nine=9.0, zero=0.0, **weights)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(widths, np.int64), "widths"))
    return model


@pytest.mark.parametrize("widths", [[0, 0, 1, 1, 0, 0, 1, 1], ROW_BEHIND, [0, 0, 2, 0, 0, 0, 0, 2]])
@pytest.mark.parametrize("pad", ["r widths", "r widths zero"])
def test_the_zeros_around_a_relus_output_are_left_to_the_pooling(widths, pad):
    model = padded_pool(widths, pad=pad)
    before = result(model)
    fold_pads(model)
    assert [node.op_type for node in model.graph.node] == ["Sub", "Relu", "MaxPool"]
    np.testing.assert_array_equal(result(model), before)


def test_the_padded_maximum_by_hand():
    model = padded_pool([0, 0, 1, 1, 0, 0, 1, 1])
    fold_pads(model)
    np.testing.assert_array_equal(result(model), [[[[0, 0], [0, 0]], [[4, 5], [7, 8]]]])


@pytest.mark.parametrize(
    "changed",
    [
        {"first": [("Neg", "s", "r", {})]},  # below zero, where zeros are the maximum
        {"pad": "r widths one", "one": 1.0},
        {"widths": [0, 1, 1, 1, 0, 0, 1, 1]},  # another channel
        {"widths": [0, 0, -1, 1, 0, 0, 1, 1]},  # a row less
        {"widths": [0, 0, 3, 1, 0, 0, 1, 1]},  # a window of nothing but padding
        {"pool": ("MaxPool", "p", "y", {**POOL[3], "pads": [1, 1, 1, 1]})},
        {"pool": ("AveragePool", "p", "y", POOL[3])},
    ],
)
def test_padding_that_a_pooling_does_otherwise_stays(changed):
    model = padded_pool(**{"widths": [0, 0, 1, 1, 0, 0, 1, 1], **changed})
    before = result(model)
    fold_pads(model)
    assert "Pad" in [node.op_type for node in model.graph.node]
    np.testing.assert_array_equal(result(model), before)


def test_the_k_of_a_top_k_is_counted_in_64_bits_and_is_the_same():
    """min(4, size of the last axis) as tf2onnx writes it, for a size below and above 4."""
    int32, int64 = onnx.TensorProto.INT32, onnx.TensorProto.INT64
    nodes = [
        ("Reshape", "x shape", "r", {}),
        ("Shape", "r", "s64", {}),
        ("Cast", "s64", "s", {"to": int32}),
        ("Slice", "s one two zero", "last", {}),
        ("Squeeze", "last zero", "size", {}),
        ("Min", "four size", "k32", {}),
        ("Cast", "k32", "k64", {"to": int64}),
        ("Unsqueeze", "k64 zero", "k", {}),
        ("TopK", "r k", "y i", {"axis": -1}),
    ]
    for columns in (3, 9):
        model = model_of(*nodes)
        constants = {"shape": [-1, columns], "zero": [0], "one": [1], "two": [2], "four": np.int32(4)}
        for name, value in constants.items():
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
        before = result(model)
        assert before.shape == (18 // columns, min(4, columns))
        count_in_64_bits(model)
        assert "Cast" not in [node.op_type for node in model.graph.node]
        assert not [tensor.name for tensor in model.graph.initializer if tensor.name == "four"]
        np.testing.assert_array_equal(result(model), before)


@pytest.mark.parametrize("used", ["scales", "sizes"])
def test_the_inputs_that_a_resize_does_not_use_have_no_name_and_no_weight(used):
    nodes = [("Resize", "x roi scales sizes" if used == "sizes" else "x roi scales", "y", {})]
    model = model_of(*nodes, roi=[], scales=[] if used == "sizes" else [1, 1, 2, 2], sizes=[1, 2, 6, 6])
    if used == "sizes":
        sizes = next(tensor for tensor in model.graph.initializer if tensor.name == "sizes")
        sizes.CopyFrom(onnx.numpy_helper.from_array(np.array([1, 2, 6, 6]), "sizes"))
    before = result(model)
    leave_out_empty_inputs(model)
    inputs = ["x", "", "", "sizes"] if used == "sizes" else ["x", "", "scales"]
    assert list(model.graph.node[0].input) == inputs
    assert [tensor.name for tensor in model.graph.initializer] == [used]
    np.testing.assert_array_equal(result(model), before)


def test_what_only_the_body_of_a_loop_reads_stays():
    """The body doubles a weight that nothing else reads, and a value that a node outside computes for it alone."""
    value, float32 = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    body = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Add", ["outside", "nine"], ["sum"]),
            onnx.helper.make_node("Add", ["before", "sum"], ["after"]),
            onnx.helper.make_node("Identity", ["go"], ["go_on"]),
        ],
        "body",
        [
            value("step", onnx.TensorProto.INT64, []),
            value("go", onnx.TensorProto.BOOL, []),
            value("before", float32, None),
        ],
        [value("go_on", onnx.TensorProto.BOOL, []), value("after", float32, None)],
    )
    model = model_of(("Neg", "x", "outside", {}), ("Loop", "times always x", "y", {"body": body}), nine=9.0, unused=1.0)
    for name, content in (("times", 2), ("always", True)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(content), name))
    before = result(model)
    fuse_hard_swish(model)  # leaves out what nothing reads
    assert sorted(tensor.name for tensor in model.graph.initializer) == ["always", "nine", "times"]
    np.testing.assert_array_equal(result(model), before)


def test_a_loop_hands_a_tensor_on_under_another_name_which_openvino_needs():
    """y = 3 x: the loop adds `x`, which it only hands on, three times to a sum that begins at zero."""
    value, tensor = onnx.helper.make_tensor_value_info, onnx.numpy_helper.from_array
    floats, booleans = onnx.TensorProto.FLOAT, onnx.TensorProto.BOOL
    body = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Add", ["sum", "same"], ["added"]),
            onnx.helper.make_node("Identity", ["go"], ["goes"]),
        ],
        "body",
        [value("step", onnx.TensorProto.INT64, []), value("go", booleans, [])]
        + [value(name, floats, [1, 2, 3, 3]) for name in ("sum", "same")],
        [value("goes", booleans, [])] + [value(name, floats, [1, 2, 3, 3]) for name in ("added", "same")],
    )
    model = model_of(("Loop", "times yes zeros x", "y unused", {"body": body}), zeros=np.zeros((1, 2, 3, 3)))
    model.graph.initializer.append(tensor(np.array(3), "times"))
    model.graph.initializer.append(tensor(np.array(True), "yes"))
    name_loop_outputs(model)
    loop = model.graph.node[0].attribute[0].g
    assert [output.name for output in loop.output] == ["goes", "added", "same/output"]
    expected = 3 * np.arange(18, dtype=np.float32).reshape(1, 2, 3, 3)
    np.testing.assert_array_equal(result(model), expected)
    openvino = pytest.importorskip("openvino")
    compiled = openvino.Core().compile_model(openvino.Core().read_model(model.SerializeToString()), "CPU")
    np.testing.assert_array_equal(compiled(expected / 3)[0], expected)
