"""Run a .tflite file of tfrcnn in LiteRT."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ..artefact import DESCRIPTION, check_exists, check_images, check_threads, parse_description
from ..sharing import LoadedFile, make_lock

PADDING = -1.0  # marks padding in the file's input, see `tflite.writer`


class TFLiteRuntime(LoadedFile):
    """A .tflite file, loaded. Resizes and pads images of any size as the Keras model does.

    Threads can share it: it runs one image at a time.

    Attributes:
        description: The file's description, see `contract.describe`.
        size: (height, width) of its input.
    """

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        """Load a .tflite file.

        Args:
            path: The file.
            threads: Threads of XNNPACK; None takes one per processor.

        Raises:
            InputError: No such file, not a .tflite file of tfrcnn, or a damaged one; or LiteRT is not installed.
        """
        # not tf.lite.Interpreter, which is deprecated; TF 2.21's silently computes wrong numbers for a small RPN
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise InputError("LiteRT is not installed: pip install ai-edge-litert") from error

        path = Path(path)
        super().__init__(path.absolute(), threads)
        self.description = read_description(path)
        check_threads(threads)
        self._lock = make_lock()
        try:
            self._interpreter: Any = Interpreter(str(path), num_threads=threads or os.cpu_count())
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise InputError(f"{path}: LiteRT cannot run it: {error}") from error
        (image,) = self._interpreter.get_input_details()
        self._image = image["index"]
        self._outputs = [(str(one["name"]), one["index"]) for one in self._interpreter.get_output_details()]
        self.size: tuple[int, int] = (int(image["shape"][1]), int(image["shape"][2]))

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Detect, see `Runtime.run`."""
        outputs = [self._run_one(letterbox(image, self.size)) for image in check_images(images)]
        return {name: np.concatenate([one[name] for one in outputs]) for name in outputs[0]}

    def _run_one(self, frame: np.ndarray) -> dict[str, np.ndarray]:
        with self._lock:
            self._interpreter.set_tensor(self._image, frame[None])
            self._interpreter.invoke()
            return {name: self._interpreter.get_tensor(index) for name, index in self._outputs}


def read_description(path: Path) -> dict[str, Any]:
    """Read the description inside a .tflite file, see `parse_description`."""
    check_exists(path)
    try:
        with zipfile.ZipFile(path) as files:
            text = files.read(DESCRIPTION)
    except Exception:  # a damaged archive makes zipfile raise many kinds
        text = None
    return parse_description(path, text)


def letterbox(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Put an image in the top left corner of a frame, scaled to fit with its aspect kept.

    Computes the numbers of `tfrcnn.images.resize`: sides floor(k side), k = min(N_h / H, N_w / W); bilinear, half-pixel
    centres, no antialiasing.

    Args:
        image: [H, W, 3], RGB 0..255.
        size: (N_h, N_w) of the frame.

    Returns:
        [N_h, N_w, 3] float32; `PADDING` outside the image.
    """
    sides = np.asarray(image.shape[:2], np.float64)
    height, width = np.maximum(np.floor(sides * np.min(np.asarray(size) / sides)).astype(int), 1)
    rows, next_rows, down = _taps(image.shape[0], height)
    columns, next_columns, right = _taps(image.shape[1], width)
    # each source row once, and flat rows: broadcasting over three channels is slow
    needed, place = np.unique(np.concatenate([rows, next_rows]), return_inverse=True)
    first, second = (np.take(image[needed], taps, axis=1).reshape(len(needed), -1) for taps in (columns, next_columns))
    across = _mix(first, second, np.repeat(right, 3))
    mixed = _mix(across[place[:height]], across[place[height:]], down[:, None])
    frame = np.full((*size, 3), PADDING, np.float32)
    # a client's own resampling may leave pixels below 0, which the file would take for padding
    np.maximum(mixed.reshape(height, width, 3), 0.0, out=frame[:height, :width])
    return frame


def _taps(source: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the two cells that each target cell mixes, and the weight of the second, in TensorFlow's float32."""
    scale = np.float32(source) / np.float32(target)
    at = (np.arange(target, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)
    low = np.floor(at)
    first = np.maximum(low, 0).astype(np.intp)
    second = np.minimum(np.ceil(at), source - 1).astype(np.intp)
    return first, second, (at - low).astype(np.float32)


def _mix(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    start = first.astype(np.float32)
    start += (second.astype(np.float32) - start) * weight
    return start
