"""torchvision's four detectors with imported weights, stage by stage and end to end.

Each stage gets torchvision's output of the previous stage and must give torchvision's next one. `stages.py` prints the
same comparison as a table.

Tolerances: float32 has 3e-5 px at 300 px. If the reference records its own float32 error, that error is the limit. The
backbone, the longest stage, may have twice that error, because the two libraries sum in different orders.
"""

import json

import numpy as np
import pytest

from tfrcnn.config import HeadConfig
from tfrcnn.export import TARGETS, ExportOptions, load
from tfrcnn.export.check.differences import differences, first_divergent
from tfrcnn.export.contract import prepare
from tfrcnn.export.onnx.writer import stage_outputs
from tfrcnn.export.stages import run_stages
from tfrcnn.layers import RoIAlign

from .stages import NAMES, SCORE_TOLERANCE, Golden, measure, small, unmatched

LIMITS = {
    "transform": 4e-6,  # torchvision normalises before it interpolates: a few ulps of values up to 2.6
    "anchors": 0.0,
    "decoded anchors, px": 1e-3,  # boxes of up to some thousand pixels, before clipping
    "proposals, px": 1e-4,
    "scores": 1e-6,
    "detections, px": 1e-4,
}

slow = pytest.mark.slow
DETECTORS = [name if "320" in name else pytest.param(name, marks=slow) for name in NAMES]


@pytest.fixture(scope="module")
def detectors(golden_root):
    """Return a function that makes each detector once, by name."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = small(golden_root, name)
        return made[name]

    return get


@pytest.mark.parametrize("name", DETECTORS)
def test_every_stage_is_torchvisions(name, golden_root, detectors):
    folder = golden_root / name
    errors = json.loads((folder / "meta.json").read_text())["landscape"]["fp32_vs_fp64_max_abs"]
    stages = measure(detectors(name), Golden(folder, "landscape"), errors)
    assert len(stages) == 13
    for stage in stages:
        limit = LIMITS.get(stage.name)
        if limit is None:
            limit = stage.reference_error * (2 if stage.name == "backbone" else 1)
        assert stage.difference <= limit, stage


# The number of each library's 100 detections that may differ by float32 round-off. Noise of one unit in the last place
# of the image moves up to two detections of a ResNet with random weights, and none of a MobileNet. The order in which a
# processor sums does the same: torchvision's float32 and float64 agree on 99 of v2's detections.
WITHOUT_PARTNER = {"fasterrcnn_resnet50_fpn": 2, "fasterrcnn_resnet50_fpn_v2": 2}


@pytest.mark.parametrize("case", ["landscape", "portrait_downscaled"])
@pytest.mark.parametrize("name", DETECTORS)
def test_detections_from_pixels_are_torchvisions(name, case, golden_root, detectors):
    golden = Golden(golden_root / name, case)
    image = golden["image"][None].astype(np.float32)
    detections = {key: value.numpy() for key, value in detectors(name)(image).items()}
    assert detections["num_detections"][0] == len(golden["scores"]) == 100
    assert unmatched(detections, golden, SCORE_TOLERANCE[name]) <= 2 * WITHOUT_PARTNER.get(name, 0)


# both bodies; the test below covers a ResNet in ONNX
ROUND_TRIPS = [
    (NAMES[-1], "tflite"),
    *(pytest.param(NAMES[-1], form, marks=pytest.mark.soak) for form in ("saved_model", "onnx")),
    *(pytest.param("fasterrcnn_resnet50_fpn", form, marks=pytest.mark.soak) for form in ("saved_model", "tflite")),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "form"), ROUND_TRIPS)
def test_detections_of_an_exported_checkpoint_are_torchvisions(name, form, golden_root, detectors, tmp_path):
    golden, path = Golden(golden_root / name, "landscape"), tmp_path / f"a{TARGETS[form].suffix}"
    # a TFLite file has one size: the size of torchvision's padded image
    size = golden["transformed"].shape[2:] if form == "tflite" else None
    TARGETS[form].write(detectors(name), path, ExportOptions(form, image_size=size))
    detections = load(path).detect(golden["image"])
    outputs = {key: getattr(detections, key)[None] for key in ("boxes", "scores", "labels")}
    assert len(detections.scores) == len(golden["scores"]) == 100
    assert unmatched({**outputs, "num_detections": [100]}, golden, score=1e-3) == 0


@pytest.mark.soak
def test_an_onnx_file_of_a_resnet_is_the_same_network_behind_its_resize(golden_root, detectors):
    """Start every stage from ONNX's resized image, because the resized images differ by round-off.

    ONNX's Resize divides by a scale; TensorFlow and torch multiply by its inverse. In float32 its samples are off by
    1e-5 px. The reference's image is noise, and ResNet-50 with random weights amplifies that to a hundredth of a score.
    So end-to-end detections cannot be compared.
    """
    name = "fasterrcnn_resnet50_fpn_v2"
    image = Golden(golden_root / name, "landscape")["image"]
    actual = stage_outputs(detectors(name), "float32", None, image)
    reference = prepare(detectors(name), kernels="tensorflow")
    prepared = reference.get_layer("preprocessor")(image[None].astype(np.float32))
    np.testing.assert_allclose(
        actual["preprocessing_0"], reference.normalizer(prepared["images"], prepared["image_sizes"]), atol=1e-4
    )
    reference.normalizer.call = lambda images, sizes: actual["preprocessing_0"]
    expected = run_stages(reference, prepared["images"], prepared["image_sizes"])
    errors = differences(actual, {key: np.asarray(value) for key, value in expected.items()})
    assert first_divergent(errors, "float32") is None
    assert (errors["proposals"], errors["detections"]) == (0, 0)


@pytest.mark.parametrize("kernels", ["tensorflow", "portable"])
def test_boxes_are_pooled_from_torchvisions_levels_by_both_kernels(resnet, kernels):
    layer = RoIAlign(HeadConfig(), (4, 8, 16, 32), kernels)
    proposals = resnet.yxyx("proposals")[None]
    np.testing.assert_array_equal(layer.assign_levels(proposals)[0], resnet["roi_levels"])
    pooled = layer([resnet.nhwc(f"feat_{level}") for level in range(4)], proposals)
    np.testing.assert_allclose(pooled[0], resnet.nhwc("roi_features"), atol=1e-4)


def test_image_size_is_torchvisions(resnet, detectors):
    prepared = detectors(NAMES[-1]).get_layer("preprocessor")(resnet["image"][None].astype(np.float32))
    np.testing.assert_array_equal(prepared["image_sizes"], resnet.image_sizes())
