"""TensorFlow Lite: one file for phones and small machines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..target import Target

if TYPE_CHECKING:
    import numpy as np

    from ...models import FasterRCNN
    from ..options import ExportOptions
    from .runtime import TFLiteRuntime
    from .writer import to_tflite as to_tflite


class TFLite(Target):
    """The TensorFlow Lite format, run by LiteRT."""

    name = "tflite"
    summary = "LiteRT and MediaPipe, without custom operators"
    suffix = ".tflite"
    precisions = ("float32", "float16", "dynamic", "int8")
    runtimes = ("LiteRT",)

    def recognises(self, path: Path) -> bool:
        if not path.is_file():
            return False
        with open(path, "rb") as file:
            return file.read(8)[4:] == b"TFL3"  # the FlatBuffer's identifier

    def write(self, detector: FasterRCNN, path: Path, options: ExportOptions) -> None:
        from .writer import to_tflite

        limits = (options.image_size, options.max_detections, options.score_threshold)
        to_tflite(detector, path, *limits, options.precision, options.representative)

    def load(self, path: Path, threads: int | None = None, runtime: str | None = None) -> TFLiteRuntime:
        from .runtime import TFLiteRuntime

        return TFLiteRuntime(path, threads)

    def operators(self, path: Path) -> list[dict[str, Any]]:
        from .flatbuffer import operators

        return operators(path)

    def stage_outputs(self, detector: FasterRCNN, options: ExportOptions, picture: np.ndarray) -> dict[str, np.ndarray]:
        from .writer import stage_outputs

        return stage_outputs(detector, options.precision, options.representative, picture)

    def profile(self, path: Path, runtime: str, threads: int, picture: np.ndarray, rounds: int) -> dict[str, float]:
        from .profile import profile

        return profile(path, threads, picture, rounds)


def __getattr__(name: str) -> Any:
    if name != "to_tflite":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .writer import to_tflite

    return to_tflite
