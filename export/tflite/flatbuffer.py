"""The TensorFlow Lite flatbuffer: its operators, the order and names of its outputs, its metadata."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..artefact import check_exists
from ..check.operators import count, join_types
from ..integrity import SHA256, sha256
from . import metadata

# A converted graph must not contain operators that are not built in, nor variables: with variables, batch norm is not
# folded into convolutions and XNNPACK does not take over (six to eight times slower, measured).
FOREIGN = ("CUSTOM", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE")


def sign(model: bytes, outputs: Sequence[str]) -> bytes:
    """Add a signature that names the input and the outputs of a converted model.

    The output tensors, and so the operators that compute them, get these names too: `quantize` reads layers from names.

    Args:
        model: The converted model.
        outputs: Names of the converted function's results, in their order.
    """
    from tensorflow.lite.python import schema_py_generated as schema

    def tensor_map(name: str, index: int) -> Any:
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = name.encode(), index
        return entry

    tree = _read(model)
    graph, signature = tree.subgraphs[0], schema.SignatureDefT()
    # the converter names the results Identity, Identity_1, ..., and may change their order
    order = {f"Identity_{i}" if i else "Identity": name for i, name in enumerate(outputs)}
    signature.signatureKey, signature.subgraphIndex, signature.outputs = b"serving_default", 0, []
    signature.inputs = [tensor_map("image", index) for index in graph.inputs]
    for index in graph.outputs:
        name = order[graph.tensors[index].name.decode()]
        graph.tensors[index].name = name.encode()
        signature.outputs.append(tensor_map(name, index))
    tree.signatureDefs = [signature]
    return bytes(_tools().convert_object_to_bytearray(tree))


def finish(model: bytes, outputs: Sequence[str], description: dict[str, Any], labels: Sequence[str]) -> bytes:
    """Complete a converted model: put its outputs in order, and add metadata and files.

    Args:
        model: The signed model, see `sign`.
        outputs: Names of the signature's outputs in the order of the file (the converter scrambles them).
        description: The file's description.
        labels: The lines of the label file, see `text.label_lines`.

    Raises:
        RuntimeError: The model needs more than TensorFlow Lite's built-in operators, or is not static: a bug here.
    """
    tree = _read(model)
    _check(tree)
    graph, signature = tree.subgraphs[0], tree.signatureDefs[0]
    by_name = {entry.name.decode(): entry.tensorIndex for entry in signature.outputs}
    graph.outputs = [by_name[name] for name in outputs]
    signature.outputs.sort(key=lambda entry: outputs.index(entry.name.decode()))
    (image,) = graph.inputs
    graph.tensors[image].name = b"image"
    size = tuple(int(side) for side in graph.tensors[image].shape[1:3])
    name = f"tfrcnn {description['preset']}"
    summary = f"Faster R-CNN for {len(labels)} categories, {description['precision']}."
    _add_metadata(tree, metadata.model_metadata(name, summary, (size[0], size[1])))
    packed = bytes(_tools().convert_object_to_bytearray(tree))
    return packed + metadata.associated_files({**description, SHA256: sha256(packed)}, labels)


def operators(path: str | Path) -> list[dict[str, Any]]:
    """Count the operators of a .tflite file, see `check.operators.count`.

    Raises:
        InputError: No such file, or not a TensorFlow Lite model.
    """
    path = Path(path)
    check_exists(path)
    try:
        tree = _read(path.read_bytes())
    except Exception as error:  # flatbuffers raises several kinds
        raise InputError(f"{path}: not a TensorFlow Lite model: {error}") from error
    pairs = [(graph, operator) for graph in tree.subgraphs for operator in graph.operators]
    return count((_kind(tree, operator), _types(tree, graph, operator)) for graph, operator in pairs)


def truncate(model: bytes, selected: Sequence[bool]) -> bytes:
    """Keep the selected operators of a graph and everything they need; outputs are the tensors the rest would read."""
    tree = _read(model)
    graph = tree.subgraphs[0]
    makers = {index: i for i, operator in enumerate(graph.operators) for index in operator.outputs}
    # operators on constants alone, for example float16 weights that become float32, are kept only if others need them
    computed = {*makers, *graph.inputs}
    waiting = [i for i, one in enumerate(selected) if one and computed.intersection(graph.operators[i].inputs)]
    needed: set[int] = set()
    while waiting:
        i = waiting.pop()
        if i not in needed:
            needed.add(i)
            waiting += [makers[index] for index in graph.operators[i].inputs if index in makers]
    kept = [graph.operators[i] for i in sorted(needed)]
    written = {index for operator in kept for index in operator.outputs}
    read = {index for operator in kept for index in operator.inputs}
    graph.operators = kept
    graph.outputs = sorted((written - read) | written.intersection(graph.outputs))
    tree.signatureDefs = []
    return bytes(_tools().convert_object_to_bytearray(tree))


def restore_depthwise(model: bytes) -> bytes:
    """Store 8-bit filters of depthwise convolutions as float32, with the same values.

    XNNPACK has no depthwise convolution of float32 activations and 8-bit filters. LiteRT's own takes 24 of the 54 ms of
    a MobileNetV2 with pyramid, XNNPACK's of float32 takes 2. The filters are half a percent of the file.
    """
    import numpy as np
    from tensorflow.lite.python import schema_py_generated as schema

    tree = _read(model)
    graph = tree.subgraphs[0]
    for operator in graph.operators:
        weights = graph.tensors[operator.inputs[1]] if _kind(tree, operator) == "DEPTHWISE_CONV_2D" else None
        if weights is None or weights.type != schema.TensorType.INT8:
            continue
        quantization = weights.quantization
        steps = np.frombuffer(tree.buffers[weights.buffer].data.tobytes(), np.int8).reshape(weights.shape)
        # symmetric, with one scale per channel: [1, rows, columns, channels]
        values = steps.astype(np.float32) * np.asarray(quantization.scale, np.float32)
        tree.buffers[weights.buffer].data = np.frombuffer(values.tobytes(), np.uint8)
        weights.type, weights.quantization = schema.TensorType.FLOAT32, None
    return bytes(_tools().convert_object_to_bytearray(tree))


def operator_names(model: bytes) -> list[str]:
    """Return the name of each operator's first output, in the graph's order."""
    graph = _read(model).subgraphs[0]
    return [graph.tensors[operator.outputs[0]].name.decode() for operator in graph.operators]


def convolutions(model: bytes, min_weights: int = 0) -> list[str]:
    """Return the names of the outputs of convolutions with kernels of this size at least, in the graph's order."""
    tree = _read(model)
    graph = tree.subgraphs[0]
    operators = [operator for operator in graph.operators if _kind(tree, operator).endswith("CONV_2D")]
    large = [one for one in operators if math.prod(map(int, graph.tensors[one.inputs[1]].shape)) >= min_weights]
    return [graph.tensors[operator.outputs[0]].name.decode() for operator in large]


def _tools() -> Any:
    """Return LiteRT's module for flatbuffers, or TensorFlow's, which is the same, if there is no LiteRT.

    A runtime has LiteRT alone, and an export may have TensorFlow alone.
    """
    package = "ai_edge_litert" if importlib.util.find_spec("ai_edge_litert") else "tensorflow.lite"
    return importlib.import_module(f"{package}.tools.flatbuffer_utils")


def _read(model: bytes) -> Any:
    """Parse a model into a tree of objects, including the constants that are stored after the flatbuffer."""
    import numpy as np

    tree = _tools().convert_bytearray_to_object(bytearray(model))
    for buffer in tree.buffers:
        if buffer.offset > 1:  # ai-edge-quantizer stores them there; 0 and 1 mean inside
            buffer.data = np.frombuffer(model, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return tree


def _check(tree: Any) -> None:
    kinds = {_kind(tree, operator) for graph in tree.subgraphs for operator in graph.operators}
    foreign = sorted(kind for kind in kinds if kind in FOREIGN or kind.startswith("Flex"))
    if foreign:
        raise RuntimeError(f"the converted model contains {', '.join(foreign)}")
    # one tensor of unknown size keeps XNNPACK from every operator of the graph
    dynamic = [
        tensor.name.decode()
        for graph in tree.subgraphs
        for tensor in graph.tensors
        if tensor.shapeSignature is not None and -1 in list(tensor.shapeSignature)
    ]
    if dynamic:
        raise RuntimeError(f"the converted model contains tensors of unknown size: {', '.join(dynamic[:5])}")


def _kind(tree: Any, operator: Any) -> str:
    from tensorflow.lite.python import schema_py_generated as schema

    code = tree.operatorCodes[operator.opcodeIndex]
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    return str(names[number])


def _types(tree: Any, graph: Any, operator: Any) -> str:
    from tensorflow.lite.python import schema_py_generated as schema

    names = {value: name.lower() for name, value in vars(schema.TensorType).items() if isinstance(value, int)}

    def types(indices: Iterable[int]) -> list[str]:
        return [names[graph.tensors[index].type] for index in indices]

    def is_constant(index: int) -> bool:
        return tree.buffers[graph.tensors[index].buffer].data is not None

    inputs = [index for index in operator.inputs if index >= 0]
    constants = [index for index in inputs if is_constant(index)]
    computed = [index for index in inputs if not is_constant(index)]
    return join_types(types(computed), types(constants), types(operator.outputs))


def _add_metadata(tree: Any, content: bytes) -> None:
    import numpy as np
    from tensorflow.lite.python import schema_py_generated as schema

    buffer = schema.BufferT()
    buffer.data = np.frombuffer(content, np.uint8)
    tree.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = metadata.NAME, len(tree.buffers) - 1
    tree.metadata = [*(tree.metadata or []), entry]
