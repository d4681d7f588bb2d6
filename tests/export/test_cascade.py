"""A Cascade R-CNN in every format: three heads, one after another, in one file."""

import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.config import CascadeConfig, ClassLossConfig
from tfrcnn.export import TARGETS, ExportOptions, export
from tfrcnn.export.check.differences import differences, first_divergent
from tfrcnn.export.check.ties import replays
from tfrcnn.export.stages import STAGES, run_stages
from tfrcnn.inference import Predictor
from tfrcnn.models import preset

from .random_detectors import make_detector, make_image, spread

SIZE = (160, 192)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def detector():
    head = preset("tiny_fpn").detector.head.replace(class_agnostic=True, cascade=CascadeConfig())
    detector = make_detector(size=SIZE, head=head)
    stages, sizes = detector.stages, tf.constant([SIZE], tf.float32)
    images = make_image(*SIZE).astype(np.float32)
    features = stages.features(images, sizes, training=False)
    proposals = stages.propose(stages.rpn(features.rpn, images), sizes)
    for stage, head in enumerate(detector.cascade.heads, start=1):
        pooled = stages.second_stage(features.head, proposals, sizes, training=False).pooled[stage]
        hidden = head.hidden[0](tf.reshape(pooled, [*pooled.shape[:2], -1]))
        spread(head.classifier, hidden, 6.0, stage)
        spread(head.regressor, hidden, 1.0, stage)
    return detector


@pytest.mark.parametrize(
    "format", ["onnx", *(pytest.param(name, marks=pytest.mark.soak) for name in TARGETS if name != "onnx")]
)
def test_a_cascade_detects_the_same_in_every_format(format, detector, tmp_path):
    report = export(detector, tmp_path / f"a{TARGETS[format].suffix}", ExportOptions(format))
    assert report.passed, report.to_markdown()
    assert report.detections >= 50


def test_a_later_head_that_is_off_is_named(detector):
    images, sizes = make_image(*SIZE).astype(np.float32), tf.constant([SIZE], tf.float32)
    outputs = {name: value.numpy() for name, value in run_stages(detector, images, sizes).items()}
    assert {name.rsplit("_", 1)[0] for name in outputs} == set(STAGES)
    for stage in range(3):
        for name in (f"head_{2 * stage}", f"head_{2 * stage + 1}"):
            off = {**outputs, name: outputs[name] + np.float32(0.01 * np.abs(outputs[name]).max())}
            assert first_divergent(differences(off, outputs), "float32") == "head"


def test_noise_of_round_off_leaves_most_detections_where_they_are(detector):
    image = make_image(*SIZE)[0]
    expected, replay = Predictor(detector).detect(image), next(replays(detector, image))
    distances = np.abs(replay.boxes[:, None] - expected.boxes).max(axis=2).min(axis=0)
    assert np.mean(distances < 0.1) > 0.9


def test_noise_of_round_off_leaves_the_scores_of_sigmoids_where_they_are():
    loss = ClassLossConfig("sigmoid_focal")
    head = preset("tiny_fpn").detector.head.replace(class_agnostic=True, cascade=CascadeConfig(), class_loss=loss)
    sigmoids, image = make_detector(size=(64, 64), head=head), make_image()[0]
    expected, replay = Predictor(sigmoids).detect(image), next(replays(sigmoids, image))
    np.testing.assert_allclose(replay.scores[:5], expected.scores[:5], atol=1e-3)
