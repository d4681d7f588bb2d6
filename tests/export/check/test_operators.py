"""The table of operators in a report, of files made by hand."""

import tensorflow as tf

from tfrcnn.export.check.operators import operators, render


def test_an_onnx_files_operators_are_told_apart_by_their_numbers(tmp_path):
    import onnx
    from onnx import TensorProto, helper

    weights = helper.make_tensor("weights", TensorProto.INT8, [2, 2], bytes(4), raw=True)
    scale = helper.make_tensor("scale", TensorProto.FLOAT, [], [0.5])
    nodes = [
        helper.make_node("DequantizeLinear", ["weights", "scale"], ["kernel"]),
        helper.make_node("MatMul", ["x", "kernel"], ["y"]),
        helper.make_node("MatMul", ["y", "kernel"], ["z"]),
        helper.make_node("Cast", ["z"], ["out"], to=TensorProto.FLOAT16),
    ]
    ends = [
        helper.make_tensor_value_info(name, kind, [1, 2])
        for name, kind in (("x", TensorProto.FLOAT), ("out", TensorProto.FLOAT16))
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [weights, scale])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "a.onnx")
    assert operators(tmp_path / "a.onnx", "onnx") == [
        {"op": "MatMul", "count": 2, "dtypes": "float -> float"},
        {"op": "DequantizeLinear", "count": 1, "dtypes": "[float int8] -> float"},
        {"op": "Cast", "count": 1, "dtypes": "float -> float16"},
    ]


def test_a_saved_models_operators_are_those_that_compute(tmp_path):
    module = tf.Module()
    module.serve = tf.function(lambda x: {"y": tf.cast(tf.tanh(tf.tanh(x)), tf.int32)}, [tf.TensorSpec([2])])
    tf.saved_model.save(module, str(tmp_path / "m"), signatures={"serving_default": module.serve})
    rows = operators(tmp_path / "m", "saved_model")
    assert rows == [
        {"op": "Tanh", "count": 2, "dtypes": "float32"},
        {"op": "Cast", "count": 1, "dtypes": ""},
    ]


def test_a_saved_models_operators_are_those_of_its_serving_signature(tmp_path):
    module = tf.Module()
    module.scale = tf.Variable([1.0, 2.0])
    inner = tf.function(lambda x: tf.tanh(x) * module.scale, [tf.TensorSpec([2])])
    spec = [tf.TensorSpec([2])]

    @tf.function(input_signature=spec)
    def serve(x):
        y = inner(inner(x))  # called twice
        return {"y": tf.cond(y[0] > 0.0, lambda: tf.exp(y), lambda: tf.math.log(y))}

    module.serve, module.inner = serve, inner
    module.other = tf.function(lambda x: {"y": tf.exp(inner(x))}, spec)
    signatures = {"serving_default": module.serve, "other": module.other}
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=signatures)
    counts = {row["op"]: row["count"] for row in operators(tmp_path / "m", "saved_model")}
    assert (counts["Tanh"], counts["Mul"], counts["Exp"], counts["Log"]) == (2, 2, 1, 1)
    assert not {"SaveV2", "RestoreV2", "StatefulPartitionedCall", "VarHandleOp"} & set(counts)


def test_a_saved_detectors_convolutions_are_those_of_its_layers(saved_detector, saved_path):
    kernels = [weight for weight in saved_detector.weights if len(weight.shape) == 4]
    counts = {row["op"]: row["count"] for row in operators(saved_path, "saved_model")}
    # the three of the RPN's head at each of four levels
    assert counts["Conv2D"] == len(kernels) + 3 * (4 - 1)


def test_the_table_has_a_row_for_each_kind():
    rows = [{"op": "CONV_2D", "count": 52, "dtypes": "int8 [int8 int32] -> int8"}]
    assert render(rows).splitlines()[-1] == "| CONV_2D | 52 | int8 [int8 int32] → int8 |"
