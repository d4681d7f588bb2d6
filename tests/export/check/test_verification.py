"""Matching detections one to one, and what is out of tolerance."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.config import Category, DetectionConfig
from tfrcnn.data.example import Dataset, Example, ImageDetections
from tfrcnn.errors import InputError
from tfrcnn.export import TARGETS
from tfrcnn.export.check.ties import replays
from tfrcnn.export.check.verification import count_ties, edge_cases, match, verify
from tfrcnn.inference import Predictor
from tfrcnn.models import build_detector, preset

from ..random_detectors import make_detector, make_image

LIMITS = DetectionConfig(score_threshold=0.05, max_detections=100)
BOXES = np.array([[0, 0, 10, 10], [20, 20, 60, 60], [22, 20, 60, 60]], np.float32)


def detections(boxes=BOXES, scores=(0.9, 0.8, 0.3), labels=(0, 1, 1)):
    return ImageDetections(0, np.asarray(boxes, np.float32), np.asarray(scores, np.float32), np.asarray(labels))


def alone(candidate, reference, limits):
    """How many have no partner."""
    return sum(map(len, match(candidate, reference, 640, limits, 1e-3)[2:]))


def nothing():
    return detections(np.zeros((0, 4)), (), ())


def test_nothing_and_nothing_agree():
    assert match(nothing(), nothing(), 640, LIMITS, 1e-3) == (0, 0, [], [])


def test_equal_detections_have_no_errors_in_any_order():
    other = detections(BOXES[[0, 2, 1]], (0.9, 0.3, 0.8))
    assert match(other, detections(), 640, LIMITS, 1e-3) == (0, 0, [], [])


def test_errors_are_the_largest_of_the_pairs_in_pixels_at_640():
    other = detections(BOXES + np.array([[0.5, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0.25]]), (0.9, 0.75, 0.3))
    score, box, *alone = match(other, detections(), 320, LIMITS, 1e-3)
    np.testing.assert_allclose([score, box], [0.05, 1.0], rtol=1e-6)
    assert alone == [[], []]


@pytest.mark.parametrize(
    ("candidate", "count"),
    [
        (detections(labels=(1, 1, 1)), 2),  # a shifted label: one of each is alone
        (detections(BOXES + np.array([[0, 0, 0, 0], [0, 5, 0, 5], [0, 0, 0, 0]])), 2),
        (detections(BOXES[:2], (0.9, 0.8), (0, 1)), 1),
        (nothing(), 3),
    ],
)
def test_what_has_no_partner_is_counted(candidate, count):
    assert alone(candidate, detections(), LIMITS) == count


def test_two_detections_need_two_partners():
    twice = detections(BOXES[[0, 0]], (0.9, 0.9), (0, 0))
    assert match(twice, detections(BOXES[:1], (0.9,), (0,)), 640, LIMITS, 1e-3)[2:] == ([1], [])


def test_round_off_may_decide_what_is_at_the_threshold_or_last_in_a_full_list():
    below = detections(BOXES, (0.9, 0.8, 0.0505))
    assert alone(detections(BOXES[:2], (0.9, 0.8), (0, 1)), below, LIMITS) == 0
    full = DetectionConfig(score_threshold=0.05, max_detections=2)
    one, other = detections(BOXES[:2], (0.9, 0.3), (0, 1)), detections(BOXES[[0, 2]] + 30, (0.9, 0.3), (0, 1))
    assert alone(one, other, full) == 2  # 0.9 of both, not the 0.3


@pytest.fixture(scope="module")
def blind():
    """A detector whose features are all zero, so that every anchor of a level has the same logits."""
    keras.utils.set_random_seed(0)
    config = preset("tiny_fpn", (Category(1, "a"), Category(2, "b"))).detector
    config = config.replace(detections=DetectionConfig(score_threshold=0.0, max_detections=20))
    detector = build_detector(config)
    for layer in detector.rpn_head.convs:
        layer.kernel.assign(tf.zeros_like(layer.kernel))
    bias = detector.rpn_head.objectness.bias  # of each anchor of a cell another
    bias.assign(tf.range(bias.shape[0], dtype=tf.float32))
    return detector


@pytest.mark.slow
def test_what_round_off_decides_is_a_tie_and_nothing_else(blind):
    picture = edge_cases()[0]
    replayed = list(replays(blind, picture, tries=8))
    assert not np.array_equal(replayed[0].boxes, replayed[1].boxes)  # equal scores, in another order
    reference = Predictor(blind).detect(picture)
    candidate = replayed[3]
    indices = match(candidate, reference, 320, DetectionConfig(score_threshold=0.0, max_detections=21), -1.0)[2:]
    assert len(indices[0]) >= 1
    assert count_ties(blind, picture, candidate, reference, *indices) == sum(map(len, indices))
    # a box that is nowhere, and one whose label is another
    moved = ImageDetections(0, candidate.boxes + np.float32(500), candidate.scores, candidate.labels)
    assert count_ties(blind, picture, moved, reference, [0, 1], []) == 0


@pytest.mark.slow
def test_which_of_two_sure_scores_a_softmax_rounds_down_is_a_tie(monkeypatch):
    detector = make_detector(sharpness=20.0, seed=2)
    picture, limits = make_image()[0], DetectionConfig(score_threshold=0.0, max_detections=61)
    reference = Predictor(detector).detect(picture)
    assert np.sum(reference.scores == 1.0) >= 5
    softmax = tf.nn.softmax

    def another(logits):
        """Every other 1 is the next number below."""
        odd = tf.range(tf.shape(logits)[1])[:, None] % 2 == 1
        probabilities = softmax(logits)
        return tf.where(odd & (probabilities == 1.0), 1.0 - 2.0**-24, probabilities)

    with monkeypatch.context() as patched:
        patched.setattr(tf.nn, "softmax", another)
        candidate = Predictor(detector).detect(picture)
    np.testing.assert_allclose(candidate.scores[:5], 1.0, rtol=0, atol=2.0**-24)
    indices = match(candidate, reference, 150, limits, -1.0)[2:]
    assert len(indices[0]) >= 1
    assert count_ties(detector, picture, candidate, reference, *indices) == sum(map(len, indices))


def test_replays_are_repeatable(blind):
    one, other = (list(replays(blind, edge_cases()[0], tries=2)) for _ in range(2))
    for a, b in zip(one, other):
        np.testing.assert_array_equal(a.boxes, b.boxes)


@pytest.mark.slow
def test_replays_are_what_the_detector_finds_where_nothing_is_a_tie():
    detector = make_detector()
    expected = Predictor(detector).detect(make_image()[0])
    assert len(expected.scores) > 10
    for replay in replays(detector, make_image()[0], tries=4):
        score, box, *alone = match(replay, expected, 150, detector.config.detections, 1e-3)
        assert alone == [[], []]
        # the predictors of this detector are sharp: a logit of 10 that is off by 1e-4
        assert 0 < score < 1e-3
        assert 0 < box < 0.05


def test_edge_cases_are_pictures_of_every_awkward_kind():
    pictures = edge_cases()
    assert all(p.dtype == np.uint8 and p.shape[2] == 3 for p in pictures)
    assert min(p.shape[0] for p in pictures) == 1
    assert max(p.shape[1] / p.shape[0] for p in pictures) >= 15
    assert any(np.all(p == 0) for p in pictures)
    assert any(np.all(p[..., 0] == p[..., 2]) and p.std() > 0 for p in pictures)


class Answers:
    """A file or a Keras model that gives the same detections in every image."""

    def __init__(self, detector, outputs, precision="int8"):
        self.detector, self.outputs, self.precision = detector, outputs, precision
        self.format, self.detections = "onnx", LIMITS

    def detect(self, image, image_id=""):
        return ImageDetections(image_id, self.outputs.boxes, self.outputs.scores, self.outputs.labels)


@pytest.fixture
def judge(blind, tmp_path, monkeypatch):
    monkeypatch.setattr(type(TARGETS["onnx"]), "operators", lambda *_: [])
    (tmp_path / "a.onnx").touch()

    def run(expected, actual, precision="int8", **options):
        reference, artefact = (Answers(blind, outputs, precision) for outputs in (expected, actual))
        return verify(reference, artefact, tmp_path / "a.onnx", **options)

    return run


def dataset(folder, boxes, crowd=False):
    keras.utils.save_img(folder / "a.png", make_image()[0], scale=False)
    n = len(boxes)
    boxes, labels, flags = np.float32(boxes).reshape(-1, 4), np.zeros(n, np.int32), np.full(n, crowd)
    example = Example(
        *(1, folder / "a.png", 150, 120, boxes, labels, flags, np.zeros(n, bool), np.full(n, 100.0, np.float32), 1),
        np.arange(1, n + 1),
    )
    return Dataset("a", (Category(1, "a"), Category(2, "b")), (example,))


@pytest.mark.parametrize("precision", ["float16", "dynamic", "int8"])
def test_a_file_whose_detections_vanish_is_out_of_tolerance(judge, precision):
    report = judge(detections(), nothing(), precision)
    assert (report.verdict, report.detections > 0, report.file_detections) == ("out of tolerance", True, 0)
    assert report.partners == 0.0
    assert judge(nothing(), detections(), precision).verdict == "out of tolerance"
    assert judge(detections(), detections(), precision).verdict == "within tolerance"


@pytest.mark.parametrize("precision", ["float32", "float16", "dynamic", "int8"])
def test_a_file_that_detects_nothing_as_the_model_does_is_not_judged(judge, precision):
    assert judge(nothing(), nothing(), precision).verdict == "not judged"
    pictures = [make_image()[0]]
    assert judge(nothing(), nothing(), precision, pictures=pictures).verdict == "not judged"


def test_a_file_is_not_judged_on_black_pictures(judge):
    assert judge(detections(), detections(), pictures=[np.zeros((8, 8, 3), np.uint8)]).verdict == "not judged"


@pytest.mark.parametrize(
    ("boxes", "crowd"), [([], False), ([[0, 0, 10, 10]], True), ([[90, 90, 99, 99]], False)]
)  # no object, only crowds, only objects that the model does not detect
def test_data_on_which_ap_cannot_fall_count_as_no_data(judge, tmp_path, boxes, crowd):
    images = dataset(tmp_path, boxes, crowd)
    assert judge(detections(), nothing(), images=images).verdict == "out of tolerance"
    assert judge(nothing(), nothing(), images=images).verdict == "not judged"
    assert judge(detections(), detections(), images=images).verdict == "within tolerance"


def test_annotated_data_are_judged_by_ap(judge, tmp_path):
    images = dataset(tmp_path, BOXES[:1])
    report = judge(detections(), nothing(), images=images)
    assert report.faults == ("AP falls from 1.0000 to 0.0000, allowed 0.01",)
    assert judge(detections(), detections(BOXES[:1], (0.9,), (0,)), images=images).verdict == "within tolerance"


def test_an_empty_data_set_counts_as_no_data(judge):
    report = judge(detections(), detections(), images=Dataset("a", (), ()))
    assert (report.images, report.verdict) == (len(edge_cases()), "within tolerance")


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_file_that_returns_numbers_that_are_not_finite_is_out_of_tolerance(judge, precision):
    report = judge(detections(), detections(scores=(np.nan, 0.8, 0.3)), precision)
    assert report.faults[0] == "7 detections have boxes or scores that are not finite"


def test_a_detector_with_weights_that_are_not_finite_is_not_compared(tmp_path):
    detector = make_detector()
    detector.box_head.classifier.bias.assign([np.inf, 0.0, np.nan])
    with pytest.raises(
        InputError, match=r"weight box_head/.*bias: expected finite numbers, found 2 NaN or infinite of"
    ):
        verify(Predictor(detector), None, tmp_path)
