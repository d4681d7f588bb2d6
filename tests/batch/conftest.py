"""An exported file that detects the same two boxes in every picture, and some pictures."""

from pathlib import Path

import pytest
from PIL import Image

from tfrcnn.config import Category

from ..stub_onnx import write_stub

CATEGORIES = (Category(3, "cat"), Category(90, "dog"))


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file: a cat of score 0.9 in [0.1, 0.1, 0.5, 0.5] of every picture, and a dog of 0.6 in its centre."""
    pytest.importorskip("onnxruntime")
    boxes = [[0.1, 0.1, 0.5, 0.5], [0.25, 0.25, 0.75, 0.75]]
    return write_stub(tmp_path_factory.mktemp("model") / "stub.onnx", CATEGORIES, boxes, [3, 90], [0.9, 0.6])


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of ten pictures of different sizes, 00.png to 09.png, whose 04.png is no picture."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(10):
        Image.new("RGB", (40 + 2 * number, 20)).save(folder / f"{number:02d}.png")
    (folder / "04.png").write_bytes(b"no picture")
    return folder
