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
    "box_head": "head",
    "decoder": "detections",
    "rescaler": "detections",
}
BACKBONES = ("backbone", "rpn_backbone")
_LAYER = re.compile(rf"(?:^|/)({'|'.join(_STAGE_OF_LAYER)})(?:_\d+)?(?:/|$)")


def stage_of(name: str) -> str | None:
    """Return the stage of an operator or tensor by its name; None outside the network's layers."""
    layer = layer_of(name)
    return _STAGE_OF_LAYER[layer] if layer else None


def layer_of(name: str) -> str | None:
    """Return the layer of an operator or tensor by its name, without the number that Keras gives a copy."""
    match = _LAYER.search(name.split(";")[0])  # TFLite joins the names of fused operators by ";"
    return match[1] if match else None


def run_stages(detector: FasterRCNN, images: tf.Tensor, image_sizes: tf.Tensor) -> dict[str, tf.Tensor]:
    """What each stage gives.

    Args:
        images: [B, N_h, N_w, 3], at network size; image_sizes: [B, 2], as `FasterRCNN.network` takes them.

    Returns:
        by the names of `STAGES` with a number behind: normalised images; feature maps, finest first, and behind them
        the RPN's where it has its own; logits [B, A] and deltas [B, A, 4] of all levels; boxes [B, P, 4] of the
        proposals; their pooled features [B, P, p, p, C]; class logits [B, P, C + 1] and deltas [B, P, C, 4]; boxes
        [B, D, 4] and scores [B, D] of the detections.
    """
    stages = detector.stages
    features = stages.features(images, image_sizes, training=False)
    rpn = stages.rpn(features.rpn, images)
    proposals = stages.propose(rpn, image_sizes)
    pooled = stages.pool(features.head, proposals["boxes"])
    class_logits, deltas = stages.classify(pooled, training=False)
    detections = stages.decode(class_logits, deltas, proposals, image_sizes)
    outputs: dict[str, Sequence[tf.Tensor]] = {
        "preprocessing": [features.pixels],
        "backbone": [*features.head, *([] if features.rpn is features.head else features.rpn)],
        "rpn": [tf.concat(rpn.logits, axis=1), tf.concat(rpn.deltas, axis=1)],
        "proposals": [proposals["boxes"]],
        "roi_align": [pooled],
        "head": [class_logits, deltas],
        "detections": [detections["boxes"], detections["scores"]],
    }
    return {f"{stage}_{i}": tensor for stage, tensors in outputs.items() for i, tensor in enumerate(tensors)}
