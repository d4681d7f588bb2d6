"""Deployment of trained detectors; installed and imported as `tfrcnn.export`.

    from tfrcnn.export import ExportOptions, export, load

    export(detector, "cells.onnx", ExportOptions("onnx"))    # writes, runs and verifies it
    load("cells.onnx").detect("picture.jpg")

`TARGETS` lists the formats. TensorFlow and the runtimes are imported with the first use of another name.
"""

import importlib
from typing import TYPE_CHECKING, Any

from .onnx import Onnx
from .onnx import to_onnx as to_onnx
from .saved_model import SavedModel
from .saved_model import to_saved_model as to_saved_model
from .target import Target
from .tflite import TFLite
from .tflite import to_tflite as to_tflite

if TYPE_CHECKING:
    from .check.verification import verify as verify
    from .exporting import export as export
    from .options import ExportOptions as ExportOptions
    from .publishing import NotPublishedError as NotPublishedError
    from .publishing import publish as publish
    from .runtimes import load as load
    from .versions import Version as Version
    from .versions import list_versions as list_versions
    from .versions import rollback as rollback

TARGETS: dict[str, Target] = {target.name: target for target in (SavedModel(), TFLite(), Onnx())}

_HOME_OF = {
    "ExportOptions": "options",
    "NotPublishedError": "publishing",
    "Version": "versions",
    "export": "exporting",
    "list_versions": "versions",
    "load": "runtimes",
    "publish": "publishing",
    "rollback": "versions",
    "verify": "check.verification",
}
__all__ = sorted([*_HOME_OF, "to_onnx", "to_saved_model", "to_tflite"])


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME_OF[name]}", __name__), name)
    globals()[name] = value
    return value
