"""torchvision's four detectors, with its weights through the importer: each stage, given torchvision's own previous
one, gives torchvision's next; and the detections at the end. `stages.py` prints the same as a table.

Tolerances: float32 has 3e-5 px at 300 px. Where the reference records its own float32 error, that is the limit: the
longest stage, the backbone, may have it twice, since its error and ours are of different orders of summation.
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
    "transform": 4e-6,  # torchvision normalises before it interpolates: a few ulp of values up to 2.6
    "anchors": 0.0,
    "decoded anchors, px": 1e-3,  # of boxes up to some thousand pixels, before they are clipped
    "proposals, px": 1e-4,
    "scores": 1e-6,
    "detections, px": 1e-4,
}

slow = pytest.mark.slow
DETECTORS = [name if "320" in name else pytest.param(name, marks=slow) for name in NAMES]


@pytest.fixture(scope="module")
def detectors(golden_root):
    """By name, each made once."""
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


# How many of the 100 detections of either library may be where float32 does not reach: torchvision's own float32 and
# float64 agree on 99 of v2's, and on all of the others'. Which one it is depends on the processor's order of sums.
WITHOUT_PARTNER = {"fasterrcnn_resnet50_fpn_v2": 1}


@pytest.mark.parametrize("case", ["landscape", "portrait_downscaled"])
@pytest.mark.parametrize("name", DETECTORS)
def test_detections_from_pixels_are_torchvisions(name, case, golden_root, detectors):
    golden = Golden(golden_root / name, case)
    found = {key: value.numpy() for key, value in detectors(name)(golden["image"][None].astype(np.float32)).items()}
    assert found["num_detections"][0] == len(golden["scores"]) == 100
    assert unmatched(found, golden, SCORE_TOLERANCE[name]) <= 2 * WITHOUT_PARTNER.get(name, 0)


# Both bodies, but no ResNet in ONNX: see the test below
ROUND_TRIPS = [
    *((NAMES[-1], form) for form in TARGETS),
    *(("fasterrcnn_resnet50_fpn", form) for form in ("saved_model", "tflite")),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "form"), ROUND_TRIPS)
def test_detections_of_an_exported_checkpoint_are_torchvisions(name, form, golden_root, detectors, tmp_path):
    golden, path = Golden(golden_root / name, "landscape"), tmp_path / f"a{TARGETS[form].suffix}"
    # a TFLite file is for one size: that of torchvision's padded image
    size = golden["transformed"].shape[2:] if form == "tflite" else None
    TARGETS[form].write(detectors(name), path, ExportOptions(form, image_size=size))
    detections = load(path).detect(golden["image"])
    found = {key: getattr(detections, key)[None] for key in ("boxes", "scores", "labels")}
    assert len(detections.scores) == len(golden["scores"]) == 100
    assert unmatched({**found, "num_detections": [100]}, golden, score=1e-3) == 0


@pytest.mark.slow
def test_an_onnx_file_of_a_resnet_is_the_same_network_behind_its_resize(golden_root, detectors):
    """ONNX's Resize divides by a scale where TensorFlow and torch multiply by its inverse: in float32 its samples lie
    1e-5 px elsewhere. The reference's image is noise, and ResNet-50 of random weights amplifies that to a hundredth of
    a score, so that detections compare nothing. Given what Resize gave, every stage is the same."""
    name = "fasterrcnn_resnet50_fpn_v2"
    image = Golden(golden_root / name, "landscape")["image"]
    ours = stage_outputs(detectors(name), "float32", None, image)
    reference = prepare(detectors(name), kernels="tensorflow")
    prepared = reference.get_layer("preprocessor")(image[None].astype(np.float32))
    np.testing.assert_allclose(
        ours["preprocessing_0"], reference.normalizer(prepared["images"], prepared["image_sizes"]), atol=1e-4
    )
    reference.normalizer.call = lambda images, sizes: ours["preprocessing_0"]
    theirs = run_stages(reference, prepared["images"], prepared["image_sizes"])
    found = differences(ours, {key: np.asarray(value) for key, value in theirs.items()})
    assert first_divergent(found, "float32") is None
    assert (found["proposals"], found["detections"]) == (0, 0)


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
