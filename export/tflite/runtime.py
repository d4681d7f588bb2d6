"""Run a .tflite file of tfrcnn with LiteRT; needs ai-edge-litert and numpy."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError

PADDING = -1.0  # what the file takes for padding, see `tfrcnn.export.tflite`
DESCRIPTION = "tfrcnn.json"


class TFLiteRuntime:
    """A .tflite file, ready to run: images of any size go in, resized and padded here as the Keras model does.

    `description` is what the file says of itself (`tfrcnn.export.contract.describe`); `size` is the (height, width) of
    its input.
    """

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        """
        Args:
            threads: of XNNPACK; None takes as many as there are processors.

        Raises:
            InputError: no such file, a truncated one, or not one of tfrcnn.
        """
        # not tf.lite.Interpreter: it is deprecated, and TF 2.21's computes a small RPN wrongly without a word
        from ai_edge_litert.interpreter import Interpreter

        self.path = Path(path)
        self.description = read_description(self.path)
        try:
            self._interpreter: Any = Interpreter(str(self.path), num_threads=threads or os.cpu_count())
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise InputError(f"{self.path}: LiteRT cannot run it: {error}") from error
        (image,) = self._interpreter.get_input_details()
        self._image = image["index"]
        self._outputs = [(str(one["name"]), one["index"]) for one in self._interpreter.get_output_details()]
        self.size: tuple[int, int] = (int(image["shape"][1]), int(image["shape"][2]))

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Detect in images of one size.

        Args:
            images: [B, H, W, 3] RGB 0..255, uint8 or float32.

        Returns:
            the contract's outputs, boxes relative to the images as given.

        Raises:
            InputError: images of another shape.
        """
        if images.ndim != 4 or images.shape[-1] != 3 or 0 in images.shape:
            raise InputError(f"images must be [B, H, W, 3], found {list(images.shape)}")
        found = [self._run_one(letterbox(image, self.size)) for image in images]
        return {name: np.concatenate([one[name] for one in found]) for name in found[0]}

    def _run_one(self, frame: np.ndarray) -> dict[str, np.ndarray]:
        self._interpreter.set_tensor(self._image, frame[None])
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._outputs}


def read_description(path: Path) -> dict[str, Any]:
    """The description inside a .tflite file.

    Raises:
        InputError: no such file, a truncated one, or not one of tfrcnn.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path) as files:
            description = json.loads(files.read(DESCRIPTION))
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise InputError(f"{path}: not a .tflite file of tfrcnn, or truncated: no {DESCRIPTION} in it") from error
    if not isinstance(description, dict) or description.get("tfrcnn_export") != 1:
        raise InputError(f"{path}: {DESCRIPTION}: tfrcnn_export must be 1 (this version of tfrcnn)")
    return description


def letterbox(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image in the top left corner of a frame, scaled to fit and its aspect kept; the rest is padding.

    The same numbers as `tfrcnn.images.resize`: sides floor(k side), k = min(N_h / H, N_w / W); bilinear, half-pixel
    centres, no antialiasing.

    Args:
        image: [H, W, 3].
        size: (N_h, N_w).

    Returns:
        [N_h, N_w, 3] float32, `PADDING` outside the image.
    """
    sides = np.asarray(image.shape[:2], np.float64)
    height, width = np.maximum(np.floor(sides * np.min(np.asarray(size) / sides)).astype(int), 1)
    rows, next_rows, down = _taps(image.shape[0], height)
    columns, next_columns, right = _taps(image.shape[1], width)
    # each row that is needed, once; rows of numbers, as broadcasting over three channels is slow
    needed, place = np.unique(np.concatenate([rows, next_rows]), return_inverse=True)
    left, beside = (np.take(image[needed], taps, axis=1).reshape(len(needed), -1) for taps in (columns, next_columns))
    across = _mix(left, beside, np.repeat(right, 3))
    mixed = _mix(across[place[:height]], across[place[height:]], down[:, None])
    frame = np.full((*size, 3), PADDING, np.float32)
    # resampling of a client's may have left pixels under 0, which would be taken for padding
    np.maximum(mixed.reshape(height, width, 3), 0.0, out=frame[:height, :width])
    return frame


def _taps(source: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two cells each target cell is mixed of, and the weight of the second: TensorFlow's float32 arithmetic."""
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
