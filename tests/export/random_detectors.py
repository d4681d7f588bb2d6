"""Detectors of random weights with many detections, for tests of exports."""

import keras
import numpy as np
import tensorflow as tf

from tfrcnn.config import Category, DetectionConfig
from tfrcnn.models import build_detector, preset

CATEGORIES = (Category(3, "cat"), Category(90, "big dog"))


def make_detector(name="tiny_fpn", size=(160, 192), score_threshold=0.0, sharpness=6.0, seed=0, **changes):
    """Random weights, made to disagree: scores far apart, some of them 1."""
    keras.utils.set_random_seed(seed)
    config = preset(name, CATEGORIES).detector
    config = config.replace(
        image=config.image.replace(static_size=size),
        detections=DetectionConfig(score_threshold=score_threshold, max_detections=60),
        **changes,
    )
    detector = build_detector(config)
    features = detector.extract_features(make_image(*size).astype(np.float32), tf.constant([size], tf.float32))
    hidden = detector.rpn_head.convs[0](features[0])
    spread(detector.rpn_head.objectness, hidden, 2.0, seed)
    spread(detector.rpn_head.deltas, hidden, 0.3, seed)
    proposals = tf.random.uniform([1, 20, 2], 0, 50, seed=seed)
    proposals = tf.concat([proposals, proposals + 50], axis=-1)
    pooled = detector.roi_pooling(features[: len(detector.roi_pooling.strides)], proposals)
    head = detector.box_head
    pooled = head.vectors(pooled)
    for dense in head.hidden:
        pooled = dense(pooled)
    spread(head.classifier, pooled, sharpness, seed)
    spread(head.regressor, pooled, 1.0, seed)
    return detector


def spread(layer, inputs, deviation, seed):
    """Random weights that give outputs of this standard deviation."""
    layer.kernel.assign(tf.random.normal(layer.kernel.shape, seed=seed))
    layer.kernel.assign(layer.kernel * deviation / tf.math.reduce_std(layer(inputs)))


def make_image(height=150, width=120, seed=0):
    """Blobs: smooth, so that features differ from place to place."""
    coarse = np.random.default_rng(seed).uniform(0, 255, (1, 6, 5, 3)).astype(np.float32)
    return tf.image.resize(coarse, (height, width)).numpy().round().astype(np.uint8)
