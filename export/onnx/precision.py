"""ONNX models in float16 and int8.

Both change the same part of the graph, the *body*: convolutions, fully connected layers and the operators between them.
Resizing, anchors, decoding, RoIAlign, softmax and NMS stay float32. So do the four layers that compute scores and
deltas, as in Keras' mixed precision.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ..artefact import representative_images
from ..stages import BACKBONES, layer_of
from .graph import drop_unused_weights

# Layers of the RPN and the head, by their names in the graph, that rank thousands of boxes by small differences.
FLOAT_LAYERS = ("/objectness", "/deltas", "/class_logits", "/box_deltas")
WEIGHTED = ("Conv", "MatMul", "Gemm")
STEM = 3  # a backbone's first convolutions, which int8 leaves in float32; the reason is at `tflite.quantize.STEM`
# Operators that may lie between two of them; the first input holds the values, other float inputs are converted too.
BETWEEN = (
    *("Add", "AveragePool", "BatchNormalization", "Clip", "Div", "GlobalAveragePool", "HardSigmoid", "HardSwish"),
    *("MaxPool", "Mul", "Pad", "ReduceMean", "Relu", "Reshape", "Resize", "Sigmoid", "Slice", "Squeeze", "Sub", "Tile"),
    *("Transpose", "Unsqueeze"),
)


def to_float16(model: Any) -> Any:
    """Convert a model's body to float16; input and outputs keep their types.

    onnxconverter-common would cast around each operator that stays float32, so that geometry passes through float16
    between any two of them. At 1000 pixels, float16 resolves half a pixel.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    inside = {name for node in body_nodes(model) for name in node.output}
    weights = {tensor.name: tensor for tensor in graph.initializer}
    floats = _float_tensors(model)
    converted_names: set[str] = set()
    nodes = []

    def converted(name: str, to: int) -> str:
        """Convert a weight in place of the old one, another tensor by one Cast, and return the new name."""
        new = f"{name}_{'float16' if to == TensorProto.FLOAT16 else 'float32'}"
        if new not in converted_names:
            converted_names.add(new)
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
    for name in {output.name for output in graph.output} & inside & floats:  # of stages; a detection ends outside
        half = f"{name}_inside"
        for node in nodes:
            for names in (node.input, node.output):
                names[:] = [half if each == name else each for each in names]
        nodes.append(helper.make_node("Cast", [half], [name], name=f"{name}/Cast", to=TensorProto.FLOAT))
    del graph.node[:]
    graph.node.extend(nodes)
    drop_unused_weights(graph)
    return model


def to_int8(model: Any, images: Iterable[np.ndarray]) -> Any:
    """Quantise a model's body with ONNX Runtime: int8 weights per channel, uint8 activations, in QDQ form.

    Weights use -64..64 of int8: x86 CPUs without VNNI (Intel's before 2019, AMD's before 2022) add two products in 16
    bits, which full weights can saturate. Accuracy is the same. Weights in uint8 cannot saturate either, but ONNX
    Runtime 1.32 takes twice as long for them on CPUs with VNNI.

    Args:
        model: The float32 model.
        images: [H, W, 3] or [B, H, W, 3] uint8. The range of an activation spans its values on them.

    Raises:
        InputError: No images, or images of another shape or type; or ONNX Runtime is not installed.
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
        # says that shapes are inferred and the graph is optimised; otherwise the quantizer warns
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
    """Return the nodes of the body, in order; see the top of this file."""
    weights = {tensor.name for tensor in model.graph.initializer}
    floats = _float_tensors(model)
    inside: set[str] = set()
    body = []
    for node in model.graph.node:
        data = [name for name in node.input if name in floats and name not in weights]
        if node.op_type in WEIGHTED:
            member = any(name in weights for name in node.input) and not any(
                layer in name for layer in FLOAT_LAYERS for name in (node.name, *node.output)
            )
        else:
            member = node.op_type in BETWEEN and bool(data) and inside.issuperset(data)
        if member:
            body.append(node)
            inside.update(node.output)
    return body


def stem_nodes(model: Any, body: list[Any]) -> set[str]:
    """Return the names of the body's nodes before the first convolution that int8 takes, in each backbone."""
    weights = {tensor.name for tensor in model.graph.initializer}
    layers = {node.name: _layer(node, weights) for node in body}
    stem: set[str] = set()
    for layer in BACKBONES:
        nodes = [node for node in body if layers[node.name] == layer]
        convolutions = [i for i, node in enumerate(nodes) if node.op_type == "Conv"]
        end = convolutions[STEM] if len(convolutions) > STEM else None
        stem.update(node.name for node in nodes[:end])
    return stem


def _layer(node: Any, weights: set[str]) -> str | None:
    """Return the layer of a node. tf2onnx renames some nodes and some weights, but never both."""
    names = (node.name, *node.output, *(name for name in node.input if name in weights))
    return next((layer for name in names if (layer := layer_of(name))), None)


def _float_tensors(model: Any) -> set[str]:
    """Return the names of all float32 tensors, weights included."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model)
    values = (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
    names = {value.name for value in values if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    return names | {tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}


class _Reader:
    """Hands the images to ONNX Runtime's calibration, one by one."""

    def __init__(self, images: Iterable[np.ndarray]) -> None:
        self._images = representative_images(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._images, None)
        return None if image is None else {"images": image[None]}

    def set_range(self, start_index: int, end_index: int) -> None:
        raise NotImplementedError("calibration reads the images once")
