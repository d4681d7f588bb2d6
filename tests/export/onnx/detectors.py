"""A detector of random weights for tests of ONNX files, and what the Keras model detects with it."""

import keras
import numpy as np
import tensorflow as tf

from tfrcnn.config import Category, DetectionConfig
from tfrcnn.export import contract
from tfrcnn.models import build_detector, preset

CATEGORIES = (Category(3, "cat"), Category(90, "dög"), Category(7, "bird"))


def make_detector(image_size=None, **changes):
    """Random weights that find dozens of objects of every class, with scores far apart."""
    keras.utils.set_random_seed(1)
    config = preset("tiny_fpn", CATEGORIES, image_size).detector
    detections = DetectionConfig(score_threshold=0.2, max_detections=100)
    image = config.image if image_size else config.image.replace(min_size=128, max_size=256)
    detector = build_detector(config.replace(**{"detections": detections, "image": image, **changes}))
    rng = np.random.default_rng(0)
    detector.rpn_head.objectness.kernel.assign(rng.normal(0, 0.2, detector.rpn_head.objectness.kernel.shape))
    detector.rpn_head.deltas.kernel.assign(rng.normal(0, 0.02, detector.rpn_head.deltas.kernel.shape))
    for layer, output in ((detector.box_head.classifier, 0), (detector.box_head.regressor, 1)):
        layer.kernel.assign(rng.normal(0, 0.01, layer.kernel.shape))
        values = head_outputs(detector)[output].numpy()
        values = values.reshape(-1, layer.kernel.shape[1])
        layer.kernel.assign(layer.kernel / values.std(0) * 1.5)
        layer.bias.assign(-values.mean(0) / values.std(0) * 1.5)
    return detector


def head_outputs(detector):
    size = detector.config.image.static_size or (128, 192)
    images, sizes = picture(1, *size).astype(np.float32), tf.constant([size], tf.float32)
    features = detector.extract_features(images, sizes)
    proposals = detector.proposal_layer(
        *detector.rpn_head(features), detector.anchor_generator(features, images), sizes
    )
    return detector.box_head(detector.roi_pooling(features[: len(detector.roi_pooling.strides)], proposals["boxes"]))


def picture(*shape, seed=0):
    """Smooth blobs: what resizing does to white noise says little."""
    rng = np.random.default_rng(seed)
    batch, height, width = shape
    coarse = rng.uniform(0, 255, (batch, 8, 8, 3)).astype(np.float32)
    return np.clip(tf.image.resize(coarse, (height, width), "bicubic"), 0, 255).astype(np.uint8)


def expected(detector, images, classes):
    """Return the Keras model's outputs as a file has them."""
    sizes = np.tile(np.float32(images.shape[1:3]), (len(images), 1))
    outputs = contract.to_contract(detector(images.astype(np.float32)), sizes, tf.constant(classes, tf.float32))
    return {name: value.numpy() for name, value in outputs.items()}


def assert_same_detections(outputs, reference, size, threshold=0.2):
    """Match one to one, in any order: scores that differ by rounding may swap."""
    scale = np.tile(np.float32(size), 2)
    for i, count in enumerate(reference["num_detections"].astype(int)):
        left = list(range(int(outputs["num_detections"][i])))
        for j in range(count):
            close = [
                k
                for k in left
                if outputs["detection_classes"][i, k] == reference["detection_classes"][i, j]
                and abs(outputs["detection_scores"][i, k] - reference["detection_scores"][i, j]) < 1e-3
                and np.all(abs(outputs["detection_boxes"][i, k] - reference["detection_boxes"][i, j]) * scale < 0.05)
            ]
            if close:
                left.remove(close[0])
            else:
                assert reference["detection_scores"][i, j] < threshold + 1e-3, f"{j} of image {i} is missing"
        assert all(outputs["detection_scores"][i, k] < threshold + 1e-3 for k in left)
