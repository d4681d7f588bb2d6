"""The backbones with torchvision's weights give torchvision's feature maps.

The reference records, for each of its tensors, the difference between torchvision in float32 and in float64. This is
the error of one order of summation. Another order has another error, so the two may differ by twice as much. Both are
maxima of a sample, which allows another factor of two.
"""

import json

import keras
import numpy as np
import pytest

from tfrcnn.models.backbones import mobilenet_v3, resnet
from tfrcnn.weights.torch_layout import assign, body_assignments, detector_module, is_bookkeeping

from .stages import Golden, reference_weights

BODIES = {
    "fasterrcnn_resnet50_fpn": (lambda: resnet.resnet(50), resnet.taps(50)),
    "fasterrcnn_resnet50_fpn_v2": (lambda: resnet.resnet(50), resnet.taps(50)),
    "fasterrcnn_mobilenet_v3_large_fpn": (mobilenet_v3.mobilenet_v3_large, mobilenet_v3.TAPS),
    "fasterrcnn_mobilenet_v3_large_320_fpn": (mobilenet_v3.mobilenet_v3_large, mobilenet_v3.TAPS),
}


def body_shapes(folder):
    shapes = json.loads((folder / "state_dict_shapes.json").read_text())
    return {key: shape for key, shape in shapes.items() if key.startswith("backbone.body.")}


@pytest.mark.parametrize("name", BODIES)
def test_keys_are_exactly_torchvisions(golden_root, name):
    build, _ = BODIES[name]
    keys = [each.key for each in body_assignments(build(), detector_module)]
    expected = [key for key in body_shapes(golden_root / name) if not is_bookkeeping(key)]
    assert sorted(keys) == sorted(expected)


@pytest.mark.parametrize("name", BODIES)
def test_feature_maps_are_torchvisions(golden_root, name):
    folder = golden_root / name
    build, taps = BODIES[name]
    model = build()
    state = reference_weights(golden_root).det_state(body_shapes(folder), np.load(folder / "calib.npz"))
    assign(model.weights, body_assignments(model, detector_module), state)
    extractor = keras.Model(model.inputs[0], [model.get_layer(tap).output for tap in taps])

    golden = Golden(folder, "landscape")
    reference_error = json.loads((folder / "meta.json").read_text())["landscape"]["fp32_vs_fp64_max_abs"]
    features = extractor(golden.nhwc("transformed"))
    assert len(features) == len(golden.levels("body"))
    for level, feature in zip(golden.levels("body"), features):
        np.testing.assert_allclose(feature, golden.nhwc(level), rtol=0, atol=4 * reference_error[level], err_msg=level)
