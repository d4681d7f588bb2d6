"""ResNet: its structure, and weights from keras.applications."""

import functools

import keras
import numpy as np
import pytest

from tfrcnn.errors import InputError
from tfrcnn.models.backbones import output_strides
from tfrcnn.models.backbones.keras_model import find_taps
from tfrcnn.models.backbones.resnet import APPLICATIONS_EPSILON, load_applications_resnet, resnet, stages, taps

CHANNELS = (256, 512, 1024, 2048)


@functools.cache
def network(depth, **options):
    """Return a network shared by the tests that only read it."""
    return resnet(depth, **options)


def tapped(model, names):
    return keras.Model(model.inputs[0], [model.get_layer(name).output for name in names])


def images(*size):
    return np.random.default_rng(0).normal(size=(1, *size, 3)).astype(np.float32)


@pytest.mark.parametrize(("depth", "classifier", "normalised"), [(50, 25_557_032, 26_560), (101, 44_549_160, 52_672)])
def test_weights_are_as_many_as_torchvisions(depth, classifier, normalised):
    trainable = sum(int(np.prod(v.shape)) for v in network(depth).trainable_weights)
    assert trainable == classifier - 1000 * (2048 + 1)  # the published count, minus the last layer
    assert network(depth).count_params() == trainable + 2 * normalised  # mean and variance per normalised channel


@pytest.mark.parametrize("size", [(64, 96), (75, 101)])
def test_sizes_are_divided_and_rounded_up(size):
    maps = tapped(network(50), taps(50))(images(*size))
    assert [tuple(m.shape) for m in maps] == [
        (1, -(-size[0] // stride), -(-size[1] // stride), channels)
        for stride, channels in zip((4, 8, 16, 32), CHANNELS)
    ]


@pytest.mark.parametrize("depth", [50, 101])
def test_stages_are_in_the_order_of_the_layers_and_hold_what_torchvision_freezes(depth):
    model = network(depth)
    assert output_strides(tapped(model, stages(depth))) == (4, 4, 8, 16, 32)
    names = [layer.name for layer in model.layers]
    assert sorted(stages(depth), key=names.index) == list(stages(depth))
    two_stages = names[: names.index(stages(depth)[1]) + 1]
    frozen = [name for name in names if name.startswith(("conv1", "bn1", "layer1_"))]
    assert set(frozen) <= set(two_stages)
    assert not [name for name in two_stages if name.startswith(("layer2", "layer3", "layer4"))]


@pytest.mark.parametrize("stride_in_1x1", [False, True])
def test_the_stride_is_where_it_is_asked_for(stride_in_1x1):
    model = network(50, stride_in_1x1=stride_in_1x1)
    assert model.get_layer("layer2_0_conv1").strides == ((2, 2) if stride_in_1x1 else (1, 1))
    assert model.get_layer("layer2_0_conv2").strides == ((1, 1) if stride_in_1x1 else (2, 2))
    assert model.get_layer("layer2_0_downsample_0").strides == (2, 2)
    strided = [layer.name for layer in model.layers if getattr(layer, "strides", (1, 1)) != (1, 1)]
    assert len(strided) == 2 + 3 * 2


def test_another_depth_is_refused():
    with pytest.raises(InputError, match="must be one of 50, 101, found 34"):
        resnet(34)


def random_application(depth, seed=0):
    """Return keras.applications' network with random variables, so that a missing bias or statistic shows."""
    constructor = getattr(keras.applications, f"ResNet{depth}")
    model = constructor(include_top=False, weights=None, input_shape=(None, None, 3))
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        values = 0.1 * rng.normal(size=variable.shape)
        if variable.name == "kernel":
            values *= 10 * np.sqrt(2 / np.prod(variable.shape[:3]))
        if variable.name in ("gamma", "moving_variance"):
            values = np.abs(values) + (0.5 if variable.name == "gamma" else 1)
        variable.assign(values)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("depth", [50, 101])
def test_weights_of_keras_applications_give_its_feature_maps(depth):
    source = random_application(depth)
    model = resnet(depth, stride_in_1x1=True, norm_epsilon=APPLICATIONS_EPSILON)
    load_applications_resnet(model, source)
    reference = tapped(source, find_taps(source))
    extractor = tapped(model, taps(depth))
    for size in ((64, 96), (75, 101)):
        x = images(*size)
        for actual, expected in zip(extractor(x), reference(x)):
            # float32 has 6e-8 per layer; up to 200 layers round the bias at different places
            np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("ResNet101", {"stride_in_1x1": True, "norm_epsilon": APPLICATIONS_EPSILON}, "conv4_block10_1_bn"),
        ("ResNet50V2", {"stride_in_1x1": True, "norm_epsilon": APPLICATIONS_EPSILON}, "is not the network resnet50"),
        ("ResNet50", {"norm_epsilon": APPLICATIONS_EPSILON}, r"strides of layer\d_0_conv\d must be"),
        ("ResNet50", {"stride_in_1x1": True}, r"epsilon of bn1 must be 1.001e-05, as in resnet50, found 1e-05"),
    ],
)
def test_another_network_of_keras_applications_is_refused(source, options, message):
    constructor = getattr(keras.applications, source)
    application = constructor(include_top=False, weights=None, input_shape=(None, None, 3))
    model = network(50, **options)
    before = model.get_layer("conv1").kernel.numpy()
    with pytest.raises(InputError, match=message):
        load_applications_resnet(model, application)
    np.testing.assert_array_equal(model.get_layer("conv1").kernel, before)
