"""The stages of a detector, as the paper draws them: what they compute, and which of them an operator belongs to.

Every exporter keeps the names of TensorFlow's graph, and with them the layer of each operator
("faster_rcnn/network/rpn_head/conv0/Relu"). So an operator's time can be put down to a stage in any runtime.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ..models import FasterRCNN

STAGES = ("preprocessing", "backbone", "rpn", "proposals", "roi_align", "head", "detections")
_STAGE_OF_LAYER = {
    "preprocessor": "preprocessing",
    "normalizer": "preprocessing",
    "backbone": "backbone",
    "fpn": "backbone",
    "rpn_backbone": "backbone",  # this and the next of a detector whose RPN has features of its own
    "rpn_fpn": "backbone",
    "rpn_head": "rpn",
    "anchors": "proposals",
    "proposals": "proposals",
    "roi_align": "roi_align",
    "roi_pool": "roi_align",
    "roi_pooling": "roi_align",  # a layer of the user's
    "box_head": "head",
    "decoder": "detections",
    "rescaler": "detections",
}
BACKBONES = ("backbone", "rpn_backbone")
_LAYER = re.compile(rf"(?:^|/)({'|'.join(_STAGE_OF_LAYER)})(?:_\d+)?(?:/|$)")


def stage_of(name: str) -> str | None:
    """The stage an operator or tensor belongs to by its name; None for one outside the network's layers."""
    layer = layer_of(name)
    return _STAGE_OF_LAYER[layer] if layer else None


def layer_of(name: str) -> str | None:
    """The network's layer an operator or tensor belongs to by its name, without the number that Keras gives a copy."""
    found = _LAYER.search(name.split(";")[0])  # TFLite joins the names of fused operators by ";"
    return found[1] if found else None


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


# What two runs of a stage may differ by, see `differences`. The precisions that round have no digit to compare: theirs
# tell a stage that is off from one that is rounded.
LIMITS = {"float32": 1e-3, "float16": 0.02, "dynamic": 0.1, "int8": 0.1}
_SAME_PROPOSAL = 0.05  # pixels
_SAME_CROP = 1e-3  # pixels within which two boxes pool the same features, but for round-off
_SAME_DETECTION = 2.0


def differences(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> dict[str, float]:
    """How far two results of `run_stages` are apart, by stage.

    Of "proposals" and "detections" it is the share of theirs without one of ours within 0.05 and 2 pixels (order is no
    difference); of "roi_align" and "head" the largest difference over the largest value, for the proposals that both
    have; of the others the same for all values.
    """
    boxes, others = (found["proposals_0"][0] for found in (theirs, ours))
    present = np.flatnonzero(boxes.any(axis=1))
    partners, distances = _nearest(boxes[present], others)
    same = distances <= _SAME_CROP
    found: dict[str, float] = dict.fromkeys(STAGES, 0.0)
    for name, value in theirs.items():
        stage, other = name.rsplit("_", 1)[0], ours[name]
        if stage == "proposals":
            difference = float((distances > _SAME_PROPOSAL).mean()) if len(present) else 0.0
        elif name == "detections_1":
            continue  # scores: which of the boxes are there
        elif stage == "detections":
            real = value[0][theirs["detections_1"][0] > 0]
            far = _nearest(real, ours["detections_0"][0])[1] > _SAME_DETECTION
            difference = float(far.mean()) if len(far) else 0.0
        elif stage in ("roi_align", "head"):
            difference = _relative(other[0][partners[same]], value[0][present[same]])
        else:
            difference = _relative(other, value)
        found[stage] = float(np.maximum(found[stage], difference))  # which keeps what is not a number
    return found


def first_divergent(found: dict[str, float], precision: str) -> str | None:
    """The first stage that differs by more than the precision explains; None if none does."""
    return next((stage for stage in STAGES if not found[stage] <= LIMITS[precision]), None)


def _nearest(boxes: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each of [N, 4] the nearest of [M, 4]: its position, and the largest distance of a side."""
    apart = np.abs(boxes[:, None] - others[None]).max(axis=2)
    return apart.argmin(axis=1), apart.min(axis=1)


def _relative(ours: np.ndarray, theirs: np.ndarray) -> float:
    if not theirs.size:
        return 0.0
    return float(np.abs(ours - theirs).max() / max(float(np.abs(theirs).max()), 1e-12))
