"""Run a SavedModel of tfrcnn in TensorFlow."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ...errors import InputError
from ..contract import FORMAT, OUTPUTS
from .writer import DESCRIPTION


class SavedModelRuntime:
    """Runs a SavedModel that `to_saved_model` wrote.

    Attributes:
        description: what the file says of itself, see `contract.describe`.
    """

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        """
        Args:
            threads: of each operation; None is TensorFlow's choice. It holds for the process, and TensorFlow takes it
                only before its first operation.

        Raises:
            InputError: no such folder, not a SavedModel of tfrcnn, or a damaged one; threads that come too late.
        """
        self.path = Path(path)
        self.description = read_description(self.path)
        if threads is not None:
            _set_threads(threads)
        try:
            self.model = tf.saved_model.load(str(self.path))
        except Exception as error:  # protobuf, TensorFlow and the file system raise several kinds
            raise InputError(f"{self.path}: the SavedModel cannot be loaded: {str(error).splitlines()[0]}") from error

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs of `contract` for images [B, H, W, 3], RGB 0..255, uint8 (floats are rounded to it).

        Raises:
            InputError: another shape, or nothing in it.
        """
        if images.ndim != 4 or images.shape[-1] != 3:
            raise InputError(f"{self.path}: expected images [B, H, W, 3], found {list(images.shape)}")
        if images.dtype != np.uint8:
            images = np.clip(np.rint(images), 0, 255).astype(np.uint8)
        return self._run("serving_default", images=tf.constant(images))

    def run_encoded(self, files: list[bytes]) -> dict[str, np.ndarray]:
        """The outputs of `contract` for whole image files, each of its own size.

        Raises:
            InputError: a file that is not an image, and which; no file.
        """
        return self._run("encoded", encoded_images=tf.constant(files, tf.string, [len(files)]))

    def _run(self, signature: str, **inputs: tf.Tensor) -> dict[str, np.ndarray]:
        try:
            found = self.model.signatures[signature](**inputs)
        except tf.errors.InvalidArgumentError as error:
            # the graph's own message, without TensorFlow's account of where it arose
            failed = re.search(r"assertion failed: (.*)", error.message)
            raise InputError(f"{self.path}: {failed[1] if failed else error.message}") from error
        return {name: found[name].numpy() for name in OUTPUTS}


def read_description(path: Path) -> dict[str, Any]:
    """What a SavedModel of tfrcnn says of itself.

    Raises:
        InputError: no such folder, or none of ours.
    """
    expected = "expected the folder of a SavedModel that tfrcnn exported"
    if not path.exists():
        raise InputError(f"{path}: no such folder: {expected}")
    if not (path / "saved_model.pb").is_file():
        raise InputError(f"{path}: {expected}, found no saved_model.pb in it")
    try:
        description = json.loads((path / "assets" / DESCRIPTION).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: {expected}, found one without assets/{DESCRIPTION}") from None
    except ValueError as error:
        raise InputError(f"{path}/assets/{DESCRIPTION}: not JSON: {error}") from error
    if not isinstance(description, dict) or description.get("tfrcnn_export") != FORMAT:
        raise InputError(f"{path}/assets/{DESCRIPTION}: expected tfrcnn_export {FORMAT}, found another")
    return description


def _set_threads(threads: int) -> None:
    threading = tf.config.threading
    if threads < 1:
        raise InputError(f"threads must be at least 1, found {threads}")
    if threading.get_intra_op_parallelism_threads() == threads:
        return
    try:
        threading.set_intra_op_parallelism_threads(threads)
        threading.set_inter_op_parallelism_threads(threads)
    except RuntimeError as error:
        raise InputError(f"threads={threads} comes too late: TensorFlow has run something in this process") from error
