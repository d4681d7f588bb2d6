"""An exported file that detects the same two boxes in every picture, and some pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfrcnn.config import Category, DetectionConfig, ImageConfig
from tfrcnn.export.artefact import OUTPUTS

CATEGORIES = (Category(3, "cat"), Category(90, "dog"))


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file: a cat of score 0.9 in [0.1, 0.1, 0.5, 0.5] of every picture, and a dog of 0.6 in its centre."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    boxes = [[[0.1, 0.1, 0.5, 0.5], [0.25, 0.25, 0.75, 0.75]]]
    values = [np.array(value, np.float32) for value in (boxes, [[3, 90]], [[0.9, 0.6]], [2])]
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
        "categories": [category.to_dict() for category in CATEGORIES],
        "image": ImageConfig().to_dict(),
        "detections": DetectionConfig().to_dict(),
    }
    onnx.helper.set_model_props(stub, {"tfrcnn": json.dumps(description)})
    path = tmp_path_factory.mktemp("model") / "stub.onnx"
    onnx.save(stub, path)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of ten pictures of different sizes, 00.png to 09.png, whose 04.png is no picture."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(10):
        Image.new("RGB", (40 + 2 * number, 20)).save(folder / f"{number:02d}.png")
    (folder / "04.png").write_bytes(b"no picture")
    return folder
