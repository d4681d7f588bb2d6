"""Which operators of a TFLite model become integers, by their names."""

import re

import numpy as np
import pytest

from tfrcnn.errors import InputError
from tfrcnn.export.tflite.quantize import _inputs, _network_without

STEM, LATER = (f"faster_rcnn/network/backbone/{name}/convolution;" for name in ("stem", "stage1"))


def test_the_networks_operators_are_taken_but_for_the_stem():
    pattern = _network_without([STEM[:-1]])
    assert re.search(pattern, LATER)
    assert not re.search(pattern, STEM)
    assert not re.search(pattern, "faster_rcnn/network/decoder/mul;")


def test_without_a_stem_all_of_the_network_is_taken():
    assert all(re.search(_network_without([]), name) for name in (STEM, LATER))


def test_a_representative_image_that_is_no_image_is_named_by_its_position():
    grey = np.full((4, 8), 99, np.uint8)
    with pytest.raises(InputError, match=r"representative\[1\] must be RGB 0\.\.255, found 0\.5\.\.0\.5 of float64"):
        list(_inputs([grey, np.full((4, 8, 3), 0.5)], (8, 8)))
    (inputs,) = _inputs([grey], (8, 8))
    assert (inputs["image"][0, :4] == 99).all()
