"""The operators of an ONNX file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..check.operators import count, join_types


def operators(path: Path) -> list[dict[str, Any]]:
    """Count the operators of an ONNX file, see `check.operators.count`.

    A file of 8 bits has the form "QDQ": each convolution is written in float32 between QuantizeLinear and
    DequantizeLinear, and the runtime computes the three as one in 8 bits.
    """
    return count(_operators(path))


def _operators(path: Path) -> Iterator[tuple[str, str]]:
    import onnx

    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    constants = {tensor.name: tensor.data_type for tensor in graph.initializer}
    values = (*graph.input, *graph.value_info, *graph.output)
    computed = {value.name: value.type.tensor_type.elem_type for value in values}

    def types(names: Iterable[str], of: dict[str, int]) -> list[str]:
        return [onnx.TensorProto.DataType.Name(of[name]).lower() for name in names if of.get(name)]

    for node in graph.node:
        yield (
            node.op_type,
            join_types(types(node.input, computed), types(node.input, constants), types(node.output, computed)),
        )
