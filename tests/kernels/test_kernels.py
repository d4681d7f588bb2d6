"""The sets of kernels: they agree, one of the user's can be passed, and names of earlier versions still work."""

import re
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfrcnn
from tfrcnn.config import Category, DetectionConfig, FPNConfig, HeadConfig, ImageConfig, ProposalConfig
from tfrcnn.errors import InputError
from tfrcnn.kernels import ABSENT, PORTABLE, PORTABLE_MATMUL, TENSORFLOW, Kept, find_kernels
from tfrcnn.layers import DetectionDecoder, Normalizer, ProposalLayer, RoIAlign, RoIPool
from tfrcnn.models import build_blank_detector, build_detector, load_detector, preset, save_detector
from tfrcnn.models.fpn import FeaturePyramid
from tfrcnn.models.transfer import with_categories

CATEGORIES = (Category(3, "cat"), Category(90, "dog"))
SETS = (TENSORFLOW, PORTABLE, PORTABLE_MATMUL)
others = pytest.mark.parametrize("kernels", SETS[1:], ids=lambda kernels: kernels.name)


def config(**changes):
    small = preset("tiny_fpn", CATEGORIES).detector
    return small.replace(detections=DetectionConfig(score_threshold=0.0, max_detections=10), **changes)


def random_boxes(rng, sets=2, count=40):
    corners = rng.uniform(0, 60, (sets, count, 2))
    return tf.constant(np.concatenate([corners, corners + rng.uniform(2, 40, (sets, count, 2))], -1), tf.float32)


@others
def test_nms_keeps_the_same_boxes_with_the_same_scores(kernels):
    rng = np.random.default_rng(0)
    boxes, valid = random_boxes(rng), tf.constant(rng.random((2, 40)) < 0.8)
    scores = tf.where(valid, tf.constant(np.sort(rng.random((2, 40)))[:, ::-1], tf.float32), ABSENT)
    for one, other in zip(kernels.nms(boxes, scores, valid, 15, 0.3), TENSORFLOW.nms(boxes, scores, valid, 15, 0.3)):
        np.testing.assert_array_equal(one, other)


@others
def test_pooling_normalising_and_upsampling_give_the_same_numbers(kernels):
    rng = np.random.default_rng(1)
    maps = [tf.constant(rng.normal(size=(2, 64 // s, 96 // s, 3)), tf.float32) for s in (4, 8)]
    boxes = random_boxes(rng)
    images, sizes = tf.constant(rng.uniform(0, 255, (2, 32, 64, 3)), tf.float32), tf.constant([[30.0, 64], [32, 50]])

    def run(kernels):
        yield RoIAlign(HeadConfig(pool_size=3), (4, 8), kernels)(maps, boxes)
        yield RoIPool(HeadConfig(pool_size=3), (4,), kernels)(maps[:1], boxes)
        yield Normalizer(ImageConfig(), kernels)(images, sizes)
        yield kernels.upsample(maps[1], 2, maps[0])

    for one, other in zip(run(kernels), run(TENSORFLOW)):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.slow
@others
def test_a_detector_of_each_set_finds_the_same(kernels):
    keras.utils.set_random_seed(0)
    reference = build_detector(config())
    detector = build_detector(config(), kernels=kernels)
    detector.set_weights(reference.get_weights())
    image = np.random.default_rng(0).uniform(0, 255, (1, 90, 120, 3)).astype(np.float32)
    np.testing.assert_allclose(detector(image)["scores"], reference(image)["scores"], atol=1e-5)
    layers = (detector.proposal_layer, detector.roi_pooling, detector.decoder, detector.normalizer, detector.fpn)
    assert all(layer.kernels is kernels and layer.supports_jit for layer in layers)
    assert not reference.proposal_layer.supports_jit


def test_a_set_of_the_users_own_is_what_every_layer_calls():
    """A soft NMS that drops nothing and halves all scores but the best: scores come out of the kernel, too."""
    calls = []

    def soft(boxes, scores, valid, max_output_size, iou_threshold):
        calls.append(iou_threshold)
        kept = TENSORFLOW.nms(boxes, scores, valid, max_output_size, 1.0)
        factors = tf.where(tf.range(max_output_size) > 0, 0.5, 1.0)
        return Kept(kept.indices, tf.where(kept.scores > ABSENT, kept.scores * factors, ABSENT), kept.counts)

    detector = build_detector(config(), kernels=replace(TENSORFLOW, name="soft", nms=soft))
    detector(np.zeros((1, 64, 64, 3), np.float32))
    assert set(calls) == {detector.config.test_proposals.nms_iou, detector.config.detections.nms_iou}
    layer = DetectionDecoder(DetectionConfig(), (10, 10, 5, 5), detector.kernels)
    boxes = tf.constant([[[10.0, 10, 30, 30], [10, 10, 30, 31]]])
    probabilities = tf.constant([[[0.8, 0.2], [0.6, 0.4]]])
    valid, size = tf.ones([1, 2], tf.bool), tf.constant([[99.0, 99]])
    detections = layer(probabilities, tf.zeros([1, 2, 1, 4]), boxes, valid, size, from_logits=False)
    np.testing.assert_allclose(detections["scores"][0, :3], [0.8, 0.3, 0])  # 0.6 halved instead of dropped


def test_an_unknown_set_is_an_error_that_lists_the_known_ones():
    with pytest.raises(InputError, match=r"one of tensorflow, portable, portable_matmul or .*Kernels, found 'fast'"):
        find_kernels("fast")
    assert find_kernels(PORTABLE) is PORTABLE


def test_a_keras_file_keeps_the_set(tmp_path):
    build_detector(config(), kernels="portable").save(tmp_path / "a.keras")
    assert keras.models.load_model(tmp_path / "a.keras").kernels is PORTABLE


OLD_NAMES = {"crop_and_resize": TENSORFLOW, "gather": PORTABLE, "matmul": PORTABLE_MATMUL}


@pytest.mark.parametrize(("old", "kernels"), OLD_NAMES.items())
def test_the_keyword_of_earlier_versions_warns_at_the_caller(old, kernels):
    with pytest.warns(DeprecationWarning, match=f"'{old}' is deprecated.*use kernels='{kernels.name}'") as caught:
        assert build_detector(config(), roi_align=old).kernels is kernels
    # Keras 2.15 itself warns of randrange
    places = [warning.filename for warning in caught if "randrange" not in str(warning.message)]
    assert places == [__file__]


@pytest.mark.slow
def test_every_function_that_took_the_keyword_still_does(tmp_path):
    detector = build_detector(config())
    save_detector(detector, tmp_path)
    for make in (
        lambda: tfrcnn.FasterRCNN(config(), roi_align="gather"),
        lambda: build_blank_detector(config(), roi_align="gather"),
        lambda: build_detector(config(), "none", "float32", "gather"),
        lambda: load_detector(tmp_path, roi_align="gather"),
        lambda: with_categories(detector, CATEGORIES, roi_align="gather")[0],
    ):
        with pytest.warns(DeprecationWarning, match="use kernels='portable'") as caught:
            assert make().kernels is PORTABLE
        assert [warning.filename for warning in caught] == [__file__]


def test_keywords_of_layers_of_earlier_versions_warn_at_the_caller():
    for make in (
        lambda: RoIAlign(HeadConfig(), (4,), implementation="gather"),
        lambda: RoIAlign(HeadConfig(), (4,), "gather"),
        lambda: ProposalLayer(ProposalConfig(), nms="padded"),
        lambda: DetectionDecoder(DetectionConfig(), (1, 1, 1, 1), nms="padded"),
    ):
        with pytest.warns(DeprecationWarning, match="use kernels='portable'") as caught:
            assert make().kernels is PORTABLE
        assert caught[0].filename == __file__


def test_layers_of_files_that_earlier_versions_saved_load_in_silence():
    layers = (
        (RoIAlign, {"config": HeadConfig().to_dict(), "strides": [4], "implementation": "matmul"}, PORTABLE_MATMUL),
        (RoIPool, {"config": HeadConfig().to_dict(), "strides": [4]}, TENSORFLOW),
        (ProposalLayer, {"config": ProposalConfig().to_dict(), "nms": "padded"}, PORTABLE),
        (FeaturePyramid, {"config": FPNConfig().to_dict(), "strides": [4, 8]}, TENSORFLOW),
    )
    for cls, saved, kernels in layers:
        layer = cls.from_config(saved)
        assert layer.kernels is kernels
        assert cls.from_config(layer.get_config()).kernels is kernels


def test_a_detector_of_a_file_that_an_earlier_version_saved_loads_in_silence():
    saved = {"name": "faster_rcnn", "config": config().to_dict(), "roi_align": "gather", "precision": "float32"}
    assert tfrcnn.FasterRCNN.from_config(saved).kernels is PORTABLE


def test_the_score_of_an_absent_box_is_defined_once():
    root = Path(tfrcnn.__file__).parent
    definitions = [path for path in root.rglob("*.py") if re.search(r"^ABSENT\b.* = ", path.read_text("utf-8"), re.M)]
    assert [path.relative_to(root).as_posix() for path in definitions] == ["kernels/interface.py"]
