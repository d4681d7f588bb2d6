"""Deployment of trained detectors; installed and imported as `tfrcnn.export`.

    from tfrcnn.export import ExportOptions, export, load

    export(detector, "cells.onnx", ExportOptions("onnx"))    # writes, runs and verifies it
    load("cells.onnx").detect("picture.jpg")

Names are imported when they are used, and with them TensorFlow and the runtimes.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .check.verification import verify as verify
    from .exporting import ExportOptions as ExportOptions
    from .exporting import export as export
    from .onnx.writer import to_onnx as to_onnx
    from .runtimes import load as load
    from .saved_model.writer import to_saved_model as to_saved_model
    from .tflite.writer import to_tflite as to_tflite

_HOME_OF = {
    "ExportOptions": "exporting",
    "export": "exporting",
    "load": "runtimes",
    "to_onnx": "onnx.writer",
    "to_saved_model": "saved_model.writer",
    "to_tflite": "tflite.writer",
    "verify": "check.verification",
}
__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME_OF[name]}", __name__), name)
    globals()[name] = value
    return value
