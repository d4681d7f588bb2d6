"""The table of operators in a report, of files made by hand."""

import tensorflow as tf

from tfrcnn.export.operators import operators, render


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
    # each function is there twice: by itself, and as the signature calls it
    assert {"op": "Tanh", "count": 2, "dtypes": "float32"} in rows
    assert not {row["op"] for row in rows} & {"Const", "Identity", "NoOp", "Placeholder"}


def test_the_table_has_a_row_for_each_kind():
    rows = [{"op": "CONV_2D", "count": 52, "dtypes": "int8 [int8 int32] -> int8"}]
    assert render(rows).splitlines()[-1] == "| CONV_2D | 52 | int8 [int8 int32] → int8 |"
