"""A TensorFlow Lite model in 8-bit integers: the backbone, the pyramid, the RPN and the head, not the geometry.

By ai-edge-quantizer, which takes operators by name and so leaves anchors, boxes, NMS and what is made of scores alone.
The converter's own quantisation takes every operator that exists in 8 bits, also those that decode boxes: at 320
pixels, 256 steps are more than a pixel each.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import numpy as np

from ...errors import InputError
from ..stages import BACKBONES, layer_of
from . import flatbuffer as tflite_model
from .runtime import letterbox

# Names of operators are those of the layers, behind "faster_rcnn/network/" but for `run_stages`; one that makes a
# result has the result's, as "backbone_0" (`tflite_model.sign`). ai-edge-quantizer puts a ";" behind each.
# The pooled cells are gathered in 8 bits, a quarter of the bytes.
# The last layers stay float32: 256 steps of a delta move a box, 256 of a logit are ties; and they are small.
NETWORK = r"(^|[/;])((rpn_)?(backbone|fpn)(_\d+)?[/;]|rpn_head(_\d+)?/conv|box_head(_\d+)?/(fc|conv))"
CELLS = r"(^|[/;])roi_align(_\d+)?/cells"
# Convolutions of a backbone that stay float32: MobileNetV2's first three cost 0.9 of the 1.0 points of AP int8 lost.
STEM = 3
OPERATORS = (
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "FULLY_CONNECTED",
    "ADD",
    "MUL",
    "MEAN",
    "CONCATENATION",
    "RESHAPE",
    "STRIDED_SLICE",
    "PAD",
    "MAX_POOL_2D",
    "AVERAGE_POOL_2D",
    "HARD_SWISH",
    "RELU",
)


def quantize(model: bytes, representative: Iterable[np.ndarray], size: tuple[int, int]) -> bytes:
    """A float32 model with weights and activations of its network in 8 bits.

    Args:
        representative: images [H, W, 3], RGB 0..255.
        size: of the model's input.

    Raises:
        InputError: there is no image.
    """
    from ai_edge_quantizer import quantizer
    from ai_edge_quantizer.qtyping import TFLOperationName

    worker = quantizer.Quantizer(bytearray(model))
    network = _network_without(_stem(tflite_model.convolutions(model)))
    for name in OPERATORS:
        worker.add_static_config(network, TFLOperationName(name), 8, 8)
    for name in ("GATHER", "CONCATENATION", "RESHAPE"):
        worker.add_static_config(f".*{CELLS}.*", TFLOperationName(name), 8, 8)
    with _silence():
        ranges = worker.calibrate({"serving_default": list(_inputs(representative, size))})
        return bytes(worker.quantize(ranges).quantized_model)


def _network_without(stem: Sequence[str]) -> str:
    """The pattern of the network's operators but for these, of which there may be none."""
    others = f"(?!{'|'.join(map(re.escape, stem))})" if stem else ""  # an empty one would match nothing at all
    return f"^{others}.*{NETWORK}.*"


def _stem(convolutions: Sequence[str]) -> list[str]:
    """The names of the first convolutions of each backbone, of those of all in the order of the graph."""
    return [name for layer in BACKBONES for name in [one for one in convolutions if layer_of(one) == layer][:STEM]]


@contextmanager
def _silence() -> Iterator[None]:
    """Without ai-edge-quantizer's bars and warnings: of LiteRT that calibrating takes memory, and of filters that are
    all zero, whose scale is 0 and whose weights it computes as 0 / 0 before they become 0."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def _inputs(representative: Iterable[np.ndarray], size: tuple[int, int]) -> Iterator[dict[str, Any]]:
    image = None
    for image in representative:
        yield {"image": letterbox(image, size)[None]}
    if image is None:
        raise InputError("int8 needs representative images, found none")
