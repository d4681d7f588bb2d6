"""Anchors of feature maps, as a layer."""

import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.config import AnchorConfig
from tfrcnn.layers import AnchorGenerator

ONE = AnchorConfig(sizes=((32.0,),), ratios=(1.0,))


@pytest.mark.parametrize(("nominal", "expected"), [(False, 61), (True, 64)])
def test_where_pooling_rounded_up_the_stride_is_what_the_map_covers_or_the_nominal_one(nominal, expected):
    # 800 px, 25 cells of 32, pooled to 13: torchvision's stride there is 800 // 13 = 61, Detectron2's is 64
    layer = AnchorGenerator(ONE.replace(nominal_strides=nominal), (64,))
    (anchors,) = layer([np.zeros((1, 13, 1, 8), np.float32)], np.zeros((1, 800, 64, 3), np.float32))
    np.testing.assert_array_equal(np.diff(anchors.numpy()[:, 0]), expected)
    assert AnchorGenerator.from_config(layer.get_config()).strides == (64,)


def test_nominal_strides_have_to_be_given():
    with pytest.raises(ValueError, match="one stride per level"):
        AnchorGenerator(ONE.replace(nominal_strides=True))


@pytest.mark.parametrize(("size", "expected"), [((6, 7), 42), ((None, 7), None)])
def test_their_number_is_static_where_the_maps_are(size, expected):
    specs = [tf.TensorSpec([None, *size, 8]), tf.TensorSpec([None, *(s and 16 * s for s in size), 3])]
    traced = tf.function(lambda x, images: AnchorGenerator(ONE)([x], images)).get_concrete_function(*specs)
    assert traced.structured_outputs[0].shape.as_list() == [expected, 4]
