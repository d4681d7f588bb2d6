"""Presets with seeded random weights through every format: no trained model is needed for exports to be right."""

import pytest

from tfrcnn.config import ClassLossConfig, ProposalConfig
from tfrcnn.export import TARGETS, ExportOptions, export, to_tflite
from tfrcnn.models import load_detector, preset, save_detector

from .random_detectors import CATEGORIES, make_detector, make_image

PRESETS = (
    "mobilenet_v2_fpn",
    *(pytest.param(name, marks=pytest.mark.soak) for name in ("resnet50_fpn", "resnet50_c4", "vgg16")),
)
# a SavedModel has the operators of the Keras model, so its row differs least
FORMATS = [pytest.param(name, marks=pytest.mark.soak) if name == "saved_model" else name for name in TARGETS]
SIZE = (256, 256)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=PRESETS)
def detector(request):
    changes = {}
    if request.param == "resnet50_c4":
        changes["test_proposals"] = ProposalConfig(1000, 50)  # the head is a fifth of a ResNet for each proposal
    if request.param == "vgg16":
        # the converters copy the weights many times: 11 GB for the whole network, whose first fully connected layer is
        # most of it
        changes["head"] = preset("vgg16", CATEGORIES).detector.head.replace(units=(64, 64))
    return make_detector(request.param, SIZE, **changes)


@pytest.mark.parametrize("format", FORMATS)
def test_a_preset_detects_the_same_in_every_format(format, detector, tmp_path):
    report = export(detector, tmp_path / f"a{TARGETS[format].suffix}", ExportOptions(format))
    assert report.passed, report.to_markdown()
    assert report.detections >= 50


@pytest.mark.soak
def test_the_kernel_that_is_too_large_for_the_quantizer_stays_float32(tmp_path):
    detector = make_detector("resnet50_c4", (64, 64), test_proposals=ProposalConfig(500, 10))
    images = [make_image(64, 64, seed=seed)[0] for seed in range(2)]
    path = to_tflite(detector, tmp_path / "a.tflite", (64, 64), precision="int8", representative=images)
    large = 3 * 3 * 1024 * 1024
    small = detector.count_params() - large
    assert 4 * large + small < path.stat().st_size < 1.05 * (4 * large + small)


@pytest.fixture(scope="module")
def sigmoid_detector(tmp_path_factory):
    """A detector with a sigmoid per class, as its folder gives it back."""
    folder = tmp_path_factory.mktemp("detector")
    head = preset("tiny_fpn").detector.head.replace(class_loss=ClassLossConfig("sigmoid_focal"))
    save_detector(make_detector(head=head, sharpness=2.0), folder)
    detector = load_detector(folder)
    assert detector.decoder.scores == "sigmoid"
    return detector


@pytest.mark.parametrize("format", ["onnx", pytest.param("tflite", marks=pytest.mark.soak)])
def test_a_head_of_sigmoids_detects_the_same_in_other_runtimes(format, sigmoid_detector, tmp_path):
    report = export(sigmoid_detector, tmp_path / f"a{TARGETS[format].suffix}", ExportOptions(format))
    assert report.passed, report.to_markdown()
    assert report.detections >= 50
