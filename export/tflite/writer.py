"""Write TensorFlow Lite files, with built-in operators only.

The only input is static, [1, N_h, N_w, 3] float32 RGB 0..255; MediaPipe allows no second one. `TFLiteRuntime` puts an
image of another aspect into the top left corner and fills the rest with -1: negative means padding. The file computes
the image's size from it and treats padding as the Keras model does: padding is zero after normalising, boxes are
clipped to the image and relative to it. Clients that stretch the image over the whole input, for example MediaPipe's,
need no padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ...config import ImageConfig
from ...files import atomic
from ...kernels import PORTABLE_MATMUL, Kernels
from ...models import FasterRCNN
from ..artefact import OUTPUTS
from ..contract import Limits, check_size, describe, prepare, to_contract
from ..stages import run_stages
from ..text import label_lines
from . import flatbuffer
from .kernels import LITERT
from .quantize import quantize
from .runtime import letterbox

# Up to this number of cells, RoIAlign by matrix products is faster in LiteRT than by gathers. Milliseconds of gathers
# of all boxes at once and products, one thread: 55 and 8 for 10 x 10 cells, 300 boxes, 256 channels; 122 and 32 for
# 20 x 20, 300, 512; 19 and 41 for 80 x 80, 100, 256. Gathers in chunks take about half as long.
MAX_CELLS = 1000
Compute = Callable[[FasterRCNN, tf.Tensor, tf.Tensor], dict[str, tf.Tensor]]
_IMAGE_ABOVE = -0.5  # not 0: a client's resampling may leave pixels slightly below 0


def write(
    detector: FasterRCNN, path: Path, limits: Limits, precision: str, representative: Iterable[np.ndarray] | None
) -> None:
    """Write the file, see `to_tflite`."""
    check_size(detector)
    size = limits[0] or static_size(detector.config.image)
    copy = prepare(detector, size, *limits[1:], _kernels(detector, size))
    model = _convert(copy, precision, representative)
    description = describe(copy.config, "tflite", precision, classes="labels")
    labels = label_lines(copy.config.categories)
    with atomic(path) as temporary:
        temporary.write_bytes(flatbuffer.finish(model, OUTPUTS, description, labels))


def static_size(config: ImageConfig) -> tuple[int, int]:
    """Return the default input size: the static size, or a square of `min_size`, rounded up to the divisor."""
    side = math.ceil(config.min_size / config.divisor) * config.divisor
    return config.static_size or (side, side)


def _kernels(detector: FasterRCNN, size: tuple[int, int]) -> Kernels:
    """Choose the kernels whose RoIAlign is faster in LiteRT, by the cells that boxes are pooled from."""
    strides = detector.level_strides[: detector.stages.pooled_levels]
    cells = sum(math.ceil(size[0] / stride) * math.ceil(size[1] / stride) for stride in strides)
    return PORTABLE_MATMUL if cells <= MAX_CELLS else LITERT


def stage_outputs(
    detector: FasterRCNN, precision: str, representative: Iterable[np.ndarray] | None, picture: np.ndarray
) -> dict[str, np.ndarray]:
    """Convert `run_stages` and run it in LiteRT, see `Target.stage_outputs`; the detector has a static size."""
    from ai_edge_litert.interpreter import Interpreter

    size = static_size(detector.config.image)
    model = _convert(prepare(detector, kernels=_kernels(detector, size)), precision, representative, run_stages)
    interpreter, image = Interpreter(model_content=model), letterbox(picture, size)[None]
    return dict(interpreter.get_signature_runner("serving_default")(image=image))


def _detect(detector: FasterRCNN, image: tf.Tensor, sizes: tf.Tensor) -> dict[str, tf.Tensor]:
    return to_contract(detector.network([image, sizes], training=False), sizes)


def _serving(detector: FasterRCNN, compute: Compute) -> Any:
    """Return the tf.function to convert: one letterboxed image -> what `compute` returns."""

    def serve(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return compute(detector, image, _unpadded_sizes(image))

    spec = tf.TensorSpec([1, *static_size(detector.config.image), 3], tf.float32, "image")
    return tf.function(serve, input_signature=[spec])


def _unpadded_sizes(images: tf.Tensor) -> tf.Tensor:
    """Return (h, w) inside the padding: [B, N_h, N_w, 3] -> [B, 2] float32, at least 1."""
    column, row = images[:, :, 0, 0], images[:, 0, :, 0]
    inside = [tf.cast(pixels > _IMAGE_ABOVE, tf.float32) for pixels in (column, row)]
    return tf.maximum(tf.stack([tf.reduce_sum(pixels, axis=1) for pixels in inside], axis=1), 1.0)


def _convert(
    detector: FasterRCNN, precision: str, representative: Iterable[np.ndarray] | None = None, compute: Compute = _detect
) -> bytes:
    traced = _serving(detector, compute).get_concrete_function()
    converter: Any = tf.lite.TFLiteConverter.from_concrete_functions([traced])
    # Otherwise variables stay in the graph and batch norm is not folded. Converting a SavedModel keeps them too, and
    # freezing it first takes 20 GB of memory for VGG-16 instead of 11.
    converter.experimental_enable_resource_variables = False
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if precision in ("float16", "dynamic"):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    # dicts are flattened in sorted order
    model = flatbuffer.sign(bytes(converter.convert()), sorted(traced.structured_outputs))
    if precision == "dynamic":
        return flatbuffer.restore_depthwise(model)
    if precision != "int8":
        return model
    return quantize(model, () if representative is None else representative, static_size(detector.config.image))
