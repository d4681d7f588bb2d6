"""TensorFlow Lite: one file for phones and small machines."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...files import check_path
from ..target import Target

if TYPE_CHECKING:
    import numpy as np

    from ...models import FasterRCNN
    from ..options import ExportOptions
    from .runtime import TFLiteRuntime


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
        limits = (options.image_size, options.max_detections, options.score_threshold)
        to_tflite(detector, path, *limits, options.precision, options.representative)

    def load(self, path: Path, threads: int | None = None, runtime: str | None = None) -> TFLiteRuntime:
        from ..integrity import check_unchanged
        from .metadata import model_bytes
        from .runtime import TFLiteRuntime, read_description

        check_unchanged(path, read_description(path), model_bytes(path))
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


def to_tflite(
    detector: FasterRCNN,
    path: str | Path,
    image_size: tuple[int, int] | None = None,
    max_detections: int | None = None,
    score_threshold: float | None = None,
    precision: str = "float32",
    representative: Iterable[np.ndarray] | None = None,
) -> Path:
    """Write a detector to a TensorFlow Lite file. Its classes are labels 0..C-1, lines of the label file inside.

    Args:
        detector: The detector.
        path: The file to write; it must not exist.
        image_size: (height, width) of the input. None is the detector's static size, or a square of its `min_size`,
            rounded up to its divisor.
        max_detections: The most detections per image; None keeps the detector's.
        score_threshold: Scores of all classes exceed it; None keeps the detector's thresholds.
        precision: "float32"; "float16" and "dynamic" store weights in 16 and 8 bits; "int8" computes the backbone,
            the RPN and the head in 8 bits, boxes and NMS in float32.
        representative: Images [H, W, 3], RGB 0..255, on which int8 measures ranges; a hundred are plenty.

    Returns:
        `path`.

    Raises:
        InputError: The path exists, an option is out of range, or int8 without representative images.

    Example:
        to_tflite(detector, "cells.tflite", image_size=(320, 320))
    """
    from .writer import write

    path = check_path(path, "path")
    TFLite().check(path, precision, representative is not None)
    write(detector, path, (image_size, max_detections, score_threshold), precision, representative)
    return path
