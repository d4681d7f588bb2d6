"""Which operators of a TFLite model become integers, by their names."""

import re

from tfrcnn.export.tflite.quantize import _network_without

STEM, LATER = (f"faster_rcnn/network/backbone/{name}/convolution;" for name in ("stem", "stage1"))


def test_the_networks_operators_are_taken_but_for_the_stem():
    pattern = _network_without([STEM[:-1]])
    assert re.search(pattern, LATER)
    assert not re.search(pattern, STEM)
    assert not re.search(pattern, "faster_rcnn/network/decoder/mul;")


def test_the_later_heads_of_a_cascade_are_taken_but_for_their_outputs():
    pattern = _network_without([STEM[:-1]])
    assert re.search(pattern, "network_1/cascade_1/box_head_2_1/fc6_1/Tensordot/MatMul;")
    assert not re.search(pattern, "network_1/cascade_1/box_head_2_1/box_deltas_1/Tensordot;")


def test_without_a_stem_all_of_the_network_is_taken():
    assert all(re.search(_network_without([]), name) for name in (STEM, LATER))
