"""The stages of a detector: what they compute, and which stage an operator belongs to.

Every exporter keeps the names of TensorFlow's graph, and with them the layer of each operator, for example
"faster_rcnn/network/rpn_head/conv0/Relu". So every runtime can attribute an operator's time to a stage.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import tensorflow as tf

from ..models import FasterRCNN

STAGES = ("preprocessing", "backbone", "rpn", "proposals", "roi_align", "head", "detections")
_STAGE_OF_LAYER = {
    "preprocessor": "preprocessing",
    "normalizer": "preprocessing",
    "backbone": "backbone",
    "fpn": "backbone",
    "rpn_backbone": "backbone",  # these two exist if the RPN does not share features
    "rpn_fpn": "backbone",
    "rpn_head": "rpn",
    "anchors": "proposals",
    "proposals": "proposals",
    "roi_align": "roi_align",
    "roi_pool": "roi_align",
    "roi_pooling": "roi_align",  # the user's layer
    "box_head": "head",
    "cascade": "head",  # holds the later heads, "cascade/box_head_2"
    "box_refiner": "head",  # between two stages of a cascade
    "decoder": "detections",
    "rescaler": "detections",
}
BACKBONES = ("backbone", "rpn_backbone")
_LAYER = re.compile(rf"(?:^|/)({'|'.join(_STAGE_OF_LAYER)})(?:_\d+)*(?:/|$)")


def stage_of(name: str) -> str | None:
    """Return the stage of an operator or tensor by its name; None outside the network's layers."""
    layer = layer_of(name)
    return _STAGE_OF_LAYER[layer] if layer else None


def layer_of(name: str) -> str | None:
    """Return the layer of an operator or tensor by its name, without the numbers that Keras gives a copy."""
    match = _LAYER.search(name.split(";")[0])  # TFLite joins the names of fused operators by ";"
    return match[1] if match else None


def run_stages(detector: FasterRCNN, images: tf.Tensor, image_sizes: tf.Tensor) -> dict[str, tf.Tensor]:
    """Run a detector and return the outputs of each stage.

    Args:
        detector: The detector.
        images: [B, N_h, N_w, 3] at network size.
        image_sizes: [B, 2] (h, w) inside the padding.

    Returns:
        preprocessing_0: [B, N_h, N_w, 3] normalised images.
        backbone_0, ...: Feature maps, finest first; then the RPN's, if it does not share features.
        rpn_0: [B, A] logits of all levels.
        rpn_1: [B, A, 4] deltas of all levels.
        proposals_0: [B, P, 4] boxes.
        roi_align_0: [B, P, p, p, C] pooled features.
        head_0: [B, P, C + 1] class logits.
        head_1: [B, P, C, 4] deltas; then both of each further stage of a cascade.
        detections_0: [B, D, 4] boxes.
        detections_1: [B, D] scores.
    """
    stages = detector.stages
    features = stages.features(images, image_sizes, training=False)
    rpn = stages.rpn(features.rpn, images)
    proposals = stages.propose(rpn, image_sizes)
    head = stages.second_stage(features.head, proposals, image_sizes, training=False)
    detections = stages.decode(head.class_logits, head.deltas[-1], head.proposals[-1], image_sizes)
    outputs: dict[str, Sequence[tf.Tensor]] = {
        "preprocessing": [features.pixels],
        "backbone": [*features.head, *([] if features.rpn is features.head else features.rpn)],
        "rpn": [tf.concat(rpn.logits, axis=1), tf.concat(rpn.deltas, axis=1)],
        "proposals": [proposals["boxes"]],
        "roi_align": head.pooled[:1],
        "head": [tensor for stage in zip(head.class_logits, head.deltas) for tensor in stage],
        "detections": [detections["boxes"], detections["scores"]],
    }
    return {f"{stage}_{i}": tensor for stage, tensors in outputs.items() for i, tensor in enumerate(tensors)}
