"""A detector and its ONNX file, for all tests of the format: converting takes a minute."""

import pytest

from tfrcnn.export.onnx import to_onnx
from tfrcnn.export.onnx.runtime import OnnxRuntime

from .detectors import make_detector


@pytest.fixture(scope="session")
def detector():
    return make_detector()


@pytest.fixture(scope="session")
def path(detector, tmp_path_factory):
    return to_onnx(detector, tmp_path_factory.mktemp("onnx") / "tiny.onnx")


@pytest.fixture(scope="session")
def runtime(path):
    return OnnxRuntime(path, threads=1)


@pytest.fixture
def reconverted(path, monkeypatch):
    """Makes `to_onnx` convert nothing: exports in other precisions, without the minute of converting it again."""
    onnx = pytest.importorskip("onnx")
    monkeypatch.setattr("tfrcnn.export.onnx.writer._trace", lambda *_: onnx.load(path))
