"""The forward pass is written once, and everyone who runs a part of a detector gets the same numbers from it."""

import ast
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfrcnn
from tfrcnn.config import Category, DetectionConfig
from tfrcnn.export.stages import run_stages
from tfrcnn.inference import Predictor
from tfrcnn.models import build_detector, preset
from tfrcnn.models.transfer import unshare
from tfrcnn.training.joint import TrainingModel

CATEGORIES = (Category(3, "cat"), Category(90, "dog"))
SIZES = tf.constant([[64.0, 90.0]])
IMAGES = tf.constant(np.random.default_rng(0).uniform(0, 255, (1, 64, 96, 3)), tf.float32)


def make_detector(seed=0):
    keras.utils.set_random_seed(seed)
    config = preset("tiny_fpn", CATEGORIES).detector
    few = config.test_proposals.replace(pre_nms_top_n=60, post_nms_top_n=30)
    detections = DetectionConfig(score_threshold=0.0, max_detections=20)
    return build_detector(config.replace(test_proposals=few, train_proposals=few, detections=detections))


@pytest.fixture(scope="module", params=["shared", "unshared"])
def detector(request):
    return make_detector() if request.param == "shared" else unshare(make_detector(), make_detector(1))


def step_by_step(detector):
    stages = detector.stages
    features = stages.features(IMAGES, SIZES, training=False)
    rpn = stages.rpn(features.rpn, IMAGES)
    proposals = stages.propose(rpn, SIZES)
    class_logits, deltas = stages.classify(stages.pool(features.head, proposals["boxes"]), training=False)
    return features, rpn, proposals, class_logits, stages.decode(class_logits, deltas, proposals, SIZES)


def assert_equal(one, other):
    for a, b in zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_assembled_network_is_the_stages_one_after_another(detector):
    detections = step_by_step(detector)[-1]
    assert int(detections["num_detections"][0]) == 20
    assert_equal(detector.network([IMAGES, SIZES]), detections)
    assert_equal(detector.stages.detect(IMAGES, SIZES), detections)


def test_training_sees_what_detection_does(detector):
    features, rpn, proposals, *_ = step_by_step(detector)
    batch = {"images": IMAGES, "image_sizes": SIZES, "boxes": tf.zeros([1, 1, 4]), "labels": -tf.ones([1, 1], tf.int32)}
    outputs = TrainingModel(detector)(batch, training=False)
    for name, levels in zip(("rpn_logits", "rpn_deltas"), (rpn.logits, rpn.deltas)):
        assert_equal(outputs[name], tf.concat(levels, axis=1))
    assert_equal(outputs["anchors"], tf.concat(rpn.anchors, axis=0))
    assert_equal(outputs["features"], features.head)
    assert_equal(outputs["proposals"], proposals)


def test_verification_sees_what_detection_does(detector):
    features, rpn, proposals, class_logits, detections = step_by_step(detector)
    outputs = run_stages(detector, IMAGES, SIZES)
    expected = {
        "preprocessing_0": features.pixels,
        "backbone_0": features.head[0],
        "rpn_0": tf.concat(rpn.logits, axis=1),
        "proposals_0": proposals["boxes"],
        "head_0": class_logits,
        "detections_0": detections["boxes"],
        "detections_1": detections["scores"],
    }
    assert_equal({name: outputs[name] for name in expected}, expected)


@pytest.mark.slow
def test_proposing_sees_what_detection_does(detector):
    proposals = step_by_step(detector)[2]
    assert_equal(detector.proposer(detector.config.test_proposals)([IMAGES, SIZES]), proposals)
    network = Predictor(detector)._proposer(None)
    assert_equal(network(IMAGES, SIZES, SIZES)["scores"], proposals["scores"])


def test_the_rpn_sees_features_of_its_own_only_where_they_are_not_shared(detector):
    features = detector.stages.features(IMAGES, SIZES, training=False)
    assert (features.rpn is features.head) == detector.config.shared_features
    different = [np.any(a != b) for a, b in zip(features.rpn, features.head, strict=True)]
    assert all(different) != detector.config.shared_features
    assert_equal(detector.extract_features(IMAGES, SIZES), features.head)
    assert_equal(detector.extract_rpn_features(IMAGES, SIZES), features.rpn)


def test_maps_that_only_the_head_uses_can_be_skipped(detector):
    features = detector.stages.features(IMAGES, SIZES, training=False, head=False)
    assert (features.head == []) != detector.config.shared_features
    assert_equal(features.rpn, detector.stages.features(IMAGES, SIZES, training=False).rpn)


def test_a_frozen_backbone_runs_as_in_detection():
    stages = make_detector().stages
    detecting = stages.features(IMAGES, SIZES, training=False).head
    assert np.any(stages.features(IMAGES, SIZES, training=True).head[0] != detecting[0])  # statistics of the batch
    stages.extractor.backbone.trainable = False
    assert_equal(stages.features(IMAGES, SIZES, training=True).head, stages.features(IMAGES, SIZES, False).head)


def test_probabilities_can_be_decoded_in_place_of_logits():
    stages = make_detector().stages
    features = stages.features(IMAGES, SIZES, training=False)
    proposals = stages.propose(stages.rpn(features.rpn, IMAGES), SIZES)
    logits, deltas = stages.classify(stages.pool(features.head, proposals["boxes"]))
    probabilities = stages.decode(tf.nn.softmax(logits), deltas, proposals, SIZES, from_logits=False)
    assert_equal(probabilities, stages.decode(logits, deltas, proposals, SIZES))


def test_nothing_else_calls_the_layers_of_a_detector():
    layers = {
        "rpn_head",
        "anchor_generator",
        "proposal_layer",
        "roi_pooling",
        "box_head",
        "box_refiner",
        "cascade",
        "decoder",
    }
    root = Path(tfrcnn.__file__).resolve().parents[1]
    callers = set()
    for path in [*root.glob("tfrcnn/**/*.py"), *root.glob("export/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in layers:
                callers.add(path.relative_to(root).as_posix())
    assert callers == {"tfrcnn/models/stages.py"}
