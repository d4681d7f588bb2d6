"""TensorFlow Lite models in 8-bit integers: the backbone, the pyramid, the RPN and the head, not the geometry.

ai-edge-quantizer selects operators by name, so anchors, boxes, NMS and scores stay in float32. The converter's
own quantisation takes every operator that exists in 8 bits, including those that decode boxes: at 320 pixels, 256 steps
are more than a pixel each.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import numpy as np

from ..artefact import representative_images
from ..stages import BACKBONES, layer_of
from . import flatbuffer
from .runtime import letterbox

# Operators are named after layers, with "faster_rcnn/network/" in front except in `run_stages`. One that computes an
# output has the output's name, for example "backbone_0" (`flatbuffer.sign`). ai-edge-quantizer appends a ";".
# The pooled cells are gathered in 8 bits, a quarter of the bytes.
# The last layers, which are small, stay float32: 256 steps of a delta move a box, 256 steps of a logit are ties.
# Keras numbers copies and further calls: the second head of a cascade is "cascade_1/box_head_2_1".
NETWORK = r"(^|[/;])((rpn_)?(backbone|fpn)(_\d+)*[/;]|rpn_head(_\d+)*/conv|box_head(_\d+)*/(fc|conv|block))"
CELLS = r"(^|[/;])roi_align(_\d+)*/cells"
# A backbone's first convolutions stay float32: MobileNetV2's cost 0.9 of the 1.0 points of AP that int8 lost.
STEM = 3
# A convolution whose kernel has more than 32 MB in float32 stays so: ai-edge-quantizer 0.10 fails for such a kernel. It
# is the RPN's of the detectors without a pyramid on a ResNet, 3 x 3 x 1024 x 1024.
LARGE = 32 * 2**20 // 4
OPERATORS = (
    *("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "MUL", "MEAN", "CONCATENATION", "RESHAPE"),
    *("STRIDED_SLICE", "PAD", "MAX_POOL_2D", "AVERAGE_POOL_2D", "HARD_SWISH", "RELU"),
)


def quantize(model: bytes, representative: Iterable[np.ndarray], size: tuple[int, int]) -> bytes:
    """Quantise the weights and activations of a model's network to 8 bits.

    Args:
        model: The float32 model, signed (`flatbuffer.sign`).
        representative: Images [H, W, 3], RGB 0..255, on which the ranges of activations are measured.
        size: (height, width) of the model's input.

    Raises:
        InputError: There are no images.
    """
    from ai_edge_quantizer import quantizer
    from ai_edge_quantizer.qtyping import TFLOperationName

    worker = quantizer.Quantizer(bytearray(model))
    network = _network_without([*_stem(flatbuffer.convolutions(model)), *flatbuffer.convolutions(model, LARGE + 1)])
    for name in OPERATORS:
        worker.add_static_config(network, TFLOperationName(name), 8, 8)
    for name in ("GATHER", "CONCATENATION", "RESHAPE"):
        worker.add_static_config(f".*{CELLS}.*", TFLOperationName(name), 8, 8)
    with _silence():
        inputs = [{"image": letterbox(image, size)[None]} for image in representative_images(representative)]
        ranges = worker.calibrate({"serving_default": inputs})
        return bytes(worker.quantize(ranges).quantized_model)


def _network_without(names: Sequence[str]) -> str:
    """Return the pattern of the network's operators except these; `names` may be empty."""
    others = f"(?!{'|'.join(map(re.escape, names))})" if names else ""  # an empty lookahead would match nothing
    return f"^{others}.*{NETWORK}.*"


def _stem(convolutions: Sequence[str]) -> list[str]:
    """Return the names of each backbone's first convolutions, given all names in the graph's order."""
    return [name for layer in BACKBONES for name in [one for one in convolutions if layer_of(one) == layer][:STEM]]


@contextmanager
def _silence() -> Iterator[None]:
    """Hide ai-edge-quantizer's progress bars and warnings.

    The warnings are about memory during calibration, and about filters that are all zero: their scale is 0, and
    their weights are computed as 0 / 0 before they become 0.
    """
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
