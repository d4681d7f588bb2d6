"""ONNX: one file for ONNX Runtime and OpenVINO."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .writer import to_onnx as to_onnx


def __getattr__(name: str) -> Any:
    if name != "to_onnx":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .writer import to_onnx

    return to_onnx
