"""Map the weights of torchvision's Faster R-CNNs to this library's.

Legend: C classes without the background, k anchors per cell.

| here | torchvision | difference |
|---|---|---|
| backbone `layer1_0_conv1` | `backbone.body.layer1.0.conv1` | layout |
| fpn `lateral0`, `smooth0` | `backbone.fpn.inner_blocks.0.0`, `layer_blocks.0.0` (`.1`: norm) | layout |
| rpn_head `conv0` | `rpn.head.conv.0.0` | layout |
| rpn_head `objectness`, `deltas` | `rpn.head.cls_logits`, `rpn.head.bbox_pred` | (dx, dy, dw, dh) -> (dy, dx, dh, dw) |
| box_head `conv0` | `roi_heads.box_head.0.0` (`.1`: norm) | layout |
| box_head `fc6`, `fc7` | `roi_heads.box_head.fc6`, `.fc7`; behind convolutions `.5` | channels last, not first |
| box_head `class_logits` | `roi_heads.box_predictor.cls_score` | background last, not first |
| box_head `box_deltas` | `roi_heads.box_predictor.bbox_pred` | none for the background; (dy, dx, dh, dw) |
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import keras
import numpy as np

from tfrcnn.layers.conv_norm import ConvNorm
from tfrcnn.models import FasterRCNN
from tfrcnn.weights.torch_layout import (
    Assignment,
    Converter,
    body_assignments,
    conv_kernel,
    dense_kernel,
    detector_module,
    flattened_kernel,
    is_bookkeeping,
    layer_assignments,
    outputs,
)

# (dx, dy, dw, dh) -> (dy, dx, dh, dw)
SWAPPED = np.array([1, 0, 3, 2])
# torchvision before 0.13 has plain convolutions in pyramid and RPN, later versions have Conv2dNormActivation.
OLD_NAMES = (
    (re.compile(r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$"), r"\1.0.\2"),
    (re.compile(r"^(rpn\.head\.conv)\.(weight|bias)$"), r"\1.0.0.\2"),
)


def renamed(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rename the keys of older torchvision versions to the current ones."""
    names = {}
    for key in state:
        names[key] = key
        for pattern, replacement in OLD_NAMES:
            names[key] = pattern.sub(replacement, names[key])
    return {names[key]: array for key, array in state.items()}


def num_classes(state: Mapping[str, np.ndarray]) -> int | None:
    """Return C of a `renamed` state dict. None if it is not a torchvision detector's."""
    bias = state.get("roi_heads.box_predictor.cls_score.bias")
    return None if bias is None else len(bias) - 1


def has_frozen_norms(state: Mapping[str, np.ndarray]) -> bool:
    """Return whether the batch norms were FrozenBatchNorm2d, which does not count batches."""
    return not any(is_bookkeeping(key) for key in state)


def assignments(detector: FasterRCNN) -> list[Assignment]:
    """Return an assignment for each weight of a detector: its key in torchvision's state dict and the conversion."""
    result = body_assignments(detector.backbone, detector_module)
    for i, (lateral, smooth) in enumerate(pyramid_convolutions(detector)):
        result += block_assignments(lateral, f"backbone.fpn.inner_blocks.{i}")
        result += block_assignments(smooth, f"backbone.fpn.layer_blocks.{i}")

    rpn, classes = detector.rpn_head, detector.config.num_classes
    for i, conv in enumerate(rpn.convs):
        result += layer_assignments(conv, f"rpn.head.conv.{i}.0")
    result += layer_assignments(rpn.objectness, "rpn.head.cls_logits")
    result += deltas_assignments(rpn.deltas, "rpn.head.bbox_pred", rpn.anchors_per_cell, conv_kernel)

    head = detector.box_head
    for i, conv in enumerate(head.convs):
        result += block_assignments(conv, f"roi_heads.box_head.{i}")
    flattened = flattened_kernel(head.config.pool_size, head.config.pool_size)
    for i, dense in enumerate(head.hidden):
        # Behind four convolutions torchvision's module 4 is a flatten, and the dense layer is module 5.
        module = f"roi_heads.box_head.{len(head.convs) + 1 + 2 * i if head.convs else dense.name}"
        result += layer_assignments(dense, module, None if i else flattened)
    background_last = np.roll(np.arange(classes + 1), -1)
    result += output_assignments(
        head.classifier, "roi_heads.box_predictor.cls_score", background_last, classes + 1, dense_kernel
    )
    result += deltas_assignments(head.regressor, "roi_heads.box_predictor.bbox_pred", classes, dense_kernel, skipped=1)
    return result


def pyramid_convolutions(detector: FasterRCNN) -> list[tuple[keras.layers.Layer, keras.layers.Layer]]:
    """Return the lateral and the smoothing convolution of each level."""
    return list(zip(detector.fpn.lateral, detector.fpn.smooth)) if detector.fpn else []


def deltas_assignments(
    layer: keras.layers.Layer, module: str, groups: int, kernel: Converter, skipped: int = 0
) -> list[Assignment]:
    """Return the assignments of a layer of box deltas.

    Args:
        layer: Gives (dy, dx, dh, dw) for each anchor or class; torch's layer gives (dx, dy, dw, dh).
        module: The name of torch's module.
        groups: Number of anchors or classes.
        kernel: Conversion of the kernel.
        skipped: Number of torch's first groups that have no counterpart here.
    """
    order = (4 * np.arange(skipped, skipped + groups)[:, None] + SWAPPED).ravel()
    return output_assignments(layer, module, order, 4 * (skipped + groups), kernel)


def output_assignments(
    layer: keras.layers.Layer, module: str, order: np.ndarray, count: int, kernel: Converter
) -> list[Assignment]:
    """Return the assignments of a layer whose output i is torch's output order[i]; torch's has `count` outputs."""
    return [
        Assignment(layer.kernel, f"{module}.weight", outputs(order, count, kernel)),
        Assignment(layer.bias, f"{module}.bias", outputs(order, count)),
    ]


def block_assignments(layer: keras.layers.Layer, module: str) -> list[Assignment]:
    """Return the assignments of a convolution (`module`.0) and of its batch norm (`module`.1), if it has one."""
    if isinstance(layer, ConvNorm):
        return layer_assignments(layer.conv, f"{module}.0") + layer_assignments(layer.norm, f"{module}.1")
    return layer_assignments(layer, f"{module}.0")
