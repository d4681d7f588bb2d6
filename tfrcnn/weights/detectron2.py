"""Detectron2's Faster R-CNNs with ResNet and feature pyramid: which of their weights goes where.

| here | Detectron2 | difference |
|---|---|---|
| backbone `conv1`, `bn1` | `backbone.bottom_up.stem.conv1`, `.conv1.norm` | layout |
| backbone `layer1_0_conv1`, `_bn1` | `backbone.bottom_up.res2.0.conv1`, `.conv1.norm` | layout |
| backbone `layer1_0_downsample_0`, `_1` | `backbone.bottom_up.res2.0.shortcut`, `.shortcut.norm` | layout |
| fpn `lateral0`, `smooth0` | `backbone.fpn_lateral2`, `backbone.fpn_output2` | layout |
| rpn_head `conv0` | `proposal_generator.rpn_head.conv` | layout |
| rpn_head `objectness`, `deltas` | `proposal_generator.rpn_head.objectness_logits`, `.anchor_deltas` | dy, dx, dh, dw |
| box_head `fc6`, `fc7` | `roi_heads.box_head.fc1`, `fc2` | channels last, not first |
| box_head `class_logits`, `box_deltas` | `roi_heads.box_predictor.cls_score`, `.bbox_pred` | dy, dx, dh, dw |

Torch's order is dx, dy, dw, dh. The configuration comes along: Caffe's BGR images, anchors that are not rounded and lie
at the nominal strides, RoIAlign with `aligned`. Three things only Detectron2 itself has: Pillow resizes its images, and
smooths where it shrinks them; their sizes are rounded to the nearest pixel, here down; and RoIAlign takes the more
samples a bin the larger the box is, here always 2 x 2.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from tfrcnn.config import BoxLossConfig, DetectorConfig
from tfrcnn.models import FasterRCNN
from tfrcnn.weights.torch_layout import (
    Assignment,
    conv_kernel,
    dense_kernel,
    flattened_kernel,
    layer_assignments,
    unchanged,
)
from tfrcnn.weights.torchvision import deltas_assignments, pyramid_convolutions

# Constants that it saves with the weights.
CONSTANTS = ("proposal_generator.anchor_generator.cell_anchors.", "pixel_mean", "pixel_std")


def without_constants(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights of a state dict."""
    return {key: array for key, array in state.items() if not key.startswith(CONSTANTS)}


def num_classes(state: Mapping[str, np.ndarray]) -> int | None:
    """C of a state dict, if it is one of Detectron2's detectors."""
    bias = state.get("roi_heads.box_predictor.cls_score.bias")
    return None if bias is None else len(bias) - 1


def adapted(config: DetectorConfig) -> DetectorConfig:
    """A preset (`resnet50_fpn`, `resnet101_fpn`) as Detectron2 configures COCO-Detection/faster_rcnn_R_*_FPN_*."""
    return config.replace(
        backbone=config.backbone.replace(stride_in_1x1=True, norm_epsilon=1e-5),
        image=config.image.replace(channel_order="BGR", mean=(103.53, 116.28, 123.675), std=(1.0, 1.0, 1.0)),
        anchors=config.anchors.replace(rounding="none", nominal_strides=True),
        rpn=config.rpn.replace(box_loss=BoxLossConfig(beta=0.0)),
        train_proposals=dataclasses.replace(config.train_proposals, pre_nms_top_n=2000, post_nms_top_n=1000),
        head=config.head.replace(aligned=True, box_loss=BoxLossConfig(beta=0.0)),
    )


def assignments(detector: FasterRCNN) -> list[Assignment]:
    """Every weight of a detector with its key in Detectron2's state dict and what has to be done to it."""
    found = []
    for layer in detector.backbone.layers:
        if layer.weights:
            found += layer_assignments(layer, body_module(layer.name))
    for i, (lateral, smooth) in enumerate(pyramid_convolutions(detector), start=2):
        found += layer_assignments(lateral, f"backbone.fpn_lateral{i}")
        found += layer_assignments(smooth, f"backbone.fpn_output{i}")
    rpn, head, classes = detector.rpn_head, detector.box_head, detector.config.num_classes
    module = "proposal_generator.rpn_head"
    found += layer_assignments(rpn.convs[0], f"{module}.conv")
    found += layer_assignments(rpn.objectness, f"{module}.objectness_logits")
    found += deltas_assignments(rpn.deltas, f"{module}.anchor_deltas", rpn.anchors_per_cell, conv_kernel)
    flattened = flattened_kernel(head.config.pool_size, head.config.pool_size)
    for i, dense in enumerate(head.hidden):
        module = f"roi_heads.box_head.fc{i + 1}"
        found.append(Assignment(dense.kernel, f"{module}.weight", flattened if i == 0 else dense_kernel))
        found.append(Assignment(dense.bias, f"{module}.bias", unchanged))
    module = "roi_heads.box_predictor"
    found += layer_assignments(head.classifier, f"{module}.cls_score")
    found += deltas_assignments(head.regressor, f"{module}.bbox_pred", classes, dense_kernel)
    return found


def body_module(layer_name: str) -> str:
    """`bn1` -> "backbone.bottom_up.stem.conv1.norm", `layer1_0_conv2` -> "backbone.bottom_up.res2.0.conv2"."""
    *block, part = layer_name.replace("downsample_0", "shortcut").replace("downsample_1", "shortcut.norm").split("_")
    if part.startswith("bn"):
        part = f"conv{part.removeprefix('bn')}.norm"
    if not block:
        return f"backbone.bottom_up.stem.{part}"
    return f"backbone.bottom_up.res{int(block[0].removeprefix('layer')) + 1}.{block[1]}.{part}"
