"""A Cascade R-CNN: three heads, one after another, on the boxes of the one before."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.config import CascadeConfig, Category, DetectionConfig
from tfrcnn.models import build_detector, load_detector, preset, save_detector
from tfrcnn.models.transfer import unshare, with_categories

CASCADE = CascadeConfig()
CATEGORIES = (Category(3, "cat"), Category(90, "dog"))
IOUS, WEIGHTS = (0.5, 0.6, 0.7), ((10, 10, 5, 5), (20, 20, 10, 10), (30, 30, 15, 15))
SIZES = tf.constant([[64.0, 90.0], [50.0, 96.0]])
IMAGES = tf.constant(np.random.default_rng(0).uniform(0, 255, (2, 64, 96, 3)), tf.float32)


def config(cascade=CASCADE, class_agnostic=True):
    start = preset("tiny_fpn", CATEGORIES).detector
    few = start.test_proposals.replace(pre_nms_top_n=60, post_nms_top_n=30)
    return start.replace(
        head=start.head.replace(class_agnostic=class_agnostic, cascade=cascade),
        test_proposals=few,
        train_proposals=few,
        detections=DetectionConfig(score_threshold=0.2, max_detections=20),
    )


def make_detector(*args):
    """Return a detector whose boxes move by many pixels, as those of a trained one."""
    keras.utils.set_random_seed(0)
    detector = build_detector(config(*args))
    rng = np.random.default_rng(0)
    for head in detector.stages.heads:
        for layer, scale in ((head.classifier, 0.01), (head.regressor, 0.02)):
            layer.kernel.assign(rng.normal(size=layer.kernel.shape) * scale)
    return detector


@pytest.fixture(scope="module")
def detector():
    return make_detector()


def proposals_of(detector):
    features = detector.stages.features(IMAGES, SIZES, training=False)
    return features.head, detector.stages.propose(detector.stages.rpn(features.rpn, IMAGES), SIZES)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def moved(boxes, deltas, weights, size):
    """Boxes [P, 4] by deltas [P, 4], clipped to the image."""
    sides = boxes[:, 2:] - boxes[:, :2]
    center = boxes[:, :2] + sides / 2 + deltas[:, :2] / weights[:2] * sides
    sides = sides * np.exp(np.minimum(deltas[:, 2:] / weights[2:], np.log(1000 / 16)))
    return np.clip(np.concatenate([center - sides / 2, center + sides / 2], axis=1), 0, np.tile(size, 2))


def suppressed(boxes, scores, iou):
    """Positions that greedy NMS keeps, best first."""
    kept = []
    for i in np.argsort(-scores, kind="stable"):
        overlaps = []
        for j in kept:
            sides = np.minimum(boxes[i, 2:], boxes[j, 2:]) - np.maximum(boxes[i, :2], boxes[j, :2])
            both = np.prod(np.maximum(sides, 0))
            areas = [np.prod(boxes[k, 2:] - boxes[k, :2]) for k in (i, j)]
            overlaps.append(both / (sum(areas) - both))
        if all(overlap <= iou for overlap in overlaps):
            kept.append(i)
    return kept


def by_numpy(detector, features, proposals, i):
    """Run the three stages and the decoder for image `i` without TensorFlow, except for RoIAlign."""
    boxes, size, limits = proposals["boxes"].numpy(), SIZES[i].numpy(), detector.config.detections
    scores = []
    for head, weights in zip(detector.stages.heads, np.array(WEIGHTS, np.float32), strict=True):
        x = detector.stages.pool(features, boxes)[i].numpy().reshape(boxes.shape[1], -1)
        for dense in head.hidden:
            x = np.maximum(x @ dense.kernel.numpy() + dense.bias.numpy(), 0)
        scores.append(softmax(x @ head.classifier.kernel.numpy() + head.classifier.bias.numpy())[:, :-1])
        deltas = x @ head.regressor.kernel.numpy() + head.regressor.bias.numpy()
        boxes = boxes.copy()
        boxes[i] = moved(boxes[i], deltas, weights, size)
    scores, rows = np.mean(scores, axis=0), []
    usable = proposals["valid"][i].numpy() & np.all(boxes[i, :, 2:] - boxes[i, :, :2] >= limits.min_size, axis=1)
    for label in range(scores.shape[1]):
        index = np.flatnonzero(usable & (scores[:, label] > limits.score_threshold))
        for j in suppressed(boxes[i, index], scores[index, label], limits.nms_iou):
            rows.append((scores[index[j], label], label, *boxes[i, index[j]]))
    return np.array(sorted(rows, reverse=True)[: limits.max_detections])


def test_the_three_stages_are_those_of_a_second_implementation(detector):
    features, proposals = proposals_of(detector)
    detections = detector.stages.detect(IMAGES, SIZES)
    for i in range(2):
        expected, count = by_numpy(detector, features, proposals, i), int(detections["num_detections"][i])
        assert count == len(expected) > 3
        np.testing.assert_allclose(detections["scores"][i, :count], expected[:, 0], rtol=1e-4)
        np.testing.assert_array_equal(detections["labels"][i, :count], expected[:, 1])
        np.testing.assert_allclose(detections["boxes"][i, :count], expected[:, 2:], rtol=1e-4, atol=1e-2)


def test_each_stage_sees_the_boxes_of_the_stage_before(detector):
    features, proposals = proposals_of(detector)
    outputs = detector.stages.second_stage(features, proposals, SIZES, training=False)
    assert len(outputs.deltas) == 3
    np.testing.assert_array_equal(outputs.proposals[0]["boxes"], proposals["boxes"])
    for stage in (0, 1):
        for i in range(2):
            boxes, deltas = outputs.proposals[stage]["boxes"][i].numpy(), outputs.deltas[stage][i, :, 0].numpy()
            expected = moved(boxes, deltas, np.array(WEIGHTS[stage], np.float32), SIZES[i].numpy())
            np.testing.assert_allclose(outputs.proposals[stage + 1]["boxes"][i], expected, rtol=1e-4, atol=1e-3)
    for stage, boxes in enumerate(outputs.proposals):
        np.testing.assert_array_equal(boxes["valid"], proposals["valid"])
        np.testing.assert_array_equal(outputs.pooled[stage], detector.stages.pool(features, boxes["boxes"]))


def test_equal_stages_that_move_nothing_detect_what_a_single_head_does(detector):
    stages, before = detector.stages, detector.get_weights()
    for layer in (stages.box_head.regressor, *stages.cascade.heads):
        layer.set_weights([np.zeros(weight.shape) for weight in layer.get_weights()])
    for head in stages.cascade.heads:
        head.set_weights(stages.box_head.get_weights())
    expected = dataclasses.replace(stages, cascade=None).detect(IMAGES, SIZES)
    detections = stages.detect(IMAGES, SIZES)
    detector.set_weights(before)
    assert int(expected["num_detections"][0]) > 3
    for name, value in expected.items():
        np.testing.assert_allclose(detections[name], value, rtol=1e-5, atol=1e-3)


def test_a_folder_keeps_every_stage(detector, tmp_path):
    save_detector(detector, tmp_path)
    again = load_detector(tmp_path)
    assert again.config == detector.config
    for weight, expected in zip(again.get_weights(), detector.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)
    assert_detects_the_same(again, detector)


@pytest.mark.slow
def test_a_keras_file_keeps_every_stage(detector, tmp_path):
    detector.save(tmp_path / "detector.keras")
    assert_detects_the_same(keras.models.load_model(tmp_path / "detector.keras"), detector)


def assert_detects_the_same(one, other):
    expected = other.stages.detect(IMAGES, SIZES)
    for name, value in one.stages.detect(IMAGES, SIZES).items():
        np.testing.assert_array_equal(value, expected[name])


class TestTransfer:
    @pytest.fixture(scope="class")
    @staticmethod
    def plain():
        return make_detector(None, False)

    def test_stages_that_a_plain_detector_lacks_start_from_its_head_and_move_boxes_little(self, plain):
        cascade, kept = with_categories(plain, CATEGORIES, head=config().head)
        assert kept == ("cat", "dog")
        for head in cascade.stages.heads:
            for name in ("hidden", "classifier"):
                for one, other in zip(*(tf.nest.flatten(getattr(h, name)) for h in (head, plain.box_head))):
                    np.testing.assert_array_equal(one.kernel, other.kernel)
        mean = plain.box_head.regressor.kernel.numpy().reshape(-1, 2, 4).mean(axis=1)
        np.testing.assert_allclose(cascade.box_head.regressor.kernel, mean, rtol=1e-6)
        assert all(0 < np.abs(head.regressor.kernel.numpy()).max() < 0.01 for head in cascade.cascade.heads)

    @pytest.mark.slow
    def test_every_stage_is_kept_for_other_categories(self, detector):
        new, kept = with_categories(detector, (Category(1, "fish"), Category(2, "cat")))
        assert kept == ("cat",)
        for head, old in zip(new.stages.heads, detector.stages.heads, strict=True):
            np.testing.assert_array_equal(head.regressor.kernel, old.regressor.kernel)
            kernel, old_kernel = head.classifier.kernel.numpy(), old.classifier.kernel.numpy()
            np.testing.assert_array_equal(kernel[:, 1:], old_kernel[:, [0, 2]])

    @pytest.mark.slow
    def test_a_single_head_takes_the_first_stage_and_each_category_its_boxes(self, detector):
        plain, _ = with_categories(detector, CATEGORIES, head=config(None, False).head)
        kernel = detector.box_head.regressor.kernel.numpy()
        np.testing.assert_array_equal(plain.box_head.regressor.kernel, np.tile(kernel, [1, 2]))

    @pytest.mark.slow
    def test_a_separate_network_for_the_rpn_leaves_every_stage_as_it_is(self, detector):
        assert_detects_the_same(unshare(detector), detector)
