"""TensorFlow Lite: a detector as one file for phones and small machines, with built-in operators only.

The input is static, [1, N_h, N_w, 3] float32 RGB 0..255, and has to be the only one, for MediaPipe's sake. An image of
another aspect is put into its top left corner (`TFLiteRuntime` does so), and the rest filled with -1: what is
negative is padding. From that the file finds the image's size, and so does all that the Keras model does with it:
the padding is zero after normalising, boxes are clipped to the image and relative to it. Clients that
stretch the image over the whole input, as MediaPipe's do, need know nothing of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ...config import ImageConfig
from ...errors import InputError
from ...files import atomic
from ...models import FasterRCNN
from ..contract import OUTPUTS, PRECISIONS, describe, prepare, to_contract
from ..stages import run_stages
from . import flatbuffer as tflite_model
from .quantize import quantize
from .runtime import letterbox

# Cells up to which RoIAlign is faster by matrix products in LiteRT. Measured, ms of one thread, gathers and products:
# 10 x 10 cells, 300 boxes, 256 channels 55 and 8; 20 x 20, 300, 512 122 and 32; 80 x 80, 100, 256 19 and 41.
MOST_CELLS = 1000
Compute = Callable[[FasterRCNN, tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]
_IMAGE_ABOVE = -0.5  # what a client's own resampling may leave under 0 is no padding


def to_tflite(
    detector: FasterRCNN,
    path: str | Path,
    image_size: tuple[int, int] | None = None,
    max_detections: int | None = None,
    score_threshold: float | None = None,
    precision: str = "float32",
    representative: Iterable[np.ndarray] | None = None,
) -> Path:
    """Write a detector as a TensorFlow Lite file that keeps the contract (`tfrcnn.export.contract`).

    Its classes are labels 0..C-1, lines of the label file inside.

    Args:
        path: the file to write; there must be none.
        image_size: (height, width) of the input; None is the detector's static size, or else a square of its
            `min_size`, rounded up to its divisor.
        max_detections, score_threshold: None keeps the detector's.
        precision: "float32"; "float16" and "dynamic" store weights in 16 and 8 bits; "int8" computes the backbone,
            the RPN and the head in 8 bits, boxes and NMS in float32.
        representative: for "int8", images [H, W, 3] RGB 0..255 as the detector will see them; a hundred are plenty.

    Returns:
        path.

    Raises:
        InputError: the path exists, an option is out of range, or "int8" without representative images.
    """
    path = Path(path)
    if path.exists():
        raise InputError(f"{path} exists already")
    if precision not in PRECISIONS:
        raise InputError(f"precision must be one of {', '.join(PRECISIONS)}, found {precision!r}")
    size = image_size or static_size(detector.config.image)
    copy = prepare(detector, size, max_detections, score_threshold, _roi_align(detector, size))
    if precision == "int8" and representative is None:
        raise InputError("int8 needs representative images, from which the ranges of its numbers are measured")
    model = _convert(copy, precision, representative)
    description = describe(copy.config, "tflite", precision)
    labels = [category.name for category in copy.config.categories]
    with atomic(path) as temporary:
        temporary.write_bytes(tflite_model.finish(model, OUTPUTS, description, labels))
    return path


def static_size(config: ImageConfig) -> tuple[int, int]:
    """The input of a detector that is given no other: its static size, or a square of its min_size, rounded up."""
    side = math.ceil(config.min_size / config.divisor) * config.divisor
    return config.static_size or (side, side)


def _roi_align(detector: FasterRCNN, size: tuple[int, int]) -> str:
    """The faster implementation in LiteRT, by the cells that boxes are pooled from."""
    cells = sum(math.ceil(size[0] / stride) * math.ceil(size[1] / stride) for stride in detector.roi_pooling.strides)
    return "matmul" if cells <= MOST_CELLS else "gather"


def stage_outputs(
    detector: FasterRCNN, precision: str, representative: Iterable[np.ndarray] | None, picture: np.ndarray
) -> dict[str, np.ndarray]:
    """What each stage of a detector gives in LiteRT: `run_stages` converted as `to_tflite` converts, and run.

    Args:
        detector: with a static size.
        picture: [H, W, 3] RGB 0..255.
    """
    from ai_edge_litert.interpreter import Interpreter

    size = static_size(detector.config.image)
    model = _convert(prepare(detector, roi_align=_roi_align(detector, size)), precision, representative, run_stages)
    interpreter, image = Interpreter(model_content=model), letterbox(picture, size)[None]
    return dict(interpreter.get_signature_runner("serving_default")(image=image))


def _detect(detector: FasterRCNN, image: tf.Tensor, sizes: tf.Tensor) -> dict[str, tf.Tensor]:
    return to_contract(detector.network([image, sizes], training=False), sizes)


def _serving(detector: FasterRCNN, compute: Compute) -> Any:
    """The graph that is converted, a tf.function: one letterboxed image -> what is computed of it."""

    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return compute(detector, image, _unpadded_sizes(image))

    spec = tf.TensorSpec([1, *static_size(detector.config.image), 3], tf.float32, "image")
    return tf.function(serve, input_signature=[spec])


def _unpadded_sizes(images: tf.Tensor) -> tf.Tensor:
    """(h, w) of the part that is not padding: [B, N_h, N_w, 3] -> [B, 2] float32, at least 1."""
    column, row = images[:, :, 0, 0], images[:, 0, :, 0]
    inside = [tf.cast(pixels > _IMAGE_ABOVE, tf.float32) for pixels in (column, row)]
    return tf.maximum(tf.stack([tf.reduce_sum(pixels, axis=1) for pixels in inside], axis=1), 1.0)


def _convert(
    detector: FasterRCNN, precision: str, representative: Iterable[np.ndarray] | None = None, compute: Compute = _detect
) -> bytes:
    traced = _serving(detector, compute).get_concrete_function()
    converter: Any = tf.lite.TFLiteConverter.from_concrete_functions([traced])
    # else variables stay, and batch norm unfolded beside them; by way of a SavedModel they stay all the same, and once
    # frozen take VGG-16 more than 20 GB of memory instead of 11
    converter.experimental_enable_resource_variables = False
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if precision in ("float16", "dynamic"):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    # sorted is the order in which dicts are flattened
    model = tflite_model.sign(bytes(converter.convert()), sorted(traced.structured_outputs))
    if precision != "int8":
        return model
    return quantize(model, representative or (), static_size(detector.config.image))
