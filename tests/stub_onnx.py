"""An ONNX file with the inputs, outputs and description of an export, which finds the same objects in every picture."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tfrcnn.config import Category, DetectionConfig, ImageConfig
from tfrcnn.export.artefact import OUTPUTS


def write_stub(
    path: Path,
    categories: Sequence[Category],
    boxes: Sequence[Sequence[float]],
    ids: Sequence[int],
    scores: Sequence[float],
) -> Path:
    """Write the file.

    Args:
        path: the file.
        categories: of the description.
        boxes: (y1, x1, y2, x2) per object, as shares of the picture's sides.
        ids: of the categories of the objects.
        scores: of the objects, highest first.

    Returns:
        The path.
    """
    onnx = pytest.importorskip("onnx")
    values = [np.array([value], np.float32) for value in (boxes, ids, scores, len(scores))]
    constants = [
        onnx.helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(value))
        for name, value in zip(OUTPUTS, values)
    ]
    pixels = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, ["b", "h", "w", 3])
    outputs = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, value.shape)
        for name, value in zip(OUTPUTS, values)
    ]
    graph = onnx.helper.make_graph(constants, "stub", [pixels], outputs)
    stub = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    description = {
        "tfrcnn_export": 1,
        "format": "onnx",
        "precision": "float32",
        "classes": "category ids",
        "categories": [category.to_dict() for category in categories],
        "image": ImageConfig().to_dict(),
        "detections": DetectionConfig().to_dict(),
    }
    onnx.helper.set_model_props(stub, {"tfrcnn": json.dumps(description)})
    onnx.save(stub, path)
    return path
