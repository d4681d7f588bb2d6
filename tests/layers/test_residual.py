"""The residual blocks of a box head, by hand."""

import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.config import HeadConfig
from tfrcnn.errors import InputError
from tfrcnn.layers import BoxHead
from tfrcnn.layers.residual import ResidualBlock, residual_stage


def as_identity(conv_norm, kernel):
    """Set a convolution's kernel, and statistics with which its batch norm changes nothing."""
    conv_norm.conv.set_weights([np.asarray(kernel, np.float32).reshape(conv_norm.conv.kernel.shape)])
    ones, zeros = np.ones(conv_norm.channels), np.zeros(conv_norm.channels)
    conv_norm.norm.set_weights([ones, zeros, zeros, ones - conv_norm.norm.epsilon])


def test_a_block_adds_its_convolutions_to_the_shortcut_of_every_second_bin():
    block = ResidualBlock(4, stride=2, projects=True, dtype="float32", name="block")
    block.build((None, 2, 2, 1))
    first, second, third = block.convs
    as_identity(first, [2])  # of the bins 1, 2, 3, 4 the first stays: 2
    as_identity(second, [9, 9, 9, 9, 3, 9, 9, 9, 9])  # only the centre is not padding: 6
    as_identity(third, [1, -1, 0, 2])  # 6, -6, 0, 12
    as_identity(block.shortcut, [1, 1, -1, 0])  # 1, 1, -1, 0
    result = block(tf.constant([[[[1.0], [2.0]], [[3.0], [4.0]]]]))
    np.testing.assert_allclose(result, [[[[7, 0, 0, 12]]]], rtol=1e-6)


def test_a_block_that_keeps_the_shape_adds_to_its_input():
    block = ResidualBlock(4, stride=1, projects=False, dtype="float32", name="block")
    x = tf.constant(np.random.default_rng(0).normal(size=(2, 3, 3, 4)), tf.float32)
    block(x)
    for conv in block.convs:
        as_identity(conv, np.zeros(conv.conv.kernel.shape))
    np.testing.assert_allclose(block(x), tf.nn.relu(x))


@pytest.mark.parametrize(("size", "halved"), [(14, 7), (7, 4), (1, 1)])
def test_a_stage_halves_the_bins_once_and_doubles_the_channels(size, halved):
    x, channels, shapes = tf.zeros([1, size, size, 8]), 8, []
    for block in residual_stage(3, channels, "float32"):
        x = block(x)
        shapes.append(tuple(x.shape))
    assert shapes == [(1, halved, halved, 16)] * 3


def test_a_map_of_one_channel_has_blocks_of_one_channel_within():
    (block,) = residual_stage(1, 1, "float32")
    assert block(tf.zeros([1, 2, 2, 1])).shape == (1, 1, 1, 2)
    assert [conv.channels for conv in block.convs] == [1, 1, 2]


def test_the_head_classifies_the_mean_over_the_bins():
    head = BoxHead(HeadConfig(pool_size=3, residual_blocks=1, units=()), num_classes=1)
    bins = np.arange(18.0).reshape(1, 2, 3, 3, 1)  # two regions
    features = tf.constant(np.concatenate([bins, 0 * bins], axis=-1), tf.float32)
    head.build(features.shape)
    (block,) = head.blocks
    for conv in block.convs:
        as_identity(conv, np.zeros(conv.conv.kernel.shape))
    as_identity(block.shortcut, [[1, 2, 0, 0], [0, 0, 0, 0]])
    # bins 0, 2, 6 and 8 of the first region have the mean 4; the second region's are 9 higher
    np.testing.assert_allclose(head.vectors(features), [[[4, 8, 0, 0], [13, 26, 0, 0]]], rtol=1e-6)
    head.classifier.set_weights([np.array([[1.0, 0], [0, 1], [0, 0], [0, 0]]), np.array([0.0, 1.0])])
    np.testing.assert_allclose(head(features)[0], [[[4, 9], [13, 27]]], rtol=1e-6)


def test_a_head_needs_units_or_residual_blocks():
    assert HeadConfig(residual_blocks=3, units=()).units == ()
    with pytest.raises(InputError, match=r"HeadConfig\.units must be at least one positive number, or none behind"):
        HeadConfig(units=())
    with pytest.raises(InputError, match=r"HeadConfig\.residual_blocks must be at least 0, found -1"):
        HeadConfig(residual_blocks=-1)
