"""The operators of an ONNX file."""

from tfrcnn.export.onnx.operators import operators


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
    assert operators(tmp_path / "a.onnx") == [
        {"op": "MatMul", "count": 2, "dtypes": "float -> float"},
        {"op": "DequantizeLinear", "count": 1, "dtypes": "[float int8] -> float"},
        {"op": "Cast", "count": 1, "dtypes": "float -> float16"},
    ]
