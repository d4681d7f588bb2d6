"""Run a SavedModel of tfrcnn in TensorFlow."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ...errors import InputError, reason_of
from ...processes import check_not_forked
from ..artefact import DESCRIPTION, OUTPUTS, check_exists, check_images, check_threads, parse_description
from ..sharing import LoadedFile


class SavedModelRuntime(LoadedFile):
    """A SavedModel, loaded.

    Threads can share it. It raises an `InputError` in a process that was forked after TensorFlow ran, because
    TensorFlow would hang there.

    Attributes:
        description: The file's description, see `contract.describe`.
        model: TensorFlow's object with the signatures.
    """

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        """Load a SavedModel.

        Args:
            path: Its folder.
            threads: Threads of TensorFlow in this process, None is TensorFlow's choice. TensorFlow takes the number
                only before its first operation.

        Raises:
            InputError: No such folder, not a SavedModel of tfrcnn, or a damaged one; or it is too late for `threads`.
        """
        check_not_forked()
        super().__init__(Path(path).absolute(), threads)
        check_exists(self.path)
        description = self.path / "assets" / DESCRIPTION
        text = description.read_bytes() if description.is_file() else None
        self.description = parse_description(self.path, text)
        if threads is not None:
            _set_threads(threads)
        try:
            self.model = tf.saved_model.load(str(self.path))
        except Exception as error:  # protobuf, TensorFlow and the file system raise several kinds
            raise InputError(f"{self.path}: the SavedModel cannot be loaded: {reason_of(error)}") from error

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Detect, see `Runtime.run`."""
        pixels = check_images(images)
        check_not_forked()  # before TensorFlow makes a tensor
        return self._run("serving_default", images=tf.constant(pixels))

    def run_encoded(self, files: list[bytes]) -> dict[str, np.ndarray]:
        """Detect in the bytes of image files of any sizes; returns what `run` returns.

        Raises:
            InputError: There is no file, or one is not bytes or not an image; the message has its position.
        """
        check_not_forked()
        return self._run("encoded", encoded_images=tf.constant(_check_files(files), tf.string, [len(files)]))

    def _run(self, signature: str, **inputs: tf.Tensor) -> dict[str, np.ndarray]:
        try:
            outputs = self.model.signatures[signature](**inputs)
        except tf.errors.InvalidArgumentError as error:
            # the graph's own message, without TensorFlow's account of where it arose
            failed = re.search(r"assertion failed: (.*)", error.message)
            raise InputError(f"{self.path}: {failed[1] if failed else error.message}") from error
        return {name: outputs[name].numpy() for name in OUTPUTS}


def _check_files(files: Any) -> list[bytes]:
    if not isinstance(files, list | tuple):
        raise InputError(f"encoded_images must be a list of bytes, one for each file, found {type(files).__name__}")
    for i, data in enumerate(files):
        if not isinstance(data, bytes):
            raise InputError(f"encoded_images[{i}] must be the bytes of a file, found {type(data).__name__}")
    return list(files)


def _set_threads(threads: int) -> None:
    check_threads(threads)
    threading = tf.config.threading
    if threading.get_intra_op_parallelism_threads() == threads:
        return
    try:
        threading.set_intra_op_parallelism_threads(threads)
        threading.set_inter_op_parallelism_threads(threads)
    except RuntimeError as error:
        raise InputError(f"threads={threads} comes too late: TensorFlow has run something in this process") from error
