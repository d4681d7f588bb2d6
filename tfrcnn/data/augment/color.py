"""Augmentations of pixels alone: boxes and labels stay. Legend: see the package."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from tfrcnn.data.augment.common import Sample

_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601, as Pillow's greyscale
_RGB_TO_YIQ = np.array([_LUMA, [0.59590059, -0.27455667, -0.32134392], [0.21153661, -0.52273617, 0.31119955]])


def color_jitter(image: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, strength: float) -> Sample:
    """Change brightness, contrast, saturation and hue at random, as SimCLR does (arXiv 2002.05709, appendix A).

    The first three change by factors in 1 +- 0.8 s, the hue by up to 0.2 s of a turn.

    Args:
        strength: s in [0, 1].

    Returns:
        See the package; image float32, boxes and labels unchanged.
    """
    draws = tf.random.stateless_uniform([4], seed, -strength, strength)
    brightness, contrast, saturation = tf.unstack(1.0 + 0.8 * draws[:3])
    return adjust_color(image, brightness, contrast, saturation, 0.2 * draws[3]), boxes, labels


def adjust_color(
    image: tf.Tensor, brightness: tf.Tensor, contrast: tf.Tensor, saturation: tf.Tensor, hue: tf.Tensor
) -> tf.Tensor:
    """Change brightness, contrast, saturation and hue in one linear map, then clip to 0..255.

        x -> contrast * brightness * (P + saturation * R(2 pi hue) (1 - P)) x + (1 - contrast) * brightness * m,
    where P is the projection on grey (luma Y), m the mean luma and R(t) the turn of the chroma plane in YIQ.
    Brightness, contrast and saturation act as in PIL.ImageEnhance; turning the hue in YIQ keeps the luma.

    Args:
        image: [H, W, 3], 0..255.
        brightness: scalar, at least 0; 1 changes nothing.
        contrast: scalar, at least 0; 1 changes nothing.
        saturation: scalar, at least 0; 1 changes nothing.
        hue: scalar, in turns; 0 changes nothing.

    Returns:
        [H, W, 3] float32, 0..255.
    """
    to_rgb = np.linalg.inv(_RGB_TO_YIQ)
    # Transpose each map, since a pixel is a row of the image.
    grey, in_phase, quadrature = (
        tf.constant((to_rgb @ np.array(map_yiq, np.float64) @ _RGB_TO_YIQ).T, tf.float32)
        for map_yiq in (np.diag([1, 0, 0]), np.diag([0, 1, 1]), [[0, 0, 0], [0, 0, -1], [0, 1, 0]])
    )
    angle = 2 * math.pi * hue
    chroma = saturation * (tf.cos(angle) * in_phase + tf.sin(angle) * quadrature)
    image = tf.cast(image, tf.float32)
    mean_luma = tf.tensordot(tf.reduce_mean(image, axis=[0, 1]), tf.constant(_LUMA, tf.float32), 1)
    mapped = tf.tensordot(image, contrast * brightness * (grey + chroma), 1)
    return tf.clip_by_value(mapped + (1.0 - contrast) * brightness * mean_luma, 0.0, 255.0)


def blur(image: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, sigma: float) -> Sample:
    """Blur with a Gaussian of a random standard deviation.

    Args:
        sigma: largest standard deviation, in pixels; the draw is uniform in [0, sigma].

    Returns:
        See the package; image float32, boxes and labels unchanged.
    """
    return gaussian_blur(image, tf.random.stateless_uniform([], seed, 0, sigma), math.ceil(3 * sigma)), boxes, labels


def gaussian_blur(image: tf.Tensor, sigma: tf.Tensor, radius: int) -> tf.Tensor:
    """Convolve with exp(-(i^2 + j^2) / (2 sigma^2)), normalised, cut off at `radius`; edge pixels repeat outwards.

    Args:
        image: [H, W, 3], 0..255.
        sigma: scalar, in pixels; 0 changes nothing.
        radius: of the kernel, in pixels; static, so that the convolution is fast.

    Returns:
        [H, W, 3] float32, 0..255.
    """
    weights = tf.exp(-((tf.range(-radius, radius + 1, dtype=tf.float32) / tf.maximum(sigma, 1e-3)) ** 2) / 2)
    weights /= tf.reduce_sum(weights)
    image = tf.cast(image, tf.float32)
    for axis in (0, 1):  # the kernel is separable
        last = tf.shape(image)[axis] - 1
        image = tf.gather(image, tf.clip_by_value(tf.range(-radius, last + radius + 1), 0, last), axis=axis)
        kernel = tf.tile(tf.expand_dims(weights, 1 - axis)[:, :, None, None], [1, 1, 3, 1])
        image = tf.nn.depthwise_conv2d(image[None], kernel, [1, 1, 1, 1], "VALID")[0]
    return image


def noise(image: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, sigma: float) -> Sample:
    """Add Gaussian noise of a random standard deviation, independent per pixel and channel, then clip to 0..255.

    Args:
        sigma: largest standard deviation, in grey levels of 255; the draw is uniform in [0, sigma].

    Returns:
        See the package; image float32, boxes and labels unchanged.
    """
    strength, grain = tf.unstack(tf.random.split(seed, 2))
    sigma = tf.random.stateless_uniform([], strength, 0, sigma)
    noisy = tf.cast(image, tf.float32) + sigma * tf.random.stateless_normal(tf.shape(image), grain)
    return tf.clip_by_value(noisy, 0.0, 255.0), boxes, labels
