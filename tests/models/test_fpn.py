"""The feature pyramid against values by hand."""

import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.config import FPNConfig
from tfrcnn.models.fpn import FeaturePyramid


@pytest.fixture
def pyramid():
    """Return a pyramid of one channel whose convolutions copy their input."""
    pyramid = FeaturePyramid(FPNConfig(channels=1), (8, 16))
    shapes = [(None, None, None, 1)] * 2
    pyramid.build(shapes)
    center = np.zeros((3, 3, 1, 1), np.float32)
    center[1, 1] = 1
    for lateral, smooth in zip(pyramid.lateral, pyramid.smooth):
        lateral.set_weights([np.ones((1, 1, 1, 1)), np.zeros(1)])
        smooth.set_weights([center, np.zeros(1)])
    return pyramid


def test_a_coarse_cell_is_added_to_its_four_fine_ones_also_where_the_map_is_odd(pyramid):
    fine = np.zeros((1, 3, 5, 1), np.float32)
    coarse = np.array([[1.0, 2, 3], [4, 5, 6]], np.float32).reshape(1, 2, 3, 1)
    levels = pyramid([fine, coarse])
    expected = [[1, 1, 2, 2, 3], [1, 1, 2, 2, 3], [4, 4, 5, 5, 6]]
    np.testing.assert_array_equal(levels[0][0, ..., 0], expected)
    np.testing.assert_array_equal(levels[1][0, ..., 0], coarse[0, ..., 0])


def test_every_level_has_as_many_images_as_the_maps_it_is_made_of(pyramid):
    """TensorFlow infers an unknown batch size from adding a known and an unknown one."""
    maps = [tf.TensorSpec([1, None, None, 1]), tf.TensorSpec([1, None, None, 1])]
    function = tf.function(pyramid).get_concrete_function(maps)
    assert [shape.as_list() for shape in function.output_shapes] == 3 * [[1, None, None, 1]]


def test_the_coarsest_level_is_every_second_cell_of_the_one_before(pyramid):
    levels = pyramid([np.zeros((1, 6, 6, 1), np.float32), np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)])
    np.testing.assert_array_equal(levels[2][0, ..., 0], [[0, 2], [6, 8]])
