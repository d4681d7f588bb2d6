"""What an exported file is made of: each kind of operator, how often, and in which numbers it computes.

The table says honestly what a file of 8 bits still does in float32.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]
# of a SavedModel: they compute nothing themselves
_NO_OPERATORS = (
    *("Const", "NoOp", "Placeholder", "Identity", "VarHandleOp"),
    *("PartitionedCall", "StatefulPartitionedCall"),
)


def operators(path: Path, form: str) -> list[Row]:
    """Every kind of operator in an exported file, the most frequent first.

    Args:
        form: one of `contract.FORMATS`.

    Returns:
        of each, op (the format's name), count, and dtypes as "inputs -> outputs", constants in brackets; e.g.
        {"op": "CONV_2D", "count": 52, "dtypes": "int8 [int8 int32] -> int8"}. Of a SavedModel, the operators are
        those of the signature "serving_default", those of a function as often as it is called, and dtypes is the one
        type that TensorFlow's operator has. An ONNX file of 8 bits is of the form "QDQ": its convolutions are written
        as float32 between QuantizeLinear and DequantizeLinear, and the runtime computes the three as one in 8 bits.
    """
    if form == "tflite":
        from ..tflite.flatbuffer import operators as of_tflite

        return of_tflite(path)
    return _count(_of_onnx(path) if form == "onnx" else _of_saved_model(path))


def render(rows: Iterable[Row]) -> str:
    """A Markdown table."""
    lines = [f"| {row['op']} | {row['count']} | {row['dtypes'].replace('->', '→')} |" for row in rows]
    return "\n".join(["| operator | count | inputs [constants] → outputs |", "|---|---|---|", *lines])


def _count(found: Iterable[tuple[str, str]]) -> list[Row]:
    return [{"op": op, "count": count, "dtypes": dtypes} for (op, dtypes), count in Counter(found).most_common()]


def _of_onnx(path: Path) -> Iterable[tuple[str, str]]:
    import onnx

    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    graph = model.graph
    constants = {tensor.name: tensor.data_type for tensor in graph.initializer}
    values = [*graph.input, *graph.value_info, *graph.output]
    computed = {value.name: value.type.tensor_type.elem_type for value in values}

    def named(names: Iterable[str], types: dict[str, int]) -> str:
        found = {onnx.TensorProto.DataType.Name(types[name]).lower() for name in names if types.get(name)}
        return " ".join(sorted(found))

    for node in graph.node:
        inputs, fixed = named(node.input, computed), named(node.input, constants)
        before = [part for part in (inputs, f"[{fixed}]" if fixed else "") if part]
        yield node.op_type, f"{' '.join(before)} -> {named(node.output, computed)}"


def _of_saved_model(path: Path) -> Iterable[tuple[str, str]]:
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel()
    model.ParseFromString((path / "saved_model.pb").read_bytes())
    meta = model.meta_graphs[0]
    functions = {function.signature.name: function.node_def for function in meta.graph_def.library.function}
    outputs = [tensor.name for tensor in meta.signature_def["serving_default"].outputs.values()]

    def reached(nodes: Iterable[Any]) -> Iterator[Any]:
        """Nodes, and behind each those of the functions it calls: of calls, branches and bodies of loops."""
        for node in nodes:
            yield node
            for value in node.attr.values():
                for function in (value.func, *value.list.func):
                    yield from reached(functions.get(function.name, ()))

    for node in reached(_before(outputs, meta.graph_def.node)):
        if node.op not in _NO_OPERATORS:
            kind = node.attr["T"].type if "T" in node.attr else 0
            yield node.op, tf.as_dtype(kind).name if kind else ""


def _before(outputs: Iterable[str], nodes: Iterable[Any]) -> list[Any]:
    """The nodes of a graph that its outputs are computed from."""
    by_name = {node.name: node for node in nodes}
    found: dict[str, Any] = {}
    waiting = list(outputs)
    while waiting:
        name = waiting.pop().lstrip("^").split(":")[0]  # "^node" waits for it, "node:1" is its second result
        if name not in found:
            found[name] = by_name[name]
            waiting += found[name].input
    return list(found.values())
