"""What the stages of a detector compute; see `stage_names` for what each is called."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from ..models import FasterRCNN
from .stage_names import BACKBONES as BACKBONES
from .stage_names import STAGES as STAGES
from .stage_names import layer_of as layer_of
from .stage_names import stage_of as stage_of


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
