"""The explanation of a detection: its heat by hand, through RoIAlign and the pyramid, and its proposal."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfrcnn
from tfrcnn import explanation
from tfrcnn.config import DetectionConfig
from tfrcnn.explanation import class_activation, resample


def make_detector(**head):
    keras.utils.set_random_seed(1)
    config = tfrcnn.preset("tiny_fpn", (tfrcnn.Category(1, "cat"), tfrcnn.Category(2, "dog"))).detector
    config = config.replace(
        head=config.head.replace(**head),
        detections=tfrcnn.DetectionConfig(score_threshold=0.0, max_detections=20),
    )
    return tfrcnn.build_detector(config)


@pytest.fixture(scope="module")
def detector():
    return make_detector()


@pytest.fixture(scope="module")
def picture():
    small = np.random.default_rng(3).integers(0, 255, (8, 10, 3), np.uint8)
    return np.kron(small, np.ones((24, 24, 1), np.uint8))  # 192 x 240


def weigh_channel(detector, label, channel):
    """Make the logit of a label the mean of one channel of the pooled features: one hidden unit, always active."""
    hidden, classifier = detector.box_head.hidden[0], detector.box_head.classifier
    size, units = detector.config.head.pool_size, hidden.kernel.shape[1]
    weights = np.zeros((size * size, hidden.kernel.shape[0] // size**2, units), np.float32)
    weights[:, channel, 0] = 1 / size**2
    hidden.kernel.assign(weights.reshape(hidden.kernel.shape))
    hidden.bias.assign(np.full(units, 50, np.float32))
    classifier.kernel.assign(np.eye(units, classifier.kernel.shape[1], label, dtype=np.float32) * np.eye(units, 1))
    classifier.bias.assign(np.where(np.arange(classifier.kernel.shape[1]) == label, -50, 0))


def test_grad_cam_weighs_channels_by_the_mean_gradient_of_the_cells_that_the_proposal_reaches():
    values = np.array([[[1, 4], [2, 1]], [[3, 0], [9, 9]]], np.float32)
    gradients = np.array([[[1, -1], [2, 0]], [[0, -2], [0, 0]]], np.float32)
    # w = (1 + 2 + 0, -1 + 0 - 2) / 3 = (1, -1); the cell without a gradient is not reached
    np.testing.assert_allclose(class_activation(values, gradients), [[0, 1], [3, 0]], atol=1e-6)


def test_eigen_cam_projects_on_the_first_singular_vector_of_the_reached_cells():
    values = np.array([[[3, 4], [6, 8]], [[0, 0], [50, -50]]], np.float32)
    gradients = np.ones_like(values) * np.array([[[1], [1]], [[1], [0]]], np.float32)
    # the rows are multiples of (3, 4) / 5
    np.testing.assert_allclose(class_activation(values, gradients, "eigen-cam"), [[5, 10], [0, 0]], atol=1e-5)


def test_without_a_gradient_nothing_is_hot():
    for method in ("grad-cam", "eigen-cam"):
        assert not class_activation(np.ones((2, 3, 4), np.float32), np.zeros((2, 3, 4), np.float32), method).any()


def test_heat_lies_where_roi_align_reads_the_cells():
    cam = np.array([[1.0, 0, 0, 0]], np.float32)
    heat = resample(cam, (1, 16), np.array([1, 4]), np.array([1, 1]))[0]
    positions = (np.arange(16) + 0.5) / 4
    np.testing.assert_allclose(heat, np.maximum(1 - positions, 0), atol=1e-6)  # cell 0 lies at pixel 0
    aligned = resample(cam, (1, 16), np.array([1, 4]), np.array([1, 1]), aligned=True)[0]
    np.testing.assert_allclose(aligned, np.maximum(1 - np.maximum(positions - 0.5, 0), 0), atol=1e-6)
    half = resample(cam, (1, 8), np.array([1, 4]), np.array([1, 0.5]))[0]  # the picture was enlarged twofold
    np.testing.assert_allclose(half, np.maximum(1 - (np.arange(8) + 0.5) / 2, 0), atol=1e-6)


@pytest.mark.parametrize("aligned", [False, True])
def test_a_head_that_reads_one_channel_is_explained_by_that_channel(picture, aligned):
    detector = make_detector(units=(4,), aligned=aligned)
    weigh_channel(detector, label=1, channel=5)
    detections = detector(picture[None].astype(np.float32))
    index = int(np.flatnonzero(detections["labels"][0] == 1)[0])
    result = tfrcnn.explain(detector, picture, index)
    prepared = detector.get_layer("preprocessor")(picture[None].astype(np.float32))
    trace = explanation._trace(detector, prepared["images"], prepared["image_sizes"], index)
    level = int(detector.roi_pooling.assign_levels(tf.constant(trace.regions[0]))[0, 0])
    logit, activations = explanation._gradients(detector, trace, "pooled")
    assert len(activations) == 1  # the other levels of the pyramid cannot move the logit
    values, gradients = activations[0]
    np.testing.assert_array_equal(values, trace.maps[level][0])
    assert not gradients[..., [c for c in range(values.shape[-1]) if c != 5]].any()
    # The logit is linear in the map: the gradient has all of it.
    assert logit == pytest.approx(float((values * gradients).sum()), abs=1e-4)
    assert logit == pytest.approx(result.logit, abs=1e-5)
    reached = gradients[..., 5] != 0
    weight = gradients[..., 5][reached].mean()
    expected = np.where(reached, np.maximum(weight * values[..., 5], 0), 0)
    np.testing.assert_allclose(class_activation(values, gradients), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", ["grad-cam", "eigen-cam"])
def test_an_object_apart_from_the_proposal_has_no_heat(detector, picture, method):
    result = tfrcnn.explain(detector, picture, 0, method)
    assert result.heat.shape == picture.shape[:2]
    assert result.heat.dtype == np.float32
    assert (result.heat.min(), result.heat.max()) == (0, 1)
    prepared = detector.get_layer("preprocessor")(picture[None].astype(np.float32))
    trace = explanation._trace(detector, prepared["images"], prepared["image_sizes"], 0)
    level = int(detector.roi_pooling.assign_levels(tf.constant(trace.regions[0]))[0, 0])
    ratio = picture.shape[0] / float(prepared["image_sizes"][0, 0])
    margin = 2 * detector.roi_pooling.strides[level] * ratio  # bilinear reading of the map, and of the heat
    y1, x1, y2, x2 = result.proposal
    y, x = np.mgrid[: picture.shape[0], : picture.shape[1]] + 0.5
    apart = (y < y1 - margin) | (y > y2 + margin) | (x < x1 - margin) | (x > x2 + margin)
    assert apart.any()
    assert not result.heat[apart].any()


def test_the_proposal_is_the_one_whose_refined_box_is_the_detection(detector, picture):
    predictor = tfrcnn.Predictor(detector)
    detections, proposals = predictor.detect(picture), predictor.propose(picture)
    for index in (0, len(detections.boxes) - 1):
        result = tfrcnn.explain(predictor, picture, index)
        np.testing.assert_allclose(result.box, detections.boxes[index], atol=1e-2)
        assert (result.label, result.score) == (
            detections.labels[index],
            pytest.approx(detections.scores[index], abs=1e-5),
        )
        np.testing.assert_allclose(result.proposal, proposals.boxes[result.proposal_rank], atol=1e-2)
        assert result.proposal_score == pytest.approx(proposals.scores[result.proposal_rank], abs=1e-5)
        assert result.overlay.size == (640, 512)


def test_the_backbones_maps_explain_through_the_pyramid(detector, picture):
    pooled = tfrcnn.explain(detector, picture)
    inside = tfrcnn.explain(detector, picture, maps="backbone")
    assert inside.logit == pytest.approx(pooled.logit, abs=1e-4)
    assert inside.heat.max() == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"detection": 20}, r"detection must be 0\.\.19, found 20"),
        ({"detection": True}, "found True"),
        ({"method": "cam"}, "method must be one of grad-cam, eigen-cam, found 'cam'"),
        ({"maps": "rpn"}, "maps must be one of pooled, backbone, found 'rpn'"),
    ],
)
def test_a_wrong_option_is_named(detector, picture, options, message):
    with pytest.raises(tfrcnn.InputError, match=message):
        tfrcnn.explain(detector, picture, **options)


def test_an_exported_file_is_refused_since_it_has_no_gradients(picture):
    with pytest.raises(tfrcnn.InputError, match="an exported file has no gradients"):
        tfrcnn.explain(object(), picture)


def test_of_equal_boxes_the_proposal_of_the_highest_score_is_explained():
    boxes = tf.constant([[0.0, 0, 9, 9], [0, 0, 9, 9], [0, 0, 5, 5], [0, 0, 9, 9]])
    scores, valid = tf.constant([0.1, 0.9, 0.8, 0.99]), tf.constant([True, True, True, False])
    index = explanation.source_of(boxes, scores, valid, boxes[0], tf.constant(0.9), DetectionConfig())
    assert index == 1


def test_a_fused_box_is_explained_by_its_best_member():
    boxes = tf.constant([[0.0, 0, 9, 9], [0, 0, 8, 8], [0, 0, 9, 8.4]])
    scores, fused = tf.constant([0.4, 0.9, 0.01]), tf.constant([0.0, 0, 8.5, 8.4])  # nearest to the last
    config = DetectionConfig(nms="weighted_fusion")
    assert explanation.source_of(boxes, scores, tf.ones(3, bool), fused, tf.constant(0.9), config) == 1
