"""augment/color.py: blur and noise, by hand and against scipy."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import gaussian_filter

from tfrcnn.data.augment.color import blur, gaussian_blur, noise

from .test_augment import seeds


def test_blur_of_one_pixel_by_hand() -> None:
    """sigma 1, radius 1: weights exp(-1/2) / (1 + 2 exp(-1/2)) = 0.274 and 0.452 on each axis."""
    image = np.zeros((4, 4, 3), np.float32)
    image[1, 2] = 100
    result = gaussian_blur(tf.constant(image), tf.constant(1.0), 1)
    row = np.array([0, 0.27407, 0.45186, 0.27407])
    np.testing.assert_allclose(result[..., 0], 100 * np.outer(np.roll(row, -1), row), atol=1e-2)


@pytest.mark.parametrize("shape", [(12, 17, 3), (2, 30, 3), (1, 1, 3)])
def test_blur_is_that_of_scipy(shape: tuple[int, ...]) -> None:
    """Also of images that are smaller than the kernel."""
    image = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    expected = gaussian_filter(image, sigma=(1.5, 1.5, 0), radius=(5, 5, 0), mode="nearest")
    np.testing.assert_allclose(gaussian_blur(tf.constant(image), tf.constant(1.5), 5), expected, atol=1e-2)


def test_blur_of_nothing_changes_nothing() -> None:
    image = tf.random.stateless_uniform([5, 6, 3], [0, 1], 0, 255)
    np.testing.assert_allclose(gaussian_blur(image, tf.constant(0.0), 3), image, atol=1e-4)


def test_strength_of_blur_is_drawn_up_to_its_limit() -> None:
    image = np.zeros((31, 31, 3), np.float32)
    image[15, 15] = 255
    offsets = np.arange(31) - 15
    results = [blur(tf.constant(image), None, None, seed, 2.0)[0].numpy()[..., 0] for seed in seeds(30)]
    sigmas = [np.sqrt(result.sum(axis=1) @ offsets**2 / result.sum()) for result in results]
    assert min(sigmas) < 0.4
    assert 1.6 < max(sigmas) < 2.0


def test_noise_has_no_mean_and_the_drawn_deviation() -> None:
    grey = tf.fill([40, 50, 3], 128.0)
    deviations = []
    for seed in seeds(20):
        difference = noise(grey, None, None, seed, 20.0)[0].numpy() - 128
        assert abs(difference.mean()) < 5 * difference.std() / np.sqrt(difference.size) + 1e-3
        channels = difference.reshape(-1, 3)
        assert abs(np.corrcoef(channels.T)[0, 1]) < 0.1
        deviations.append(difference.std())
    assert min(deviations) < 4
    assert 16 < max(deviations) < 20.5


def test_noise_stays_in_0_to_255() -> None:
    for level in (0.0, 255.0):
        result = noise(tf.fill([20, 20, 3], level), None, None, seeds(1)[0], 100.0)[0].numpy()
        assert 0 <= result.min() <= result.max() <= 255
