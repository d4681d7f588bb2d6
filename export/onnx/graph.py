"""Simplifications of an ONNX graph that tf2onnx leaves undone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np


def fuse_hard_swish(model: Any) -> None:
    """Replace relu6(x + 3) / 6 by ONNX's HardSigmoid, and x times that by its HardSwish, in place.

    Runtimes compute these in one pass, in the layout of their convolutions. TensorFlow's four operators are four
    passes and a change of layout.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    single = [tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT and _size(tensor) == 1]
    scalars = {tensor.name: numpy_helper.to_array(tensor).item() for tensor in single}
    uses = _uses(graph)
    makers = {name: node for node in graph.node for name in node.output}

    def only_user(node: Any) -> Any:
        users = uses.get(node.output[0], ())
        return users[0] if len(users) == 1 else None

    def with_scalar(node: Any, op_type: str, value: float) -> str | None:
        """Return the other input of `x op value`."""
        if node is None or node.op_type != op_type or len(node.input) != 2:
            return None
        for one, other in (tuple(node.input), tuple(reversed(node.input))):
            if one not in scalars and abs(scalars.get(other, np.inf) - value) < 1e-6:
                return str(one)
        return None

    for clip in [node for node in graph.node if node.op_type == "Clip"]:
        if [scalars.get(name) for name in clip.input[1:]] != [0.0, 6.0]:
            continue
        added, scaled = makers.get(clip.input[0]), only_user(clip)
        x = with_scalar(added, "Add", 3.0)
        if x is None or with_scalar(scaled, "Mul", 1 / 6) is None:
            continue
        product = only_user(scaled)
        if product is not None and product.op_type == "Mul" and sorted(product.input) == sorted([x, scaled.output[0]]):
            last, fused = product, helper.make_node("HardSwish", [x], product.output, product.name)
        else:
            last = scaled
            fused = helper.make_node("HardSigmoid", [x], scaled.output, scaled.name, alpha=1 / 6, beta=0.5)
        last.CopyFrom(fused)
    _drop_unused_nodes(graph)


def fold_pads(model: Any) -> None:
    """Fold zero padding after a ReLU into the MaxPool that follows, in place.

    ONNX pads with -inf. The maximum is the same if each window contains a value of the map and no value is below zero.
    This saves a padded copy of the largest map of a ResNet.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    uses = _uses(graph)
    makers = {name: node for node in graph.node for name in node.output}

    def value(name: str) -> np.ndarray:
        return numpy_helper.to_array(weights[name])

    for pool in [node for node in graph.node if node.op_type == "MaxPool"]:
        pad, options = makers.get(pool.input[0]), {option.name: option for option in pool.attribute}
        if pad is None or pad.op_type != "Pad" or len(uses[pad.output[0]]) > 1 or {"pads", "auto_pad"} & set(options):
            continue
        # data, pads, value, axes; the last two and the mode are optional
        _, widths, filling, axes = [*pad.input, "", ""][:4]
        source, modes = makers.get(pad.input[0]), [option.s for option in pad.attribute if option.name == "mode"]
        if source is None or source.op_type != "Relu" or modes not in ([], [b"constant"]) or axes:
            continue
        if widths not in weights or (filling and (filling not in weights or value(filling).any())):
            continue
        pads = value(widths).reshape(2, 4)  # batch, channels, rows, columns; before and after
        inside = (pads[:, 2:] >= 0) & (pads[:, 2:] < options["kernel_shape"].ints)
        if pads[:, :2].any() or not inside.all():
            continue
        pool.attribute.append(helper.make_attribute("pads", pads[:, 2:].flatten().tolist()))
        pool.input[0] = pad.input[0]
    _drop_unused_nodes(graph)


def count_in_64_bits(model: Any) -> None:
    """Compute a TopK's k = min(n, size of the last axis) in ONNX's int64, in place.

    tf2onnx casts it to TensorFlow's int32. When OpenVINO loads the file, it follows the bounds of an unknown size up to
    2^63 - 1, which is -1 in 32 bits, and fails.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}

    def origin(name: str, *passing: str) -> Any:
        """Return the node that computes `name`, looking through nodes that keep its value."""
        node = makers.get(name)
        while node is not None and node.op_type in passing:
            node = makers.get(node.input[0])
        return node

    for top_k in [node for node in graph.node if node.op_type == "TopK"]:
        smaller = origin(top_k.input[1], "Unsqueeze", "Cast", "Reshape")
        if smaller is None or smaller.op_type != "Min":
            continue
        limits = [name for name in smaller.input if name in weights]
        shapes = [origin(name, "Squeeze", "Slice", "Cast") for name in smaller.input if name not in weights]
        if len(limits) != 1 or any(s is None or s.op_type != "Shape" or s.input[0] != top_k.input[0] for s in shapes):
            continue
        k, limit = f"{top_k.name}/k", numpy_helper.to_array(weights[limits[0]])
        for name, value in ((f"{k}/limit", limit.reshape(1)), (f"{k}/last", np.array([-1]))):
            graph.initializer.append(numpy_helper.from_array(value.astype(np.int64), name))
        position = list(graph.node).index(top_k)
        graph.node.insert(position, helper.make_node("Shape", [top_k.input[0]], [f"{k}/shape"], f"{k}/Shape"))
        gather = helper.make_node("Gather", [f"{k}/shape", f"{k}/last"], [f"{k}/size"], f"{k}/Gather")
        graph.node.insert(position + 1, gather)
        minimum = helper.make_node("Min", [f"{k}/size", f"{k}/limit"], [f"{k}/min"], f"{k}/Min")
        graph.node.insert(position + 2, minimum)
        top_k.input[1] = f"{k}/min"
    _drop_unused_nodes(graph)


def name_loop_outputs(model: Any) -> None:
    """Give an output of a loop's body that is also its input a name of its own, by an Identity, in place.

    OpenVINO 2026.4 counts such an output as a further input and refuses the file. ONNX Runtime drops the Identity.
    """
    from onnx import helper

    for body in [option.g for node in model.graph.node if node.op_type == "Loop" for option in node.attribute]:
        inputs = {value.name for value in body.input}
        for output in body.output:
            if output.name in inputs:
                new = f"{output.name}/output"
                body.node.append(helper.make_node("Identity", [output.name], [new], name=new))
                output.name = new


def leave_out_empty_inputs(model: Any) -> None:
    """Leave out the inputs of a Resize that hold no value, in place.

    tf2onnx writes an empty tensor for `roi` and for the one of `scales` and `sizes` that it does not use. The standard
    allows both, but tools read the empty tensor as a value: onnxslim, and onnxruntime's float16 converter, symbolic
    shape inference and preprocessing for quantisation.
    """
    graph = model.graph
    empty = {tensor.name for tensor in graph.initializer if not _size(tensor)}
    for node in graph.node:
        if node.op_type == "Resize":
            for i, name in enumerate(node.input[1:], start=1):  # after the values
                if name in empty:
                    node.input[i] = ""
    drop_unused_weights(graph)


def _uses(graph: Any) -> dict[str, list[Any]]:
    """Return the nodes that read each tensor."""
    uses: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in _reads(node):
            uses.setdefault(name, []).append(node)
    return uses


def _reads(node: Any) -> Iterator[str]:
    """Yield the tensors that a node reads, including those that the body of a loop takes from outside."""
    yield from node.input
    for option in node.attribute:
        for inner in option.g.node:
            yield from _reads(inner)


def _size(tensor: Any) -> int:
    return int(np.prod(tensor.dims))


def _drop_unused_nodes(graph: Any) -> None:
    used = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if used.intersection(node.output):
            kept.append(node)
            used.update(_reads(node))
    del graph.node[:]
    graph.node.extend(reversed(kept))
    drop_unused_weights(graph)


def drop_unused_weights(graph: Any) -> None:
    """Remove the initializers that no node reads, in place."""
    used = {name for node in graph.node for name in _reads(node)}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
