"""SavedModel: a folder for TensorFlow and TensorFlow Serving."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .writer import to_saved_model as to_saved_model


def __getattr__(name: str) -> Any:
    if name != "to_saved_model":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .writer import to_saved_model

    return to_saved_model
