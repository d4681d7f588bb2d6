"""The TensorFlow Lite flatbuffer: its operators, the order and names of its outputs, its metadata."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import InputError
from . import metadata

# What a converted graph must not hold: operators that are not built in, and variables, with which batch norm is not
# folded into convolutions and XNNPACK does not take over (six to eight times slower, measured).
FOREIGN = ("CUSTOM", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE")


def sign(model: bytes, outputs: Sequence[str]) -> bytes:
    """A converted model with a signature, by whose names its input and outputs are known from then on.

    The results, and so the operators that make them, bear these names too: the converter's tell no layer to `quantize`.

    Args:
        outputs: names of the converted function's results, in their order.
    """
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    def entry(name: str, index: int) -> Any:
        made = schema.TensorMapT()
        made.name, made.tensorIndex = name.encode(), index
        return made

    tree = _read(model)
    graph, signature = tree.subgraphs[0], schema.SignatureDefT()
    # the converter keeps the results' names, Identity, Identity_1, ..., and may not keep their order
    order = {f"Identity_{i}" if i else "Identity": name for i, name in enumerate(outputs)}
    signature.signatureKey, signature.subgraphIndex, signature.outputs = b"serving_default", 0, []
    signature.inputs = [entry("image", index) for index in graph.inputs]
    for index in graph.outputs:
        name = order[graph.tensors[index].name.decode()]
        graph.tensors[index].name = name.encode()
        signature.outputs.append(entry(name, index))
    tree.signatureDefs = [signature]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(tree))


def finish(model: bytes, outputs: Sequence[str], description: dict[str, Any], labels: Sequence[str]) -> bytes:
    """A converted model as it is written to a file: outputs in order, with metadata and its files.

    Args:
        outputs: names of the signature's outputs, in the order they shall have (the converter scrambles them).

    Raises:
        RuntimeError: the model needs more than TensorFlow Lite's built-in operators, or is not static: a bug here.
    """
    from tensorflow.lite.tools import flatbuffer_utils

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
    packed = bytes(flatbuffer_utils.convert_object_to_bytearray(tree))
    return packed + metadata.associated_files(description, labels)


def operators(path: str | Path) -> list[dict[str, Any]]:
    """Every kind of operator in a .tflite file, the most frequent first: what it is, and in which numbers it computes.

    Returns:
        of each, op (TensorFlow Lite's name), count, and dtypes as "inputs -> outputs", constants in brackets; e.g.
        {"op": "CONV_2D", "count": 52, "dtypes": "int8 [int8 int32] -> int8"}.

    Raises:
        InputError: no such file, or not one of TensorFlow Lite.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        tree = _read(path.read_bytes())
    except Exception as error:  # flatbuffers raises several kinds
        raise InputError(f"{path}: not a TensorFlow Lite model: {error}") from error
    counted: Counter[tuple[str, str]] = Counter()
    for graph in tree.subgraphs:
        for operator in graph.operators:
            counted[_kind(tree, operator), _dtypes(tree, graph, operator)] += 1
    return [{"op": op, "count": count, "dtypes": dtypes} for (op, dtypes), count in counted.most_common()]


def truncate(model: bytes, belongs: Sequence[bool]) -> bytes:
    """A model that computes only some of its operators and what they need; it gives what the others take from them.

    Args:
        belongs: for each operator of the graph, in its order, whether it is wanted.
    """
    from tensorflow.lite.tools import flatbuffer_utils

    tree = _read(model)
    graph = tree.subgraphs[0]
    makers = {index: i for i, operator in enumerate(graph.operators) for index in operator.outputs}
    # what depends on constants alone, as the weights of a float16 file that become float32, is kept for others only
    computed = {*makers, *graph.inputs}
    wanted, waiting = (
        set(),
        [i for i, one in enumerate(belongs) if one and computed.intersection(graph.operators[i].inputs)],
    )
    while waiting:
        i = waiting.pop()
        if i not in wanted:
            wanted.add(i)
            waiting += [makers[index] for index in graph.operators[i].inputs if index in makers]
    kept = [graph.operators[i] for i in sorted(wanted)]
    made = {index for operator in kept for index in operator.outputs}
    taken = {index for operator in kept for index in operator.inputs}
    graph.operators = kept
    graph.outputs = sorted((made - taken) | made.intersection(graph.outputs))
    tree.signatureDefs = []
    return bytes(flatbuffer_utils.convert_object_to_bytearray(tree))


def operator_names(model: bytes) -> list[str]:
    """The name of each operator's first result, in the order of the graph."""
    graph = _read(model).subgraphs[0]
    return [graph.tensors[operator.outputs[0]].name.decode() for operator in graph.operators]


def convolutions(model: bytes) -> list[str]:
    """Names of the results of a model's convolutions, in the order of the graph."""
    tree = _read(model)
    graph = tree.subgraphs[0]
    found = [operator for operator in graph.operators if _kind(tree, operator).endswith("CONV_2D")]
    return [graph.tensors[operator.outputs[0]].name.decode() for operator in found]


def _read(model: bytes) -> Any:
    """A model as a tree of objects, with the constants that are stored behind the flatbuffer put into it."""
    import numpy as np
    from tensorflow.lite.tools import flatbuffer_utils

    tree = flatbuffer_utils.convert_bytearray_to_object(bytearray(model))
    for buffer in tree.buffers:
        if buffer.offset > 1:  # ai-edge-quantizer stores them so; 0 and 1 mean that it does not
            buffer.data = np.frombuffer(model, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return tree


def _check(tree: Any) -> None:
    kinds = {_kind(tree, operator) for graph in tree.subgraphs for operator in graph.operators}
    foreign = sorted(kind for kind in kinds if kind in FOREIGN or kind.startswith("Flex"))
    if foreign:
        raise RuntimeError(f"the converted model holds {', '.join(foreign)}")
    # a tensor whose size is known only when it runs keeps XNNPACK from every operator of the graph
    dynamic = [
        tensor.name.decode()
        for graph in tree.subgraphs
        for tensor in graph.tensors
        if tensor.shapeSignature is not None and -1 in list(tensor.shapeSignature)
    ]
    if dynamic:
        raise RuntimeError(f"the converted model holds tensors of unknown size: {', '.join(dynamic[:5])}")


def _kind(tree: Any, operator: Any) -> str:
    from tensorflow.lite.python import schema_py_generated as schema

    code = tree.operatorCodes[operator.opcodeIndex]
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    return str(names[number])


def _dtypes(tree: Any, graph: Any, operator: Any) -> str:
    from tensorflow.lite.python import schema_py_generated as schema

    names = {value: name.lower() for name, value in vars(schema.TensorType).items() if isinstance(value, int)}

    def of(index: int) -> str:
        return names[graph.tensors[index].type]

    def is_constant(index: int) -> bool:
        return tree.buffers[graph.tensors[index].buffer].data is not None

    inputs = [index for index in operator.inputs if index >= 0]
    constants = sorted({of(index) for index in inputs if is_constant(index)})
    parts = [*sorted({of(index) for index in inputs if not is_constant(index)})]
    parts += [f"[{' '.join(constants)}]"] if constants else []
    return f"{' '.join(parts)} -> {' '.join(sorted({of(index) for index in operator.outputs}))}"


def _add_metadata(tree: Any, content: bytes) -> None:
    import numpy as np
    from tensorflow.lite.python import schema_py_generated as schema

    buffer = schema.BufferT()
    buffer.data = np.frombuffer(content, np.uint8)
    tree.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = metadata.NAME, len(tree.buffers) - 1
    tree.metadata = [*(tree.metadata or []), entry]
