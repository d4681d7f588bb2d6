"""Run an ONNX file of `to_onnx` in OpenVINO; neither TensorFlow nor Keras is imported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from .runtime import check_description, check_images


class OpenVinoRuntime:
    """One exported file, compiled for the CPU in float32 (OpenVINO would choose bfloat16 where the CPU has it).

    Attributes:
        description: what the file says about itself (`contract.describe`).
        request: OpenVINO's own, for its profile; with `one_size`, None until there were images.
    """

    def __init__(
        self, path: str | Path, threads: int | None = None, profile: bool = False, one_size: bool = False
    ) -> None:
        """
        Args:
            threads: None leaves it to OpenVINO.
            profile: measure every operator.
            one_size: compile for the shape of the images that come first, and anew whenever another comes, which takes
                one to three seconds: the same numbers, faster, where all images have one size, as a camera's.

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
        self._path, self._core = path, openvino.Core()
        self._settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERF_COUNT": profile}
        if threads is not None:
            self._settings["INFERENCE_NUM_THREADS"] = threads
        try:
            self._model = self._core.read_model(path)
        except RuntimeError as error:
            raise self._unusable(error) from error
        key = ["framework", "tfrcnn"]  # where its reader of ONNX puts metadata_props
        said = json.loads(str(self._model.get_rt_info(key).value)) if self._model.has_rt_info(key) else None
        self.description: dict[str, Any] = check_description(path, said)
        self._shape: tuple[int, ...] | None = (0, 0, 0, 0) if one_size else None
        self.request: Any = None if one_size else self._compile()

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """As `OnnxRuntime.run`."""
        images = check_images(images)
        if self._shape not in (None, images.shape):
            self.request, self._shape = self._compile(images.shape), images.shape
        found = self.request.infer({"images": images})
        return {output.any_name: np.array(value) for output, value in found.items()}

    def _compile(self, shape: tuple[int, ...] | None = None) -> Any:
        try:
            if shape is not None:
                self._model.reshape(shape)
            return self._core.compile_model(self._model, "CPU", self._settings).create_infer_request()
        except RuntimeError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: RuntimeError) -> InputError:
        return InputError(f"{self._path}: not an ONNX model that OpenVINO can run: {str(error).splitlines()[-1]}")
