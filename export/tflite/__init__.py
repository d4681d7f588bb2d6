"""TensorFlow Lite: one file for phones and small machines."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .writer import to_tflite as to_tflite


def __getattr__(name: str) -> Any:
    if name != "to_tflite":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .writer import to_tflite

    return to_tflite
