"""Which stage an operator belongs to."""

import pytest

from tfrcnn.export.stages import stage_of


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("faster_rcnn_1/network_1/backbone_1/Conv1_relu_1/Relu6", "backbone"),
        ("network_1/fpn_1/lateral0_1/convolution;network_1/rpn_head_1/x", "backbone"),
        ("faster_rcnn/network/rpn_head/conv0/Relu", "rpn"),
        ("faster_rcnn_1/preprocessor_1/Shape", "preprocessing"),
        ("network/anchors/add", "proposals"),
        ("StatefulPartitionedCall/network/roi_align_2/cells", "roi_align"),
        ("network/box_head/fc1/MatMul", "head"),
        ("network/cascade/box_head_2/fc6/MatMul", "head"),
        ("network/box_refiner_1/clip_by_value", "head"),
        ("network_1/rpn_backbone_1/Conv1_relu_1/Relu6", "backbone"),
        ("rpn_fpn/lateral0/convolution", "backbone"),
        ("rescaler_12/mul", "detections"),
        ("Transpose__49", None),
        ("network/my_backbone/x", None),
    ],
)
def test_an_operator_is_of_the_stage_of_its_layer(name, stage):
    assert stage_of(name) == stage
