"""Smaller numbers inside an exported ONNX model: float16 and int8, where they do no harm.

Both change the same part of the graph, the *body*: convolutions and fully connected layers with what lies between them.
The input's resizing, anchors, decoding, RoIAlign, softmax and NMS stay float32, and so do the four layers whose outputs
are scores and deltas, as under Keras' mixed precision.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ..stages import BACKBONES, layer_of
from .graph import drop_unused_weights

# Layers of the RPN and the head, by their names in the graph, that tell thousands of boxes apart by small differences.
FLOAT_LAYERS = ("/objectness", "/deltas", "/class_logits", "/box_deltas")
WEIGHTED = ("Conv", "MatMul", "Gemm")
STEM = 3  # a backbone's convolutions that int8 leaves in float32, as in TensorFlow Lite files: `tflite_quantize.STEM`
# What may stand between two of them; the first input holds the values, further float ones are converted with it.
BETWEEN = (
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Clip",
    "Div",
    "GlobalAveragePool",
    "HardSigmoid",
    "HardSwish",
    "MaxPool",
    "Mul",
    "Pad",
    "ReduceMean",
    "Relu",
    "Reshape",
    "Resize",
    "Sigmoid",
    "Slice",
    "Squeeze",
    "Sub",
    "Tile",
    "Transpose",
    "Unsqueeze",
)


def to_float16(model: Any) -> Any:
    """The model with its body in float16; input and outputs keep their types.

    By hand: onnxconverter-common casts around each operator that is to stay float32, so that geometry goes through
    float16 between any two of them, and at 1000 pixels that resolves half a pixel.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    inside = {name for node in body_nodes(model) for name in node.output}
    weights = {tensor.name: tensor for tensor in graph.initializer}
    floats = _float_tensors(model)
    made: dict[str, str] = {}
    nodes = []

    def converted(name: str, to: int) -> str:
        """`name` in another type: a weight rewritten, another tensor through one Cast."""
        new = f"{name}_{'float16' if to == TensorProto.FLOAT16 else 'float32'}"
        if new not in made:
            made[new] = name
            if name in weights:
                value = numpy_helper.to_array(weights[name])
                limit = np.finfo(np.float16).max
                half = np.clip(value, -limit, limit).astype(np.float16)
                graph.initializer.append(numpy_helper.from_array(half, new))
            else:
                nodes.append(helper.make_node("Cast", [name], [new], name=f"{new}/Cast", to=to))
        return new

    for node in list(graph.node):
        for i, name in enumerate(node.input):
            if node.output[0] in inside:
                values = i == 0 or node.op_type != "Resize"  # its scales stay float32
                if values and name in floats and name not in inside:
                    node.input[i] = converted(name, TensorProto.FLOAT16)
            elif name in inside and name in floats:
                node.input[i] = converted(name, TensorProto.FLOAT)
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    drop_unused_weights(graph)
    return model


def to_int8(model: Any, images: Iterable[np.ndarray]) -> Any:
    """The model with its body in QDQ form: weights int8 a channel, activations uint8, by ONNX Runtime's quantizer.

    Weights take -64..64 of int8: x86 CPUs without VNNI (Intel's before 2019, AMD's before 2022) add two products in 16
    bits, which full ones can saturate. Nothing is lost by it (README, "Deploying"). Weights of the type uint8 cannot
    saturate either, but ONNX Runtime 1.32 takes twice as long for them where there is VNNI.

    Args:
        images: [H, W, 3] or [B, H, W, 3] uint8; the range of an activation is the least and the greatest value it
            takes on them.

    Raises:
        InputError: no images, or of another form; onnxruntime is not installed.
    """
    import onnx

    try:
        from onnxruntime import quantization
    except ImportError as error:
        raise InputError("int8 needs onnxruntime: pip install 'tfrcnn[onnx]'") from error
    body = body_nodes(model)
    stem, kinds = stem_nodes(model, body), (*WEIGHTED, "Add", "Clip", "Relu", "MaxPool")
    nodes = [node for node in body if node.op_type in kinds and node.name not in stem]
    with tempfile.TemporaryDirectory() as folder:
        # what the quantizer asks its users to do first is done; without this it warns
        onnx.helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})
        source, target = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        quantization.quantize_static(
            source,
            target,
            _Reader(images),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=sorted({node.op_type for node in nodes}),
            nodes_to_quantize=[node.name for node in nodes],
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            reduce_range=True,
        )
        return onnx.load(target)


def body_nodes(model: Any) -> list[Any]:
    """The nodes of the body, in order; see the top of this file."""
    weights = {tensor.name for tensor in model.graph.initializer}
    floats = _float_tensors(model)
    made: set[str] = set()
    body = []
    for node in model.graph.node:
        data = [name for name in node.input if name in floats and name not in weights]
        if node.op_type in WEIGHTED:
            member = any(name in weights for name in node.input) and not any(
                layer in name for layer in FLOAT_LAYERS for name in (node.name, *node.output)
            )
        else:
            member = node.op_type in BETWEEN and bool(data) and made.issuperset(data)
        if member:
            body.append(node)
            made.update(node.output)
    return body


def stem_nodes(model: Any, body: list[Any]) -> set[str]:
    """The names of the body's nodes that are in front of the first convolution of each backbone that int8 takes."""
    weights = {tensor.name for tensor in model.graph.initializer}
    layers = {node.name: _layer(node, weights) for node in body}
    found: set[str] = set()
    for layer in BACKBONES:
        own = [node for node in body if layers[node.name] == layer]
        convolutions = [i for i, node in enumerate(own) if node.op_type == "Conv"]
        end = convolutions[STEM] if len(convolutions) > STEM else None
        found.update(node.name for node in own[:end])
    return found


def _layer(node: Any, weights: set[str]) -> str | None:
    """The layer of a node. tf2onnx names some nodes anew, and some weights, but not both."""
    names = (node.name, *node.output, *(name for name in node.input if name in weights))
    return next((layer for name in names if (layer := layer_of(name))), None)


def _float_tensors(model: Any) -> set[str]:
    """The names of all float32 tensors, weights included."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model)
    values = (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
    names = {value.name for value in values if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    return names | {tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}


class _Reader:
    """The images one by one, as ONNX Runtime's calibration asks for them."""

    def __init__(self, images: Iterable[np.ndarray]) -> None:
        self._images = iter(_batches(images))

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._images, None)
        return None if image is None else {"images": image}

    def set_range(self, start_index: int, end_index: int) -> None:
        raise NotImplementedError("calibration reads the images once")


def _batches(images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """[B, H, W, 3] uint8 of each image."""
    count = 0
    for count, image in enumerate(images, start=1):
        batch = image[None] if image.ndim == 3 else image
        if batch.ndim != 4 or batch.shape[3] != 3 or batch.dtype != np.uint8:
            raise InputError(
                f"representative image {count} must be [H, W, 3] or [B, H, W, 3] uint8, "
                f"found {list(image.shape)} {image.dtype}"
            )
        yield batch
    if not count:
        raise InputError("precision int8 needs representative images, found none")
