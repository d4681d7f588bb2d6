"""The final list of boxes, by hand."""

import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.config import DetectionConfig
from tfrcnn.errors import InputError
from tfrcnn.layers import DetectionDecoder, DetectionRescaler

WEIGHTS = (10.0, 10.0, 5.0, 5.0)
PROPOSALS = tf.constant([[[10.0, 10, 30, 30], [12, 10, 30, 30], [50, 50, 70, 90]]])
ALL = tf.ones([1, 3], tf.bool)
SIZE = tf.constant([[100.0, 80.0]])


def logits(*probabilities):
    """[1, P, C + 1] logits of given class probabilities, background last."""
    p = np.array([probabilities], np.float32)
    return tf.math.log(np.concatenate([p, 1 - p.sum(-1, keepdims=True)], -1) + 1e-9)


def with_background(scores):
    """[B, P, C] -> [B, P, C + 1]; what the background has does not matter."""
    return tf.pad(tf.constant(scores), [[0, 0], [0, 0], [0, 1]])


def decode(probabilities, valid=ALL, deltas=None, **config):
    classes = len(probabilities[0])
    deltas = tf.zeros([1, 3, classes, 4]) if deltas is None else deltas
    layer = DetectionDecoder(DetectionConfig(**config), WEIGHTS)
    detections = layer(logits(*probabilities), deltas, PROPOSALS, valid, SIZE)
    count = int(detections["num_detections"][0])
    assert np.all(detections["scores"][0, count:] == 0)
    assert np.all(detections["boxes"][0, count:] == 0)
    assert np.all(detections["labels"][0, count:] == 0)
    return {key: value[0, :count].numpy() for key, value in detections.items() if key != "num_detections"}


def test_the_background_is_the_last_logit_and_the_first_class_is_label_0():
    detections = decode([[0.9, 0.0], [0.0, 0.0], [0.0, 0.8]])
    np.testing.assert_array_equal(detections["labels"], [0, 1])
    np.testing.assert_allclose(detections["scores"], [0.9, 0.8], rtol=1e-5)
    np.testing.assert_array_equal(detections["boxes"], [[10, 10, 30, 30], [50, 50, 70, 80]])  # clipped to 80


def test_overlapping_boxes_suppress_each_other_within_a_class_only():
    same = decode([[0.9, 0.0], [0.6, 0.0], [0.0, 0.0]])
    other = decode([[0.9, 0.0], [0.0, 0.6], [0.0, 0.0]])
    assert same["labels"].tolist() == [0]
    assert other["labels"].tolist() == [0, 1]


def test_one_proposal_may_be_two_classes_at_once():
    assert decode([[0.5, 0.4], [0.0, 0.0], [0.0, 0.0]])["labels"].tolist() == [0, 1]


def test_a_score_of_the_threshold_is_not_above_it():
    assert len(decode([[0.5], [0.0], [0.0]], score_threshold=0.4999)["scores"]) == 1
    assert len(decode([[0.5], [0.0], [0.0]], score_threshold=0.5001)["scores"]) == 0


def test_a_detection_whose_score_equals_the_threshold_is_not_shown():
    # two equal logits: each class has a probability of exactly 1/2
    layer = DetectionDecoder(DetectionConfig(score_threshold=0.5), WEIGHTS)
    detections = layer(tf.zeros([1, 3, 2]), tf.zeros([1, 3, 1, 4]), PROPOSALS, ALL, SIZE)
    assert detections["num_detections"].numpy().tolist() == [0]


@pytest.mark.parametrize(
    "kind",
    [
        {},
        {"class_agnostic_nms": True},
        {"nms": "soft_linear"},
        {"nms": "soft_gaussian", "class_agnostic_nms": True},
        {"nms": "weighted_fusion"},
    ],
)
def test_each_class_has_its_own_threshold_in_every_kind_of_nms(kind):
    # far apart, so that no box competes; the scores are exact in float32
    proposals = tf.constant([[[10.0, 10, 20, 20], [40, 10, 50, 20], [70, 10, 80, 20], [10, 50, 20, 60]]])
    probabilities = tf.constant([[[0.5, 0.25, 0], [0.2, 0.5, 0], [0.75, 0.125, 0], [0.0, 0.375, 0]]])
    config = DetectionConfig(score_threshold=0.25, class_score_thresholds={"dog": 0.5}, **kind)

    def labels_and_scores(names):
        layer = DetectionDecoder(config, WEIGHTS, names=names)
        layer = DetectionDecoder.from_config(layer.get_config())  # a file keeps the names
        every = tf.ones([1, 4], tf.bool)
        detections = layer(probabilities, tf.zeros([1, 4, 2, 4]), proposals, every, SIZE, from_logits=False)
        count = int(detections["num_detections"][0])
        return list(
            zip(detections["labels"][0, :count].numpy().tolist(), detections["scores"][0, :count].numpy().tolist())
        )

    # scores equal to their threshold are out: 0.25 of the second class, 0.5 of "dog"
    assert labels_and_scores(["dog", "cat"]) == [(0, 0.75), (1, 0.5), (1, 0.375)]
    assert labels_and_scores(["cat", "dog"]) == [(0, 0.75), (0, 0.5)]


def test_a_threshold_of_no_class_is_refused():
    with pytest.raises(InputError, match="expected names of the detector's categories"):
        DetectionDecoder(DetectionConfig(class_score_thresholds={"dog": 0.5}), WEIGHTS, names=["cat"])


@pytest.mark.parametrize(
    ("min_size", "kept"),
    [(8.0, [0, 1, 2]), (8.01, [1, 2]), (9.0, [1, 2]), (9.01, [2]), (11.01, [])],
)
def test_a_box_with_a_side_under_the_minimum_is_not_shown(min_size, kept):
    # 8 high and 40 wide; 40 high and 9 wide; 40 high and, clipped to the image, 11 wide. A class each: no NMS
    proposals = tf.constant([[[0.0, 0, 8, 40], [20, 0, 60, 9], [0, 69, 40, 99]]])
    probabilities = logits([0.9, 0, 0], [0, 0.8, 0], [0, 0, 0.7])
    layer = DetectionDecoder(DetectionConfig(min_size=min_size), WEIGHTS)
    detections = layer(probabilities, tf.zeros([1, 3, 3, 4]), proposals, ALL, SIZE)
    assert detections["num_detections"].numpy().tolist() == [len(kept)]
    assert detections["labels"][0, : len(kept)].numpy().tolist() == kept


@pytest.mark.parametrize(("batch", "loops"), [(1, False), (None, True)])
def test_a_portable_graph_has_no_loop_over_the_classes_of_a_single_image(batch, loops):
    layer = DetectionDecoder(DetectionConfig(max_detections=2), WEIGHTS, "portable")
    specs = [tf.TensorSpec([batch, *shape]) for shape in ((3, 3), (3, 2, 4), (3, 4))]
    specs += [tf.TensorSpec([batch, 3], tf.bool), tf.TensorSpec([batch, 2])]
    graph = tf.function(layer, input_signature=specs).get_concrete_function().graph
    assert any("While" in operation.type for operation in graph.get_operations()) == loops


def test_padding_is_never_scored():
    assert len(decode([[0.9], [0.9], [0.9]], valid=tf.constant([[False, False, False]]))["scores"]) == 0


def test_at_most_the_best_of_all_classes_are_returned():
    detections = decode([[0.9, 0.05], [0.0, 0.0], [0.1, 0.8]], max_detections=2)
    np.testing.assert_allclose(detections["scores"], [0.9, 0.8], rtol=1e-5)


@pytest.mark.parametrize(("threshold", "looked_at"), [(0.6, 9), (0.999, 1)])
def test_no_more_than_some_class_has_above_the_threshold_are_looked_at_and_give_what_all_give(threshold, looked_at):
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.01, 0.5, (2, 40, 3)).astype(np.float32)
    scores[0, :9, 1], scores[1, 30:33, 2] = np.linspace(0.7, 0.9, 9), [0.8, 0.95, 0.7]
    corners = rng.uniform(0, 60, (2, 40, 2))
    proposals = np.concatenate([corners, corners + rng.uniform(0, 30, (2, 40, 2))], -1).astype(np.float32)
    deltas = rng.normal(size=(2, 40, 3, 4)).astype(np.float32)
    valid = np.arange(40) != [[20], [31]]  # one that is sure of itself among them
    results = []
    for kernels in ("tensorflow", "portable"):
        layer = DetectionDecoder(DetectionConfig(score_threshold=threshold, min_size=4.0), WEIGHTS, kernels)
        sets = tf.reshape(tf.transpose(tf.where(scores > threshold, scores, -1.0), [0, 2, 1]), [6, 40])
        assert layer._candidates(sets) == (looked_at if kernels == "tensorflow" else 40)
        results.append(
            layer(with_background(scores), deltas, proposals, valid, tf.tile(SIZE, [2, 1]), from_logits=False)
        )
    few, every = results
    assert (few["num_detections"].numpy() > 0).all() == (looked_at > 1)
    for name, values in few.items():
        np.testing.assert_array_equal(values, every[name], err_msg=name)
    for one in range(2):  # an image's are its own
        alone = (values[one : one + 1] for values in (with_background(scores), deltas, proposals, valid))
        for name, values in layer(*alone, SIZE, from_logits=False).items():
            np.testing.assert_array_equal(values[0], few[name][one], err_msg=name)


def test_a_score_that_is_no_number_hides_no_other():
    deltas = tf.zeros([1, 3, 1, 4])
    scores = tf.constant([[[np.nan], [0.9], [0.8]]])
    layer = DetectionDecoder(DetectionConfig(), WEIGHTS)
    detections = layer(with_background(scores), deltas, PROPOSALS, ALL, SIZE, from_logits=False)
    np.testing.assert_allclose(detections["scores"][0, :2], [0.9, 0.8])
    assert detections["num_detections"] == 2


def test_deltas_of_the_class_itself_move_its_box():
    deltas = np.zeros((1, 3, 2, 4), np.float32)
    deltas[0, 0, 1] = [10 * 0.5, 0, 0, 0]  # class 1: half a height down
    detections = decode([[0.45, 0.5], [0.0, 0.0], [0.0, 0.0]], deltas=deltas)
    np.testing.assert_allclose(detections["boxes"], [[20, 10, 40, 30], [10, 10, 30, 30]])


def test_from_scores_of_earlier_versions_takes_probabilities_without_background():
    scores, deltas = tf.constant([[[0.9, 0.2], [0.1, 0.2], [0.8, 0.2]]]), tf.zeros([1, 3, 2, 4])
    layer = DetectionDecoder(DetectionConfig(), WEIGHTS)
    with pytest.warns(DeprecationWarning, match="from_logits=False"):
        old = layer.from_scores(scores, deltas, PROPOSALS, ALL, SIZE)
    new = layer(with_background(scores), deltas, PROPOSALS, ALL, SIZE, from_logits=False)
    np.testing.assert_array_equal(old["scores"], new["scores"])
    np.testing.assert_allclose(old["scores"][0, :2], [0.9, 0.8])


def test_rescaling_multiplies_by_the_true_ratio_of_each_axis():
    # 480 x 640 -> 320 x 426: 640 / 426 is not 1.5
    detections = DetectionRescaler()(
        {"boxes": tf.constant([[[320.0, 426.0, 160.0, 213.0]]])}, tf.constant([[320.0, 426.0]]),
        tf.constant([[480.0, 640.0]]),
    )  # fmt: skip
    np.testing.assert_allclose(detections["boxes"], [[[480, 640, 240, 320]]], rtol=1e-6)


def test_scores_are_sigmoids_of_each_class_alone_if_the_head_learns_so():
    layer = DetectionDecoder(DetectionConfig(score_threshold=0.3), WEIGHTS, scores="sigmoid")
    layer = DetectionDecoder.from_config(layer.get_config())
    probabilities = np.array([[[0.9, 0.8], [0.2, 0.1], [0.1, 0.4]]])
    class_logits = np.log(probabilities / (1 - probabilities))
    class_logits = np.concatenate([class_logits, np.full([1, 3, 1], 50.0)], -1).astype(np.float32)  # background: unused
    detections = layer(class_logits, tf.zeros([1, 3, 2, 4]), PROPOSALS, ALL, SIZE)
    count = int(detections["num_detections"][0])
    np.testing.assert_allclose(detections["scores"][0, :count], [0.9, 0.8, 0.4], rtol=1e-5)
    np.testing.assert_array_equal(detections["labels"][0, :count], [0, 1, 1])


def test_scores_of_the_stages_of_a_cascade_are_averaged():
    decoder = DetectionDecoder(DetectionConfig(), WEIGHTS)
    stages = [logits([0.9, 0.1], [0.0, 0.0], [0.0, 0.6]), logits([0.3, 0.1], [0.0, 0.0], [0.0, 0.8])]
    detections = decoder(stages, tf.zeros([1, 3, 1, 4]), PROPOSALS, ALL, SIZE)
    np.testing.assert_allclose(detections["scores"][0, :3], [0.7, 0.6, 0.1], rtol=1e-5)
    assert detections["labels"][0, :3].numpy().tolist() == [1, 0, 1]


@pytest.mark.parametrize("kind", [{}, {"class_agnostic_nms": True}, {"nms": "soft_linear"}])
def test_class_agnostic_deltas_move_the_boxes_of_every_class_the_same(kind):
    deltas = tf.constant(np.random.default_rng(0).normal(size=(1, 3, 1, 4)), tf.float32)
    probabilities = [[0.5, 0.4], [0.2, 0.3], [0.6, 0.1]]
    once, per_class = (decode(probabilities, deltas=d, **kind) for d in (deltas, tf.tile(deltas, [1, 1, 2, 1])))
    for name, value in once.items():
        np.testing.assert_array_equal(value, per_class[name])


def test_the_sigmoids_of_the_stages_of_a_cascade_are_averaged():
    stages = [np.array([[[2.0, -1.0, 9.0], [-9.0, -9.0, 0.0], [-9.0, -9.0, 0.0]]], np.float32)]
    stages.append(stages[0] + np.float32([1.5, 3.0, -30.0]))
    layer = DetectionDecoder(DetectionConfig(score_threshold=0.1), WEIGHTS, scores="sigmoid")
    detections = layer([tf.constant(each) for each in stages], tf.zeros([1, 3, 1, 4]), PROPOSALS, ALL, SIZE)
    expected = np.mean([1 / (1 + np.exp(-each[0, 0, :2])) for each in stages], axis=0)
    np.testing.assert_allclose(detections["scores"][0, :2], expected, rtol=1e-5)
    assert detections["labels"][0, :2].numpy().tolist() == [0, 1]


def test_class_agnostic_nms_leaves_one_label_on_an_object():
    # two proposals on one object that disagree about its class, and another object
    both = [[0.9, 0.05], [0.2, 0.6], [0.0, 0.8]]
    assert decode(both)["labels"].tolist() == [0, 1, 1]
    agnostic = decode(both, class_agnostic_nms=True)
    np.testing.assert_allclose(agnostic["scores"], [0.9, 0.8], rtol=1e-5)
    assert agnostic["labels"].tolist() == [0, 1]
    assert decode([[0.5, 0.4], [0.0, 0.0], [0.0, 0.0]], class_agnostic_nms=True)["labels"].tolist() == [0]


@pytest.mark.parametrize("nms", ["soft_linear", "soft_gaussian", "weighted_fusion"])
def test_other_kinds_of_nms_look_at_each_class_alone_or_at_all(nms):
    each = decode([[0.9, 0.0], [0.0, 0.6], [0.0, 0.8]], nms=nms)
    np.testing.assert_allclose(each["scores"], [0.9, 0.8, 0.6], rtol=1e-5)
    assert each["labels"].tolist() == [0, 1, 1]
    both = decode([[0.9, 0.0], [0.0, 0.6], [0.0, 0.8]], nms=nms, class_agnostic_nms=True)
    assert both["labels"].tolist()[:2] == [0, 1]
    np.testing.assert_allclose(both["scores"][:2], [0.9, 0.8], rtol=1e-5)
    if nms == "weighted_fusion":
        np.testing.assert_allclose(both["boxes"][0], [(0.9 * 10 + 0.6 * 12) / 1.5, 10, 30, 30], rtol=1e-5)
        assert len(both["scores"]) == 2
    else:
        left = 0.1 if nms == "soft_linear" else np.exp(-(0.9**2) / 0.5)
        np.testing.assert_allclose(both["scores"][2:], [0.6 * left], rtol=1e-5)


@pytest.mark.parametrize("nms", ["soft_linear", "soft_gaussian", "weighted_fusion"])
def test_other_kinds_of_nms_return_the_best_of_more_pairs_and_all_of_fewer_pairs_than_the_limit(nms):
    several = decode([[0.9, 0.0], [0.0, 0.6], [0.1, 0.8]], nms=nms, max_detections=2)
    np.testing.assert_allclose(several["scores"], [0.9, 0.8], rtol=1e-5)
    np.testing.assert_array_equal(several["boxes"], [[10, 10, 30, 30], [50, 50, 70, 80]])
    one = decode([[0.0, 0.0], [0.0, 0.0], [0.0, 0.8]], nms=nms)
    np.testing.assert_allclose(one["scores"], [0.8], rtol=1e-5)
    assert one["labels"].tolist() == [1]
    # three images with a pair each: fewer pairs than images
    layer = DetectionDecoder(DetectionConfig(nms=nms, max_detections=2), WEIGHTS)
    scores, boxes = tf.constant([[[0.9]], [[0.8]], [[0.7]]]), tf.tile(PROPOSALS[:, :1], [3, 1, 1])
    inputs = with_background(scores), tf.zeros([3, 1, 1, 4]), boxes, tf.ones([3, 1], tf.bool), tf.tile(SIZE, [3, 1])
    np.testing.assert_allclose(layer(*inputs, from_logits=False)["scores"], [[0.9, 0], [0.8, 0], [0.7, 0]])


def test_the_best_2000_pairs_of_an_image_compete_in_other_kinds_of_nms():
    # 45 x 45 boxes that do not touch
    row, column = np.divmod(np.arange(2025), 45)
    proposals = np.stack([row * 2, column * 2, row * 2 + 1, column * 2 + 1], -1)[None].astype(np.float32)
    scores = np.linspace(0.9, 0.1, 2025, dtype=np.float32)[None, :, None]
    layer = DetectionDecoder(DetectionConfig(max_detections=2025, class_agnostic_nms=True), WEIGHTS)
    inputs = with_background(scores), tf.zeros([1, 2025, 1, 4]), proposals, tf.ones([1, 2025], tf.bool)
    detections = layer(*inputs, tf.constant([[100.0, 100.0]]), from_logits=False)
    assert detections["num_detections"].numpy().tolist() == [2000]
    np.testing.assert_array_equal(detections["scores"][0, :2000], scores[0, :2000, 0])


@pytest.mark.parametrize("nms", ["hard", "soft_gaussian", "weighted_fusion"])
def test_all_kernels_and_batches_give_the_same_in_every_kind_of_nms(nms):
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 60, (2, 40, 2))
    proposals = np.concatenate([corners, corners + rng.uniform(5, 30, (2, 40, 2))], -1).astype(np.float32)
    inputs = (
        with_background(rng.uniform(0.01, 0.5, (2, 40, 3)).astype(np.float32)),
        rng.normal(size=(2, 40, 3, 4)).astype(np.float32),
        proposals,
        rng.random((2, 40)) < 0.9,
        np.tile(SIZE, [2, 1]),
    )
    inputs = [tf.constant(each) for each in inputs]
    config = DetectionConfig(score_threshold=0.1, max_detections=200, nms=nms, class_agnostic_nms=True)
    first, second = (DetectionDecoder(config, WEIGHTS, name)(*inputs, from_logits=False) for name in
                     ("tensorflow", "portable"))  # fmt: skip
    one = DetectionDecoder(config, WEIGHTS)(*(x[1:] for x in inputs), from_logits=False)
    for name, value in first.items():
        np.testing.assert_allclose(value, second[name], rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(value[1], one[name][0], rtol=1e-6, err_msg=name)
    assert 5 < first["num_detections"][1] < 108
