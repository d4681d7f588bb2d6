"""Run an ONNX file of `to_onnx` in OpenVINO; neither TensorFlow nor Keras is imported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .onnx_runtime import check_description, check_images


class OpenVinoRuntime:
    """One exported file, compiled for the CPU in float32 (OpenVINO would choose bfloat16 where the CPU has it).

    Attributes:
        description: what the file says about itself (`contract.describe`).
        request: OpenVINO's own, for its profile.
    """

    def __init__(self, path: str | Path, threads: int | None = None, profile: bool = False) -> None:
        """
        Args:
            threads: None leaves it to OpenVINO.
            profile: measure every operator.

        Raises:
            InputError: no such file, not an ONNX model or one cut short, or none of `to_onnx`; OpenVINO is not
                installed.
        """
        try:
            import openvino
        except ImportError as error:
            raise InputError("OpenVINO is not installed: pip install 'tfrcnn[openvino]'") from error
        path = Path(path)
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERF_COUNT": profile}
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        core = openvino.Core()
        try:
            model = core.read_model(path)
            key = ["framework", "tfrcnn"]  # where its reader of ONNX puts metadata_props
            said = json.loads(str(model.get_rt_info(key).value)) if model.has_rt_info(key) else None
            self.description: dict[str, Any] = check_description(path, said)
            compiled = core.compile_model(model, "CPU", settings)
        except RuntimeError as error:
            raise InputError(
                f"{path}: not an ONNX model that OpenVINO can run: {str(error).splitlines()[-1]}"
            ) from error
        self.request: Any = compiled.create_infer_request()

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """As `OnnxRuntime.run`."""
        found = self.request.infer({"images": check_images(images)})
        return {output.any_name: np.array(value) for output, value in found.items()}
