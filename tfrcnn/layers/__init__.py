"""The building blocks of the paper as Keras layers: what they compute. `tfrcnn.kernels` says how."""

import tfrcnn.backend  # noqa: F401  # checks it, before Keras loads another one
from tfrcnn.layers.anchors import AnchorGenerator
from tfrcnn.layers.box_head import BoxHead
from tfrcnn.layers.cascade import BoxRefiner, CascadeHeads
from tfrcnn.layers.detections import DetectionDecoder, DetectionRescaler
from tfrcnn.layers.preprocessing import Normalizer, Preprocessor
from tfrcnn.layers.proposals import ProposalLayer
from tfrcnn.layers.roi_align import RoIAlign
from tfrcnn.layers.roi_pool import RoIPool
from tfrcnn.layers.rpn_head import RPNHead

__all__ = [
    "AnchorGenerator",
    "BoxHead",
    "BoxRefiner",
    "CascadeHeads",
    "DetectionDecoder",
    "DetectionRescaler",
    "Normalizer",
    "Preprocessor",
    "ProposalLayer",
    "RPNHead",
    "RoIAlign",
    "RoIPool",
]
