"""Weights are converted from torch's layouts, and a transfer leaves nothing out."""

import keras
import numpy as np
import pytest

from tfrcnn.errors import InputError
from tfrcnn.models.backbones.mobilenet_v3 import mobilenet_v3_large
from tfrcnn.models.backbones.resnet import resnet
from tfrcnn.weights.torch_layout import (
    Assignment,
    assign,
    body_assignments,
    classifier_module,
    conv_kernel,
    depthwise_kernel,
    detector_module,
    flattened_kernel,
    layer_assignments,
    unchanged,
)


def numbered(*shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def test_convolution_sums_over_channels_and_kernel_as_torchs():
    kernel, x = numbered(4, 3, 2, 5), np.random.default_rng(0).normal(size=(3, 2, 5))
    expected = np.einsum("ochw,chw->o", kernel, x)
    layer = keras.layers.Conv2D(4, (2, 5), use_bias=False)
    layer.build((None, 2, 5, 3))
    layer.kernel.assign(conv_kernel(kernel))
    np.testing.assert_allclose(layer(x.transpose(1, 2, 0)[None])[0, 0, 0], expected, rtol=1e-5)


def test_depthwise_convolution_keeps_channels_apart_as_torchs():
    kernel, x = numbered(3, 1, 2, 2), np.random.default_rng(0).normal(size=(3, 2, 2))
    expected = np.einsum("chw,chw->c", kernel[:, 0], x)
    layer = keras.layers.DepthwiseConv2D(2, use_bias=False)
    layer.build((None, 2, 2, 3))
    layer.weights[0].assign(depthwise_kernel(kernel))  # Keras 2 has another attribute for it
    np.testing.assert_allclose(layer(x.transpose(1, 2, 0)[None])[0, 0, 0], expected, rtol=1e-5)


def test_flattened_kernel_takes_a_map_flattened_channels_last():
    weight, x = numbered(5, 3 * 2 * 4), np.random.default_rng(0).normal(size=(3, 2, 4))
    expected = weight @ x.reshape(-1)
    np.testing.assert_allclose(x.transpose(1, 2, 0).reshape(-1) @ flattened_kernel(2, 4)(weight), expected, rtol=1e-6)


def test_dense_and_batch_norm_take_torchs_four_and_two_arrays():
    layers = [keras.layers.Dense(2), keras.layers.BatchNormalization()]
    pairs = []
    for layer in layers:
        layer.build((None, 3))
        pairs += layer_assignments(layer, type(layer).__name__)
    state = {
        "Dense.weight": numbered(2, 3),
        "Dense.bias": numbered(2),
        **{f"BatchNormalization.{name}": numbered(3) + i for i, name in enumerate(("weight", "bias"))},
        **{f"BatchNormalization.running_{name}": numbered(3) + i for i, name in ((2, "mean"), (3, "var"))},
        "BatchNormalization.num_batches_tracked": np.array(7),
    }
    assign([v for layer in layers for v in layer.weights], pairs, state)
    np.testing.assert_array_equal(layers[0].kernel, state["Dense.weight"].T)
    np.testing.assert_array_equal(layers[0].bias, [0, 1])
    for i, weight in enumerate(layers[1].get_weights()):  # gamma, beta, mean, variance
        np.testing.assert_array_equal(weight, numbered(3) + i)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "count", "key"),
    [
        (lambda: resnet(50), 53 * 5, "layer3.5.bn2.running_var"),
        (lambda: resnet(50), 53 * 5, "layer4.0.downsample.1.weight"),
        (lambda: resnet(101), 104 * 5, "layer3.22.conv3.weight"),
        (mobilenet_v3_large, 46 * 5 + 8 * 4, "features.15.block.2.fc2.bias"),
        (mobilenet_v3_large, 46 * 5 + 8 * 4, "features.1.block.1.1.running_mean"),
    ],
)
def test_every_weight_of_a_body_has_one_key(model, count, key):
    body = model()
    pairs = body_assignments(body, classifier_module)
    assert len({each.key for each in pairs}) == len(pairs) == count
    assert {id(each.variable) for each in pairs} == {id(v) for v in body.weights}
    assert key in {each.key for each in pairs}
    in_detector = {each.key for each in body_assignments(body, detector_module)}
    assert "backbone.body." + key.removeprefix("features.") in in_detector


def test_a_layer_that_torch_keeps_elsewhere_is_an_error():
    layer = keras.layers.Conv2DTranspose(2, 3, name="up")
    layer.build((None, 4, 4, 3))
    with pytest.raises(TypeError, match="weights of up, a Conv2DTranspose"):
        layer_assignments(layer, "up")
    assert layer_assignments(keras.layers.ReLU(), "relu") == []


@pytest.fixture
def dense():
    layer = keras.layers.Dense(2, name="dense")
    layer(np.zeros((1, 3)))  # Keras 2 names the variables of a call with their layer
    return layer


STATE = {"fc.weight": numbered(2, 3), "fc.bias": numbered(2)}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"fc.weight": STATE["fc.weight"]}, r"1 missing \(fc.bias\), 0 not used"),
        ({**STATE, "other.weight": numbered(1)}, r"0 missing, 1 not used \(other.weight\)"),
        ({**STATE, "fc.weight": numbered(3, 2)}, r"fc.weight of shape \(3, 2\) does not fit dense/kernel \(3, 2\)"),
        ({**STATE, "fc.weight": numbered(6)}, r"fc.weight of shape \(6,\) does not fit dense/kernel \(3, 2\)"),
    ],
)
def test_a_state_of_another_network_is_refused_and_nothing_changed(dense, state, message):
    before = dense.get_weights()
    with pytest.raises(InputError, match=message):
        assign(dense.weights, layer_assignments(dense, "fc"), state)
    for weight, old in zip(dense.get_weights(), before):
        np.testing.assert_array_equal(weight, old)


def test_assignments_that_leave_out_or_repeat_are_an_error(dense):
    pairs = layer_assignments(dense, "fc")
    for wrong in (pairs[:1], [*pairs, pairs[0]], [pairs[0], Assignment(dense.bias, "fc.weight", unchanged)]):
        with pytest.raises(ValueError, match="exactly once"):
            assign(dense.weights, wrong, STATE)
