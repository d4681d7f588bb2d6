"""What tf2onnx leaves to be done in an ONNX graph."""

from __future__ import annotations

from typing import Any

import numpy as np


def fold_scales(model: Any) -> None:
    """Fold, in place, what multiplies or shifts each channel of a convolution into its weights and bias.

    tf2onnx does so for convolutions, but leaves the batch norm behind a depthwise one as a Mul and an Add. ONNX
    Runtime folds them when it loads the file; its quantizer, and other runtimes, do not.
    """
    from onnx import numpy_helper

    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    uses: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            uses.setdefault(name, []).append(node)
    outputs = {value.name for value in graph.output}

    def value(name: str) -> np.ndarray:
        return numpy_helper.to_array(weights[name])

    def replace(name: str, array: np.ndarray) -> None:
        weights[name].CopyFrom(numpy_helper.from_array(array.astype(np.float32), name))

    for conv in [node for node in graph.node if node.op_type == "Conv"]:
        kernel = conv.input[1]
        if kernel not in weights or len(uses[kernel]) > 1 or (len(conv.input) > 2 and len(uses[conv.input[2]]) > 1):
            continue
        channels = value(kernel).shape[0]
        while conv.output[0] not in outputs and len(uses.get(conv.output[0], ())) == 1:
            after = uses[conv.output[0]][0]
            other = next((name for name in after.input if name != conv.output[0]), "")
            if after.op_type not in ("Mul", "Add") or other not in weights:
                break
            if value(other).size != channels or value(other).shape[-3:] != (channels, 1, 1):
                break
            factor = value(other).reshape(-1)
            bias = value(conv.input[2]) if len(conv.input) > 2 else np.zeros(channels, np.float32)
            if after.op_type == "Mul":
                replace(kernel, value(kernel) * factor.reshape(-1, 1, 1, 1))
                bias = bias * factor
            else:
                bias = bias + factor
            if len(conv.input) > 2:
                replace(conv.input[2], bias)
            else:
                name = f"{kernel}_bias"
                graph.initializer.append(numpy_helper.from_array(bias.astype(np.float32), name))
                weights[name] = graph.initializer[-1]
                uses[name] = [conv]
                conv.input.append(name)
            conv.output[0] = after.output[0]
            graph.node.remove(after)
    drop_unused_weights(graph)


def drop_unused_weights(graph: Any) -> None:
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
