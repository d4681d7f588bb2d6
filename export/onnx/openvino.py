"""Run an ONNX file of tfrcnn in OpenVINO. Imports neither TensorFlow nor Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ...printable import shorten
from ...processes import check_not_forked
from ..artefact import check_exists, check_images, check_threads, parse_description
from ..sharing import LoadedFile, make_lock

MAX_REASON = 400  # characters of OpenVINO's error


class OpenVinoRuntime(LoadedFile):
    """An ONNX file, compiled by OpenVINO for the CPU in float32 (by default it takes bfloat16 where the CPU has it).

    Threads can share it: it runs one batch at a time.

    Attributes:
        description: The file's description, see `contract.describe`.
        request: OpenVINO's inference request, for its profile; with `one_size`, None before the first images.
    """

    def __init__(
        self, path: str | Path, threads: int | None = None, profile: bool = False, one_size: bool = False
    ) -> None:
        """Load an ONNX file.

        Args:
            path: The file.
            threads: Number of threads; None is OpenVINO's choice.
            profile: Measure every operator.
            one_size: Compile for the shape of the first images, and again when the shape changes, in one to three
                seconds. The results are the same, and faster if all images have one size, for example a camera's.

        Raises:
            InputError: No such file, not an ONNX file of tfrcnn, or a damaged one; OpenVINO is not installed; or the
                process was forked after OpenVINO ran.
        """
        check_not_forked("OpenVINO")  # its threads' locks are copied as they are in that moment
        try:
            import openvino
        except ImportError as error:
            raise InputError("OpenVINO is not installed: pip install openvino") from error
        path = Path(path)
        super().__init__(path.absolute(), threads, False, one_size)
        check_exists(path)
        check_threads(threads)
        self._core = openvino.Core()
        self._settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERF_COUNT": profile}
        if threads is not None:
            self._settings["INFERENCE_NUM_THREADS"] = threads
        try:
            self._model = self._core.read_model(path)
            key = ["framework", "tfrcnn"]  # where OpenVINO's reader puts ONNX's metadata_props
            text = str(self._model.get_rt_info(key).value) if self._model.has_rt_info(key) else None
            self._names = [output.any_name for output in self._model.outputs]
        except (RuntimeError, UnicodeDecodeError) as error:
            raise self._unusable(error) from error
        self.description: dict[str, Any] = parse_description(path, text)
        self._lock = make_lock()
        self._shape: tuple[int, ...] | None = (0, 0, 0, 0) if one_size else None
        self.request: Any = None if one_size else self._compile()

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Detect, see `Runtime.run`."""
        check_not_forked("OpenVINO")
        images = check_images(images)
        with self._lock:
            if self._shape not in (None, images.shape):
                self.request, self._shape = self._compile(images.shape), images.shape
            outputs = self.request.infer({"images": images})
            return {name: np.array(outputs[i]) for i, name in enumerate(self._names)}

    def _compile(self, shape: tuple[int, ...] | None = None) -> Any:
        try:
            if shape is not None:
                self._model.reshape(shape)
            return self._core.compile_model(self._model, "CPU", self._settings).create_infer_request()
        except RuntimeError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: RuntimeError | UnicodeDecodeError) -> InputError:
        return InputError(f"{self.path}: not an ONNX model that OpenVINO can run: {reason(error)}")


def reason(error: RuntimeError | UnicodeDecodeError) -> str:
    """Return what OpenVINO's error says, in one line without the places in its source code."""
    places = ("Exception from ", "Check '", "FrontEnd API failed", "Summary:")
    lines = [line.strip() for line in str(error).splitlines()]
    return shorten(" ".join(line for line in lines if line and not line.startswith(places)), MAX_REASON)
