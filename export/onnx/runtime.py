"""Run an ONNX file of `to_onnx` in ONNX Runtime; neither TensorFlow nor Keras is imported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError

FORMAT = 1  # `contract.FORMAT`, not imported, which would import TensorFlow


class OnnxRuntime:
    """One exported file, loaded.

    Attributes:
        description: what the file says about itself (`contract.describe`).
    """

    def __init__(self, path: str | Path, threads: int | None = None, profile: Path | None = None) -> None:
        """
        Args:
            threads: of one operator; None leaves it to ONNX Runtime.
            profile: measure every operator into a file whose name begins so; see `finish_profile`.

        Raises:
            InputError: no such file, not an ONNX model or one cut short, or none of `to_onnx`; ONNX Runtime is not
                installed.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise InputError("running an ONNX file needs onnxruntime: pip install 'tfrcnn[onnx]'") from error
        path = Path(path)
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        options = onnxruntime.SessionOptions()
        if profile is not None:
            options.enable_profiling, options.profile_file_prefix = True, str(profile)
        options.log_severity_level = 3
        if threads is not None:
            if threads < 1:
                raise InputError(f"threads must be at least 1, found {threads}")
            options.intra_op_num_threads = threads
        try:
            # from its bytes: a model that names files of weights beside it gets none
            self._session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own kinds have no base of their own
            raise InputError(f"{path}: not an ONNX model that can be run, or cut short: {_line(error)}") from error
        self.description: dict[str, Any] = _description(path, self._session.get_modelmeta().custom_metadata_map)
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Detect.

        Args:
            images: [B, H, W, 3] RGB 0..255, uint8, or float32, which is rounded: the file takes uint8.

        Returns:
            by `contract.OUTPUTS`, in that order.

        Raises:
            InputError: another shape or type.
        """
        return dict(zip(self._outputs, self._session.run(self._outputs, {"images": check_images(images)})))

    def finish_profile(self) -> Path:
        """Write the profile, and say where."""
        return Path(self._session.end_profiling())


def check_images(images: np.ndarray) -> np.ndarray:
    """Images as the file takes them, uint8.

    Raises:
        InputError: another shape or type.
    """
    if images.ndim != 4 or images.shape[3] != 3 or 0 in images.shape:
        raise InputError(f"images must be [B, H, W, 3], none of them 0, found {list(images.shape)}")
    if images.dtype.kind == "f":
        return np.clip(np.rint(images), 0, 255).astype(np.uint8)
    if images.dtype != np.uint8:
        raise InputError(f"images must be uint8 or float32, found {images.dtype}")
    return images


def _description(path: Path, properties: dict[str, str]) -> dict[str, Any]:
    try:
        return check_description(path, json.loads(properties["tfrcnn"]) if "tfrcnn" in properties else None)
    except json.JSONDecodeError:
        return check_description(path, None)


def check_description(path: Path, description: Any) -> dict[str, Any]:
    """A description that this version reads.

    Raises:
        InputError: none (None), or another version's.
    """
    if description is None:
        raise InputError(f"{path}: an ONNX model, but none that tfrcnn exported (no description in it)")
    if not isinstance(description, dict) or description.get("tfrcnn_export") != FORMAT:
        found = description.get("tfrcnn_export") if isinstance(description, dict) else description
        raise InputError(f"{path}: tfrcnn_export must be {FORMAT} (this version of tfrcnn), found {found!r}")
    return description


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
