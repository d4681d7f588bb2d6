"""The stages of a detector, and which stage an operator belongs to. Imports no TensorFlow.

Every exporter keeps the names of TensorFlow's graph, and with them the layer of each operator, for example
"faster_rcnn/network/rpn_head/conv0/Relu". So every runtime can attribute an operator's time to a stage.
"""

from __future__ import annotations

import re

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
