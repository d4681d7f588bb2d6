"""Resize, pad and normalise."""

import numpy as np
import pytest
import tensorflow as tf

from tfrcnn import images as image_ops
from tfrcnn.config import ImageConfig


@pytest.mark.parametrize(
    ("size", "config", "expected"),
    [
        ((480, 640), ImageConfig(800, 1333), (800, 1066)),  # 1066.67 is floored
        ((640, 480), ImageConfig(800, 1333), (1066, 800)),
        ((320, 426), ImageConfig(320, 640), (320, 426)),
        ((300, 1000), ImageConfig(800, 1333), (399, 1333)),  # limited by the longer side
        ((1, 1000), ImageConfig(800, 1333), (1, 1333)),
        ((480, 640), ImageConfig(static_size=(320, 320)), (240, 320)),
        ((100, 50), ImageConfig(static_size=(320, 320)), (320, 160)),
    ],
)
def test_size_of_the_resized_image(size, config, expected):
    assert tuple(image_ops.resized_size(tf.constant(size), config).numpy()) == expected


@pytest.mark.parametrize("side", [333, 600, 799, 801, 1066, 1333, 3000])
def test_a_side_that_is_met_exactly_is_not_lost_to_rounding(side):
    assert image_ops.resized_size(tf.constant([side, side]), ImageConfig(800, 1333)).numpy().tolist() == [800, 800]


def test_a_full_hd_image_fills_the_longest_side_to_the_last_pixel():
    # the scale is 1000 / 1920: in float32, 1920 times it is 999.99994, and the image would be 999 wide
    size = image_ops.resized_size(tf.constant([1080, 1920]), ImageConfig(600, 1000))
    assert size.numpy().tolist() == [562, 1000]


def test_resize_samples_at_half_pixel_centres_without_antialiasing():
    # half the size: output centre 0.5 is input 1.0, the mean of pixels 0 and 1 (aligned corners would give 0)
    ramp = tf.tile(tf.range(4.0)[None, :, None], [4, 1, 3])
    half = image_ops.resize(ramp, ImageConfig(2, 2, divisor=1))
    np.testing.assert_allclose(half[0, :, 0], [0.5, 2.5])


def test_padding_is_zero_after_normalisation_whatever_was_in_it():
    images = tf.fill([2, 4, 5, 3], 200.0)
    config = ImageConfig(mean=(100.0, 150.0, 180.0), std=(64.0, 16.0, 4.0))  # their inverses are exact
    normalized = image_ops.normalize(images, tf.constant([[2.0, 3.0], [4.0, 1.0]]), config)
    expected = np.zeros((2, 4, 5, 3))
    expected[0, :2, :3] = expected[1, :4, :1] = [1.5625, 3.125, 5.0]
    np.testing.assert_array_equal(normalized, expected)


def test_bgr_reverses_channels_and_takes_its_mean_in_that_order():
    config = ImageConfig(channel_order="BGR", mean=(1.0, 2.0, 3.0), std=(1.0, 1.0, 1.0))
    normalized = image_ops.normalize(tf.constant([[[[10.0, 20.0, 30.0]]]]), tf.constant([[1.0, 1.0]]), config)
    np.testing.assert_array_equal(normalized[0, 0, 0], [29, 18, 7])
