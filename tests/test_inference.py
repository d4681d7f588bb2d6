"""`Predictor`: its choices, the RPN's proposals in pixels of the input images; threads and processes that share it."""

import pickle
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tfrcnn
from tfrcnn.config import AnchorConfig, Category
from tfrcnn.data.read import load_dataset
from tfrcnn.errors import InputError
from tfrcnn.export import TARGETS
from tfrcnn.export.artefact import OUTPUTS
from tfrcnn.export.contract import describe
from tfrcnn.models import build_detector, preset, save_detector
from tfrcnn.predictor import Predictor

from .export.shared_use import assert_threads_can_share, in_forked_child

CATEGORIES = (Category(1, "red"), Category(2, "white"))


def make_detector(**changes):
    keras.utils.set_random_seed(0)
    config = preset("tiny_fpn", CATEGORIES).detector
    few = config.test_proposals.replace(pre_nms_top_n=40, post_nms_top_n=20)
    detector = build_detector(config.replace(test_proposals=few, **changes))
    kernel = detector.rpn_head.objectness.kernel
    kernel.assign(np.random.default_rng(0).normal(0, 0.2, kernel.shape))  # scores far apart
    return detector


@pytest.fixture(scope="module")
def predictor():
    return Predictor(make_detector())


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8)


def by_hand(detector, picture):
    """Run the stages one by one; the preset makes the shorter side 128 pixels."""
    resized = tf.image.resize(picture[None].astype(np.float32), (128, 192))
    sizes = tf.constant([[128.0, 192.0]])
    features = detector.extract_features(resized, sizes)
    anchors = detector.anchor_generator(features, resized)
    return detector.proposal_layer(*detector.rpn_head(features), anchors, sizes)


def test_proposals_are_those_of_the_first_stage_in_pixels_of_the_picture(predictor, picture):
    proposals = predictor.propose(picture, image_id=7)
    expected = by_hand(predictor.detector, picture)
    valid = expected["valid"][0].numpy()
    assert proposals.image_id == 7
    assert proposals.boxes.shape == (valid.sum(), 4)
    np.testing.assert_allclose(proposals.scores, expected["scores"][0][valid], atol=1e-5)
    np.testing.assert_allclose(proposals.boxes, expected["boxes"][0][valid] * (200 / 128), atol=0.01)
    assert proposals.boxes.max() > 192


def test_more_proposals_than_the_detectors_own_begin_with_those(predictor, picture):
    default, more = predictor.propose(picture), predictor.propose(picture, 300)
    assert len(default.scores) == 20 < len(more.scores) <= 300
    np.testing.assert_array_equal(more.boxes[:5], default.boxes[:5])
    assert np.all(np.diff(more.scores) <= 0)
    with pytest.raises(InputError, match="count: expected a whole number of at least 1, found 0"):
        predictor.propose(picture, 0)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_data_set_gives_its_images_one_by_one_in_its_order(predictor, coco_data, batch_size):
    proposals = predictor.propose_dataset(coco_data, 50, batch_size)
    assert [image.image_id for image in proposals] == [example.image_id for example in coco_data.examples]
    for image, example in zip(proposals, coco_data.examples):
        alone = predictor.propose(example.path, 50)
        assert alone.image_id == example.path.stem
        # round-off between batches may decide between two near-equal boxes, so compare the best ones
        np.testing.assert_allclose(image.scores[:10], alone.scores[:10], atol=1e-4)
        np.testing.assert_allclose(image.boxes[:10], alone.boxes[:10], atol=0.05)
        assert np.all(image.boxes <= [64.001, 96.001, 64.001, 96.001])


def test_a_single_map_and_a_static_size_are_asked_the_same_way(picture):
    config = preset("tiny_fpn", CATEGORIES, 96).detector
    detector = make_detector(image=config.image, fpn=None, anchors=AnchorConfig(sizes=((16.0, 32.0),)))
    proposals = Predictor(detector).propose(picture, 10)
    assert proposals.boxes.shape == (10, 4)
    assert np.all(proposals.boxes <= [200.001, 300.001, 200.001, 300.001])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["detect", "propose"])
def test_eight_threads_share_a_predictor_and_bad_images_disturb_no_one(predictor, method):
    fields = ("boxes", "scores") if method == "propose" else ("boxes", "scores", "labels")
    assert_threads_can_share(getattr(predictor, method), fields=fields)


@pytest.mark.parametrize("method", ["detect", "propose"])
def test_a_predictor_in_a_forked_child_is_refused_in_one_line_and_does_not_hang(predictor, picture, method):
    answer = in_forked_child(lambda: getattr(predictor, method)(picture))
    assert re.match(
        r"InputError: TensorFlow cannot run in process \d+, which was forked from process \d+ after", answer
    )
    assert re.match("InputError: TensorFlow cannot run", in_forked_child(lambda: Predictor(predictor.detector)))


@pytest.mark.slow
def test_a_predictor_is_pickled_with_its_detector(predictor, picture):
    copy = pickle.loads(pickle.dumps(predictor))
    np.testing.assert_allclose(copy.propose(picture).boxes, predictor.propose(picture).boxes, atol=1e-3)


def test_an_id_of_zero_is_kept(predictor, tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "a.png")
    assert predictor.propose(tmp_path / "a.png", image_id=0).image_id == 0
    assert predictor.propose(tmp_path / "a.png").image_id == "a"


@pytest.mark.parametrize("count", [-1, 2.5, True, "300", [300], np.nan])
def test_a_count_that_is_not_a_positive_whole_number_is_refused(predictor, picture, count):
    with pytest.raises(InputError, match="count: expected a whole number of at least 1, found"):
        predictor.propose(picture, count)


def test_each_image_of_a_batch_needs_an_id_and_an_address_is_no_file(predictor, picture):
    with pytest.raises(InputError, match="image_ids must be as many as the images, 2, found 1"):
        predictor.detect_batch([picture, picture], [1])
    with pytest.raises(InputError, match=r"http://a/b\.jpg: expected an image file, found an address"):
        predictor.detect("http://a/b.jpg")


def test_data_that_cannot_be_read_in_batches_are_refused(predictor, coco_data):
    with pytest.raises(InputError, match="batch_size: expected a whole number of at least 1, found 0"):
        predictor.detect_dataset(coco_data, batch_size=0)
    with pytest.raises(InputError, match=r"dataset must be a Dataset of tfrcnn\.load_dataset, found str"):
        predictor.detect_dataset("cells/VOC@val")


def choosing(predictor, **options):
    """A predictor with other choices, traced already."""
    made = Predictor(predictor.detector, **options)
    made.engine = predictor.engine
    return made


def test_a_threshold_and_classes_choose_among_the_results(predictor, picture):
    everything = predictor.detect(picture)
    assert {"red", "white"} == set(everything.names)
    threshold = float(np.median(everything.scores))
    chosen = choosing(predictor, threshold=threshold, classes="white").detect(picture)
    expected = everything.filter(threshold, "white")
    assert (
        chosen.scores.tolist()
        == expected.scores.tolist()
        == [one.score for one in everything if one.score >= threshold and one.name == "white"]
    )
    assert chosen.best_rejected.name == "white"
    assert chosen.size == (200, 300)
    assert chosen.plot().size == (480, 320)
    by_class = choosing(predictor, threshold={"red": 1.0}).detect(picture)
    assert set(by_class.names) == {"white"}


def test_a_data_set_is_chosen_from_in_batches_and_its_files_are_drawn(predictor, coco_data):
    chosen = choosing(predictor, batch=3, classes=["red"]).detect_dataset(coco_data)
    expected = predictor.detect_dataset(coco_data)
    assert [image.image_id for image in chosen] == [example.image_id for example in coco_data.examples]
    for image, all_classes in zip(chosen, expected):
        assert set(image.names) <= {"red"}
        assert image.size == (64, 96)
        assert image.plot().size == (480, 320)
        np.testing.assert_allclose(image.scores[:3], all_classes.filter(classes="red").scores[:3], atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": "wite"}, "classes: no category has the name 'wite'; the nearest: 'white', 'red'"),
        ({"threshold": 2}, r"threshold: expected a number in \[0, 1\], found 2"),
        ({"threshold": {"rod": 0.5}}, "threshold: no category has the name 'rod'; the nearest: 'red'"),
        ({"threshold": 0.01}, "threshold 0.01 is below the detector's own, 0.05"),
        ({"threshold": {"red": 0.01}}, "threshold 0.01 is below the detector's own, 0.05"),
        ({"batch": 0}, "batch: expected a whole number in 1..1,024, found 0"),
        ({"batch": 10**6}, "batch: expected a whole number in 1..1,024, found 1000000"),
        ({"threads": 2}, "threads and runtime belong to exported files"),
        ({"runtime": "OpenVINO"}, "threads and runtime belong to exported files"),
    ],
)
def test_a_wrong_choice_is_refused_when_the_predictor_is_made(predictor, options, message):
    with pytest.raises(InputError, match=message):
        Predictor(predictor.detector, **options)


@pytest.mark.parametrize("detector", [None, 3, object()])
def test_anything_but_a_path_or_a_detector_is_refused(detector):
    with pytest.raises(InputError, match=r"a path or a detector of tfrcnn\.build_detector, found"):
        Predictor(detector)


@pytest.mark.slow
def test_a_run_folder_is_loaded_and_may_have_a_lower_threshold(predictor, picture, tmp_path):
    save_detector(predictor.detector, tmp_path / "run")
    assert tfrcnn.load(tmp_path / "run", threshold=np.float32(0.01)).engine.detections.score_threshold < 0.02
    low = tfrcnn.load(tmp_path / "run", threshold={"red": 0.01, "white": 0.3})
    assert isinstance(low, tfrcnn.Predictor)
    assert low.detector.config.detections.score_thresholds(["red", "white"]) == [0.01, 0.05]
    one = tfrcnn.load(tmp_path / "run", threshold={"red": 0.01}).detect(picture)
    assert (
        min((detection.score for detection in one if detection.name == "white"), default=1) > 0.05
    )  # the run's own threshold
    expected = predictor.detect(picture).filter({"red": 0.05, "white": 0.3})
    np.testing.assert_allclose(low.detect(picture).filter(0.05).scores[:5], expected.scores[:5], atol=1e-5)
    with pytest.raises(InputError, match=r"expected a run folder .* found nothing"):
        tfrcnn.load(tmp_path / "nothing")


class OneOfEach:
    """The runtime of an exported file that detects one object of each class."""

    def __init__(self, detector):
        self.description = describe(detector.config, "onnx", "float32")

    def run(self, images):
        boxes = np.array([[[0.1, 0.1, 0.5, 0.5], [0.2, 0.2, 0.8, 0.9]]], np.float32)
        return dict(zip(OUTPUTS, (boxes, np.array([[2, 1]]), np.array([[0.9, 0.4]]), np.array([2]))))


def test_an_exported_file_has_the_same_choices_and_no_proposals(predictor, picture, tmp_path, monkeypatch):
    path = tmp_path / "cells.onnx"
    path.write_bytes(b"\x08\x08 and so on")
    monkeypatch.setattr(type(TARGETS["onnx"]), "load", lambda *_: OneOfEach(predictor.detector))
    detections = tfrcnn.load(path, classes="red").detect(picture, "a")
    np.testing.assert_allclose(detections.boxes, [[40, 60, 160, 270]], rtol=1e-6)
    assert (detections.names, detections.image_id, detections.size) == (["red"], "a", (200, 300))
    assert detections.plot().size == (480, 320)
    loaded = Predictor(path, threshold=0.95)
    assert loaded.detector is None
    assert loaded.engine.format == "onnx"
    assert "the best score is 0.9 (white)" in str(loaded.detect(picture))
    with pytest.raises(InputError, match="an exported file gives detections"):
        loaded.propose(picture)
    with pytest.raises(InputError, match=r"threshold 0\.01 is below the detector's own, 0\.05"):
        tfrcnn.load(path, threshold=0.01)
    with pytest.raises(InputError, match="runtime must be one of"):
        tfrcnn.load(path, runtime="TensorRT")


@pytest.fixture
def coco_data(tmp_path):
    rng = np.random.default_rng(1)
    (tmp_path / "images").mkdir()
    entries = []
    for i in (3, 1, 2, 4):
        Image.fromarray(rng.integers(0, 255, (64, 96, 3), np.uint8)).save(tmp_path / "images" / f"{i}.png")
        entries.append(f'{{"id": {i}, "file_name": "{i}.png", "width": 96, "height": 64}}')
    content = f'{{"images": [{", ".join(entries)}], "annotations": [], "categories": [{{"id": 1, "name": "red"}}]}}'
    (tmp_path / "instances.json").write_text(content, encoding="utf-8")
    return load_dataset(str(tmp_path / "instances.json"))
