"""Run an ONNX file of tfrcnn in ONNX Runtime. Imports neither TensorFlow nor Keras."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ..artefact import check_exists, check_images, check_threads, parse_description
from ..sharing import LoadedFile
from .unusable import unusable


class OnnxRuntime(LoadedFile):
    """An ONNX file, loaded in ONNX Runtime. Threads can share it, and a forked process loads it again.

    Attributes:
        description: The file's description, see `contract.describe`.
    """

    def __init__(self, path: str | Path, threads: int | None = None, profile: Path | None = None) -> None:
        """Load an ONNX file.

        Args:
            path: The file.
            threads: Threads of one operator; None is ONNX Runtime's choice.
            profile: Measure every operator, into a file whose name starts with this; see `finish_profile`.

        Raises:
            InputError: No such file, not an ONNX file of tfrcnn, or a damaged one; or ONNX Runtime is not installed.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise InputError("ONNX Runtime is not installed: pip install onnxruntime") from error
        path = Path(path)
        super().__init__(path.absolute(), threads)
        check_exists(path)
        check_threads(threads)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if profile is not None:
            options.enable_profiling, options.profile_file_prefix = True, str(profile)
        if threads is not None:
            options.intra_op_num_threads = threads
        content = path.read_bytes()  # so that a model cannot name files of weights next to it
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            properties = self._session.get_modelmeta().custom_metadata_map
            self._outputs = [output.name for output in self._session.get_outputs()]
        except Exception as error:  # ONNX Runtime's exceptions have no common base
            raise unusable(path, content, error) from error
        self.description: dict[str, Any] = parse_description(path, properties.get("tfrcnn"))
        self._process = os.getpid()

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Detect, see `Runtime.run`."""
        if self._process != os.getpid():
            self._load_again()
        return dict(zip(self._outputs, self._session.run(self._outputs, {"images": check_images(images)})))

    def _load_again(self) -> None:
        """Replace the session of the process that forked this one: its threads are gone, its locks may be held."""
        again = type(self)(self.path, *self._arguments)
        if again.description != self.description:
            raise InputError(f"{self.path}: another file than process {self._process} loaded before it was forked")
        self._inherited = self._session  # to delete it would wait for its threads
        self._session, self._process = again._session, again._process

    def finish_profile(self) -> Path:
        """Write the profile and return its path."""
        return Path(self._session.end_profiling())
