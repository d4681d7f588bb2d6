"""ONNX: one file for ONNX Runtime and OpenVINO."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ...errors import InputError
from ...files import check_path
from ..target import Runtime, Target

if TYPE_CHECKING:
    import numpy as np

    from ...models import FasterRCNN
    from ..options import ExportOptions

# ONNX Runtime 1.32 keeps an id in the user's cache and sends usage data, unless this is set before its import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

ONNX_RUNTIME = "ONNX Runtime"
OPENVINO = "OpenVINO"
OPENVINO_ONE_SIZE = "OpenVINO, one size"  # compiled for the size of the images it is given
ORT, IR = ".ort", ".xml"  # what ONNX Runtime and OpenVINO make of an ONNX file; both keep its description
# Triton reads the inputs and outputs from the file. It merges waiting requests of one image size, up to this many.
TRITON_CONFIG = """\
backend: "onnxruntime"
max_batch_size: 8
version_policy { latest { num_versions: 1 } }
"""


class Onnx(Target):
    """The ONNX format, run by ONNX Runtime or OpenVINO."""

    name = "onnx"
    summary = "ONNX Runtime and OpenVINO, for any batch and image size"
    suffix = ".onnx"
    precisions = ("float32", "float16", "int8")
    runtimes = (ONNX_RUNTIME, OPENVINO, OPENVINO_ONE_SIZE)
    server_files = MappingProxyType({"config.pbtxt": TRITON_CONFIG})

    def recognises(self, path: Path) -> bool:
        suffix = path.suffix.lower()
        if not path.is_file() or suffix not in (self.suffix, ORT, IR):
            return False
        with open(path, "rb") as file:
            start = file.read(256)
        # ONNX has no identifier
        return {ORT: start[4:8] == b"ORTM", IR: b"<net" in start}.get(suffix, True)

    def write(self, detector: FasterRCNN, path: Path, options: ExportOptions) -> None:
        limits = (options.image_size, options.max_detections, options.score_threshold)
        to_onnx(detector, path, *limits, options.precision, options.representative)

    def load(self, path: Path, threads: int | None = None, runtime: str | None = None) -> Runtime:
        suffix = path.suffix.lower()
        runtime = runtime or (OPENVINO if suffix == IR else self.installed_runtimes()[0])
        if suffix in (ORT, IR) and (runtime in (OPENVINO, OPENVINO_ONE_SIZE)) != (suffix == IR):
            raise InputError(
                f"{path}: {runtime} does not read {path.suffix} files: load the .onnx file it was made from"
            )
        if runtime in (OPENVINO, OPENVINO_ONE_SIZE):
            from .openvino import OpenVinoRuntime

            return OpenVinoRuntime(path, threads, one_size=runtime == OPENVINO_ONE_SIZE)
        from .runtime import OnnxRuntime

        return OnnxRuntime(path, threads)

    def installed_runtimes(self) -> tuple[str, ...]:
        if not importlib.util.find_spec("openvino"):
            return (ONNX_RUNTIME,)
        return self.runtimes if importlib.util.find_spec("onnxruntime") else (OPENVINO, OPENVINO_ONE_SIZE)

    def operators(self, path: Path) -> list[dict[str, Any]]:
        from .operators import operators

        return operators(path)

    def stage_outputs(self, detector: FasterRCNN, options: ExportOptions, picture: np.ndarray) -> dict[str, np.ndarray]:
        from .writer import stage_outputs

        return stage_outputs(detector, options.precision, options.representative, picture)

    def profile(self, path: Path, runtime: str, threads: int, picture: np.ndarray, rounds: int) -> dict[str, float]:
        from .profile import profile_onnx_runtime, profile_openvino

        if runtime == ONNX_RUNTIME:
            return profile_onnx_runtime(path, threads, picture, rounds)
        return profile_openvino(path, threads, picture, rounds, one_size=runtime == OPENVINO_ONE_SIZE)


def to_onnx(
    detector: FasterRCNN,
    path: str | Path,
    image_size: tuple[int, int] | None = None,
    max_detections: int | None = None,
    score_threshold: float | None = None,
    precision: str = "float32",
    representative: Iterable[np.ndarray] | None = None,
    opset: int = 17,
) -> Path:
    """Write a detector to an ONNX file.

    Args:
        detector: The detector.
        path: The file to write; it must not exist.
        image_size: (height, width) of the network's input, letterboxed inside the graph; None keeps the detector's.
            Batch, height and width of the file's input are dynamic either way.
        max_detections: The most detections per image; None keeps the detector's.
        score_threshold: Scores of all classes exceed it; None keeps the detector's thresholds.
        precision: "float32"; "float16" for convolutions and fully connected layers; "int8" for the same in 8 bits.
        representative: Images [H, W, 3] or [B, H, W, 3], uint8, on which int8 measures ranges; a hundred are plenty.
        opset: ONNX's operator set: 16, 17 or 18.

    Returns:
        `path`.

    Raises:
        InputError: The path exists, an option is out of range, int8 without images, or tf2onnx is not installed.

    Example:
        to_onnx(detector, "cells.onnx", precision="float16")
    """
    from .writer import write

    path = check_path(path, "path")
    Onnx().check(path, precision, representative is not None)
    write(detector, path, (image_size, max_detections, score_threshold), precision, representative, opset)
    return path
