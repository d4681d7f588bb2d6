"""Which stage an operator belongs to."""

import pytest

from tfrcnn.export.stages import STAGES, stage_of
from tfrcnn.export.tflite.profile import _stages_of


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
        ("network_1/cascade_1/box_head_2_1/fc6_1/MatMul", "head"),
        ("network_1/box_head_2_1/fc6_1/MatMul", "head"),
        ("network_1/roi_align_1_2/cells", "roi_align"),
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


def test_the_cuts_of_a_profile_leave_roi_align_and_the_heads_of_a_cascade_together():
    names = ["preprocessor/x", "", "network/roi_align/cells", "network/box_head/fc6/x", "rescaler/mul"]
    assert [STAGES[i] for i in _stages_of(names)] == [
        "preprocessing",
        "preprocessing",
        "roi_align",
        "head",
        "detections",
    ]
    names[4:4] = ["network/box_refiner/add", "network/roi_align_1/cells", "network/cascade/box_head_2/fc6/x"]
    assert [STAGES[i] for i in _stages_of(names)][2:] == ["head"] * 5 + ["detections"]
