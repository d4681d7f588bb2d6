"""The operators of a SavedModel."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from ..check.operators import count

# These compute nothing themselves
_NO_OPERATORS = (
    *("Const", "NoOp", "Placeholder", "Identity", "VarHandleOp"),
    *("PartitionedCall", "StatefulPartitionedCall"),
)


def operators(path: Path) -> list[dict[str, Any]]:
    """Count the operators of the signature "serving_default", see `check.operators.count`.

    Operators of a function count as often as it is called. The types are the one type that TensorFlow's operator has.
    """
    return count(_operators(path))


def _operators(path: Path) -> Iterator[tuple[str, str]]:
    model = saved_model_pb2.SavedModel()
    model.ParseFromString((path / "saved_model.pb").read_bytes())
    meta = model.meta_graphs[0]
    functions = {function.signature.name: function.node_def for function in meta.graph_def.library.function}
    outputs = [tensor.name for tensor in meta.signature_def["serving_default"].outputs.values()]

    def called(nodes: Iterable[Any]) -> Iterator[Any]:
        """Yield nodes, and after each the nodes of the functions it calls: calls, branches and bodies of loops."""
        for node in nodes:
            yield node
            for value in node.attr.values():
                for function in (value.func, *value.list.func):
                    yield from called(functions.get(function.name, ()))

    for node in called(_inputs_of(outputs, meta.graph_def.node)):
        if node.op not in _NO_OPERATORS:
            kind = node.attr["T"].type if "T" in node.attr else 0
            yield node.op, tf.as_dtype(kind).name if kind else ""


def _inputs_of(outputs: Iterable[str], nodes: Iterable[Any]) -> list[Any]:
    """Return the nodes of a graph that the outputs are computed from."""
    by_name = {node.name: node for node in nodes}
    reached: dict[str, Any] = {}
    waiting = list(outputs)
    while waiting:
        name = waiting.pop().lstrip("^").split(":")[0]  # "^node" is a control input, "node:1" the second output
        if name not in reached:
            reached[name] = by_name[name]
            waiting += reached[name].input
    return list(reached.values())
