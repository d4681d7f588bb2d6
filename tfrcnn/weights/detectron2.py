"""Map the weights of Detectron2's Faster R-CNNs (ResNet with feature pyramid, or C4) to this library's.

| here | Detectron2 | difference |
|---|---|---|
| backbone `conv1`, `bn1` | `backbone.bottom_up.stem.conv1`, `.conv1.norm`; C4 has no `bottom_up` | layout |
| backbone `layer1_0_conv1`, `_bn1` | `backbone.bottom_up.res2.0.conv1`, `.conv1.norm` | layout |
| backbone `layer1_0_downsample_0`, `_1` | `backbone.bottom_up.res2.0.shortcut`, `.shortcut.norm` | layout |
| fpn `lateral0`, `smooth0` | `backbone.fpn_lateral2`, `backbone.fpn_output2` | layout |
| rpn_head `conv0` | `proposal_generator.rpn_head.conv` | layout |
| rpn_head `objectness`, `deltas` | `proposal_generator.rpn_head.objectness_logits`, `.anchor_deltas` | see below |
| box_head `block0` `conv1`, `shortcut` (C4) | `roi_heads.res5.0.conv1`, `.shortcut` (`.norm`: norm) | layout |
| box_head `fc6`, `fc7` | `roi_heads.box_head.fc1`, `fc2` | channels last, not first |
| box_head `class_logits`, `box_deltas` | `roi_heads.box_predictor.cls_score`, `.bbox_pred` | dy, dx, dh, dw |
| cascade `box_head_2` | `roi_heads.box_head.1`, `roi_heads.box_predictor.1`; the first head is `.0` | as box_head |

The published cascades are of masks too; the mask head is left out.

Torch's order of deltas is dx, dy, dw, dh. Detectron2's anchors of a cell are in the order (size, ratio), here (ratio,
size). The configuration is imported too: Caffe's BGR images, anchors at the nominal strides without rounding, RoIAlign
with `aligned`. Four differences remain. Detectron2 resizes images with Pillow, which smooths when it shrinks them. It
rounds image sizes to the nearest pixel; this library rounds down. Its RoIAlign takes more samples per bin for larger
boxes; this library always takes 2 x 2. It pads a C4 detector's images to a common size only; this library pads them to
a multiple of 16.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from tfrcnn.config import AnchorConfig, BoxLossConfig, DetectorConfig
from tfrcnn.layers import BoxHead
from tfrcnn.models import FasterRCNN
from tfrcnn.weights.torch_layout import (
    Assignment,
    conv_kernel,
    dense_kernel,
    flattened_kernel,
    layer_assignments,
)
from tfrcnn.weights.torchvision import SWAPPED, deltas_assignments, output_assignments, pyramid_convolutions

# Constants that Detectron2 saves with the weights.
CONSTANTS = ("proposal_generator.anchor_generator.cell_anchors.", "pixel_mean", "pixel_std")
MASK_HEAD = "roi_heads.mask_head."
# The ResNet: a part of the backbone with a pyramid, and the backbone itself without one.
BODY, C4_BODY = "backbone.bottom_up", "backbone"


def boxes_alone(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Drop the constants and the mask head from a state dict."""
    return {key: array for key, array in state.items() if not key.startswith((*CONSTANTS, MASK_HEAD))}


def num_classes(state: Mapping[str, np.ndarray]) -> int | None:
    """Return C, the number of classes without the background. None if the state dict is not a Detectron2 detector's."""
    for predictor in ("box_predictor", "box_predictor.0"):  # the second is a cascade's
        if (bias := state.get(f"roi_heads.{predictor}.cls_score.bias")) is not None:
            return len(bias) - 1
    return None


def adapted(config: DetectorConfig) -> DetectorConfig:
    """Configure a preset (`resnet50_fpn`, `resnet50_c4`, ...) as Detectron2's COCO-Detection/faster_rcnn_R_*.

    `cascade_resnet50_fpn` becomes Misc/cascade_mask_rcnn_R_50_FPN_*, which trains on twice as many proposals.
    """
    train_proposals = config.train_proposals  # without a pyramid, the preset has Detectron2's numbers
    if config.fpn:
        count = 2000 if config.head.cascade else 1000
        train_proposals = dataclasses.replace(train_proposals, pre_nms_top_n=2000, post_nms_top_n=count)
    return config.replace(
        backbone=config.backbone.replace(stride_in_1x1=True, norm_epsilon=1e-5),
        image=config.image.replace(channel_order="BGR", mean=(103.53, 116.28, 123.675), std=(1.0, 1.0, 1.0)),
        anchors=config.anchors.replace(rounding="none", nominal_strides=True),
        rpn=config.rpn.replace(box_loss=BoxLossConfig(beta=0.0)),
        train_proposals=train_proposals,
        head=config.head.replace(aligned=True, box_loss=BoxLossConfig(beta=0.0)),
    )


def assignments(detector: FasterRCNN) -> list[Assignment]:
    """Return an assignment for each weight of a detector: its key in Detectron2's state dict and the conversion."""
    result = []
    for layer in detector.backbone.layers:
        if layer.weights:
            result += layer_assignments(layer, body_module(layer.name, BODY if detector.fpn else C4_BODY))
    for i, (lateral, smooth) in enumerate(pyramid_convolutions(detector), start=2):
        result += layer_assignments(lateral, f"backbone.fpn_lateral{i}")
        result += layer_assignments(smooth, f"backbone.fpn_output{i}")
    rpn, module = detector.rpn_head, "proposal_generator.rpn_head"
    result += layer_assignments(rpn.convs[0], f"{module}.conv")
    order = anchor_order(detector.config.anchors)
    deltas = (4 * order[:, None] + SWAPPED).ravel()
    result += output_assignments(rpn.objectness, f"{module}.objectness_logits", order, len(order), conv_kernel)
    result += output_assignments(rpn.deltas, f"{module}.anchor_deltas", deltas, len(deltas), conv_kernel)
    heads = detector.stages.heads
    for stage, head in enumerate(heads):
        result += head_assignments(head, f".{stage}" if len(heads) > 1 else "")
    return result


def anchor_order(config: AnchorConfig) -> np.ndarray:
    """Return the position of each anchor of a cell, [k], among Detectron2's: anchor i here is its anchor order[i]."""
    sizes, ratios = len(config.sizes[0]), len(config.ratios)
    return np.arange(sizes * ratios).reshape(sizes, ratios).T.ravel()


def head_assignments(head: BoxHead, stage: str = "") -> list[Assignment]:
    """Return the assignments of a box head; `stage` is ".0" and so on in a cascade."""
    result: list[Assignment] = []
    for i, block in enumerate(head.blocks):
        named = [(f"conv{number}", conv) for number, conv in enumerate(block.convs, start=1)]
        for name, conv in [*named, *([("shortcut", block.shortcut)] if block.shortcut else [])]:
            module = f"roi_heads.res5.{i}.{name}"
            result += layer_assignments(conv.conv, module) + layer_assignments(conv.norm, f"{module}.norm")
    flattened = flattened_kernel(head.config.pool_size, head.config.pool_size)
    for i, dense in enumerate(head.hidden):
        result += layer_assignments(dense, f"roi_heads.box_head{stage}.fc{i + 1}", None if i else flattened)
    module = f"roi_heads.box_predictor{stage}"
    result += layer_assignments(head.classifier, f"{module}.cls_score")
    result += deltas_assignments(head.regressor, f"{module}.bbox_pred", head.box_classes, dense_kernel)
    return result


def body_module(layer_name: str, body: str = BODY) -> str:
    """Translate a layer's name to Detectron2's; `body` is the module of the ResNet.

    `bn1` -> "backbone.bottom_up.stem.conv1.norm", `layer1_0_conv2` -> "backbone.bottom_up.res2.0.conv2".
    """
    *block, part = layer_name.replace("downsample_0", "shortcut").replace("downsample_1", "shortcut.norm").split("_")
    if part.startswith("bn"):
        part = f"conv{part.removeprefix('bn')}.norm"
    if not block:
        return f"{body}.stem.{part}"
    return f"{body}.res{int(block[0].removeprefix('layer')) + 1}.{block[1]}.{part}"
