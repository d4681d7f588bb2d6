"""Batch norms folded into convolutions give the same numbers, gradients, layers and weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.compat import KERAS_2, path_of, tensorflow_variable
from tfrcnn.config import BackboneConfig
from tfrcnn.models.backbones import build_backbone
from tfrcnn.models.backbones.folding import FoldedModel, can_fold, convolve_and_normalize

layers = keras.layers

PAIRS = {
    "plain": (lambda: layers.Conv2D(6, 3, padding="same", use_bias=False), {}),
    "bias": (lambda: layers.Conv2D(6, 3, padding="same", bias_initializer="random_normal"), {}),
    "strides": (lambda: layers.Conv2D(6, 3, strides=2, padding="same", use_bias=False), {}),
    "valid": (lambda: layers.Conv2D(6, 3, strides=2, use_bias=False), {}),
    "dilated": (lambda: layers.Conv2D(6, 3, dilation_rate=2, padding="same", use_bias=False), {}),
    "groups": (lambda: layers.Conv2D(6, 3, groups=2, use_bias=False), {}),
    "depthwise": (lambda: layers.DepthwiseConv2D(3, strides=2, padding="same", use_bias=False), {}),
    "depthwise, bias": (lambda: layers.DepthwiseConv2D(5, bias_initializer="random_normal"), {}),
    "no scale": (lambda: layers.Conv2D(6, 3, use_bias=False), {"scale": False}),
    "no center": (lambda: layers.Conv2D(6, 3, use_bias=False), {"center": False}),
}


def pair(make_conv, channels=4, **options):
    """Return a convolution and a batch norm with statistics far from 0 and 1."""
    conv, norm = make_conv(), layers.BatchNormalization(epsilon=1e-3, **options)
    conv.build((None, None, None, channels))
    norm.build(conv.compute_output_shape((1, 16, 16, channels)))
    rng = np.random.default_rng(0)
    for weight, low, high in zip(norm.weights, *_ranges(norm)):
        weight.assign(rng.uniform(low, high, weight.shape))
    return conv, norm


def _ranges(norm):
    ranges = {"gamma": (0.5, 2), "beta": (-1, 1), "moving_mean": (-1, 1), "moving_variance": (0.2, 3)}
    return zip(*(ranges[path_of(weight).split("/")[-1]] for weight in norm.weights))


@pytest.fixture
def maps():
    return tf.constant(np.random.default_rng(1).normal(size=(2, 11, 13, 4)), tf.float32)


def test_by_hand():
    conv, norm = layers.Conv2D(1, 1), layers.BatchNormalization(epsilon=0.01)
    conv.build((None, None, None, 1))
    norm.build((None, None, None, 1))
    conv.set_weights([np.full((1, 1, 1, 1), 2.0), np.full(1, 5.0)])
    norm.set_weights(
        [np.full(1, 3.0), np.full(1, 7.0), np.full(1, 1.0), np.full(1, 0.24)]
    )  # gamma, beta, mean, variance
    # (2 x + 5 - 1) / sqrt(0.24 + 0.01) * 3 + 7 = 12 x + 31
    x = tf.reshape([0.0, 1.0, -2.0], [1, 1, 3, 1])
    y = convolve_and_normalize(conv, norm, x, training=False)
    np.testing.assert_allclose(tf.reshape(y, [-1]), [31, 43, 7], rtol=1e-6)


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize("training", [False, None, True])
def test_numbers_and_gradients_are_those_of_the_two_layers(kind, training, maps):
    make_conv, options = PAIRS[kind]
    conv, norm = pair(make_conv, **options)
    norm.trainable = not training  # a frozen norm uses its statistics in training too
    assert can_fold(conv, norm)
    variables = [maps, *map(tensorflow_variable, [*conv.weights, *norm.weights[:-2]])]
    upstream = np.random.default_rng(3).normal(size=conv(maps).shape).astype(np.float32)
    results = []
    for compute in (
        lambda: norm(conv(maps), training=training),
        lambda: convolve_and_normalize(conv, norm, maps, training),
    ):
        with tf.GradientTape() as tape:
            tape.watch(variables)
            y = compute()
            loss = tf.reduce_sum(y * upstream)
        results.append([y, *tape.gradient(loss, variables)])
    for expected, actual in zip(*results):
        # float32 sums of up to 100 products, in different orders
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5 * float(tf.reduce_max(tf.abs(expected))))


def test_in_training_a_norm_that_learns_takes_the_batch_and_updates_its_statistics(maps):
    conv, norm = pair(PAIRS["plain"][0])
    other_conv, other_norm = pair(PAIRS["plain"][0])
    other_conv.set_weights(conv.get_weights())
    before = norm.moving_mean.numpy()
    y = convolve_and_normalize(conv, norm, maps, training=True)
    np.testing.assert_array_equal(y, other_norm(other_conv(maps), training=True))
    np.testing.assert_array_equal(norm.moving_mean, other_norm.moving_mean)
    assert np.any(norm.moving_mean.numpy() != before)
    np.testing.assert_allclose(np.std(y, axis=(0, 1, 2)), norm.gamma.numpy(), rtol=0.01)


def test_a_frozen_norm_keeps_its_statistics_in_training(maps):
    conv, norm = pair(PAIRS["plain"][0])
    norm.trainable = False
    before = norm.get_weights()
    convolve_and_normalize(conv, norm, maps, training=True)
    for old, new in zip(before, norm.get_weights()):
        np.testing.assert_array_equal(old, new)


def test_with_half_precision_the_kernel_is_folded_in_float32(maps):
    conv, norm = pair(lambda: layers.Conv2D(6, 3, use_bias=False, dtype="mixed_bfloat16"), dtype="mixed_bfloat16")
    y = convolve_and_normalize(conv, norm, maps, training=False)
    assert y.dtype == tf.bfloat16
    scale = norm.gamma / tf.sqrt(norm.moving_variance + norm.epsilon)
    kernel = tf.cast(conv.kernel * scale, tf.bfloat16)
    shift = tf.cast(norm.beta - norm.moving_mean * scale, tf.bfloat16)
    expected = tf.nn.conv2d(tf.cast(maps, tf.bfloat16), kernel, 1, "VALID") + shift
    np.testing.assert_allclose(tf.cast(y, tf.float32), tf.cast(expected, tf.float32), rtol=2**-7, atol=2**-7)


@pytest.mark.parametrize(
    "conv",
    [
        lambda: layers.Conv2D(6, 3, activation="relu"),
        lambda: layers.DepthwiseConv2D(3, depth_multiplier=2),
        lambda: layers.Conv2DTranspose(6, 3),
        lambda: layers.Conv2D(6, 3, dtype="bfloat16"),
        lambda: layers.Dense(6),
    ],
)
def test_what_is_not_understood_is_not_folded(conv):
    assert not can_fold(conv(), layers.BatchNormalization())
    assert not can_fold(layers.Conv2D(6, 3), layers.BatchNormalization(axis=1))
    assert not can_fold(layers.Conv2D(6, 3), layers.LayerNormalization())


def small(tap_the_convolution=False):
    inputs = keras.Input((None, None, 3))
    between = layers.Conv2D(4, 3, use_bias=False, name="a")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="a_bn")(between))
    x = layers.BatchNormalization(name="b_bn")(layers.DepthwiseConv2D(3, name="b")(x))
    return inputs, [between, x] if tap_the_convolution else [x]


def operators(model):
    graph = tf.function(lambda x: model(x, training=False)).get_concrete_function(tf.TensorSpec([1, 32, 32, 3])).graph
    return [operation.name.lower() for operation in graph.get_operations()]


def test_a_folded_model_has_the_layers_and_weights_of_the_one_that_was_written():
    inputs, outputs = small()
    plain, folded = keras.Model(inputs, outputs), FoldedModel(inputs, outputs)
    assert [layer.name for layer in folded.layers] == [layer.name for layer in plain.layers]
    assert [id(weight) for weight in folded.weights] == [id(weight) for weight in plain.weights]
    assert any("batchnorm" in name for name in operators(plain))
    assert not any("batchnorm" in name for name in operators(folded))


def test_a_folded_model_sees_weights_and_freezing_that_come_later(maps):
    inputs, outputs = small()
    plain, folded = keras.Model(inputs, outputs), FoldedModel(inputs, outputs)
    rng = np.random.default_rng(2)
    folded.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in folded.weights])
    images = maps[..., :3]
    np.testing.assert_allclose(folded(images), plain(images), rtol=1e-5, atol=1e-5)
    folded.get_layer("a_bn").trainable = False
    before = [folded.get_layer(name).moving_mean.numpy() for name in ("a_bn", "b_bn")]
    folded(images, training=True)
    after = [folded.get_layer(name).moving_mean.numpy() for name in ("a_bn", "b_bn")]
    np.testing.assert_array_equal(after[0], before[0])
    assert np.any(after[1] != before[1])


def test_what_a_convolution_gives_to_others_too_is_still_there(maps):
    inputs, outputs = small(tap_the_convolution=True)
    plain, folded = keras.Model(inputs, outputs), FoldedModel(inputs, outputs)
    for expected, actual in zip(plain(maps[..., :3]), folded(maps[..., :3])):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)
    names = [name for name in operators(folded) if "batchnorm" in name]
    assert names
    assert all("a_bn" in name for name in names)  # the second norm is still folded


def conv(**options):
    return layers.Conv2D(4, 3, padding="same", use_bias=False, **options)


def one_norm_behind_two(x):
    norm = layers.BatchNormalization()
    return [norm(conv()(x)), norm(conv()(x))]


def normalised_at_the_first_use(x):
    twice = conv()
    return [twice(layers.BatchNormalization()(twice(x)))]


def normalised_at_the_second_use(x):
    twice = conv()
    return [layers.BatchNormalization()(twice(twice(x)))]


def one_convolution_with_two_norms(x):
    twice = conv()
    return [layers.BatchNormalization()(twice(layers.BatchNormalization()(twice(x))))]


def added_to_what_was_normalised(x):
    y = conv()(x)
    return [layers.BatchNormalization()(y) + y]


def gated_by_what_was_normalised(x):
    y = conv()(x)
    return [layers.BatchNormalization()(y) * layers.Activation("sigmoid")(y)]


def penalised(x):
    return [layers.BatchNormalization()(conv(activity_regularizer="l2")(x))]


@pytest.mark.parametrize(
    "network",
    [
        one_norm_behind_two,
        normalised_at_the_first_use,
        normalised_at_the_second_use,
        one_convolution_with_two_norms,
        added_to_what_was_normalised,
        gated_by_what_was_normalised,
        penalised,
    ],
)
def test_what_is_used_more_than_once_is_computed_as_it_is(network, maps):
    inputs = keras.Input((None, None, 4))
    outputs = network(inputs)
    plain, folded = keras.Model(inputs, outputs), FoldedModel(inputs, outputs)
    rng = np.random.default_rng(2)
    plain.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in plain.weights])
    for expected, actual in zip(tf.nest.flatten(plain(maps)), tf.nest.flatten(folded(maps))):
        np.testing.assert_array_equal(actual, expected)
    assert len(folded.losses) == len(plain.losses)


@pytest.mark.skipif(KERAS_2, reason="Keras 2 writes no layers of a class with its own call")
def test_a_folded_model_is_saved_and_loaded_as_any_other(tmp_path, maps):
    model = FoldedModel(*small(), name="folds")
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, FoldedModel)
    assert not any("batchnorm" in name for name in operators(loaded))
    np.testing.assert_array_equal(loaded(maps[..., :3]), model(maps[..., :3]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v3_large", "MobileNetV2", "EfficientNetB0"])
def test_no_batch_norm_of_a_backbone_with_depthwise_convolutions_is_a_pass_of_its_own(name):
    backbone = build_backbone(BackboneConfig(name)).model
    assert any(isinstance(layer, layers.BatchNormalization) for layer in backbone.layers)
    assert not [operator for operator in operators(backbone) if "batchnorm" in operator]


def test_a_resnet_is_computed_as_torchvision_does():
    assert any("batchnorm" in operator for operator in operators(build_backbone(BackboneConfig("resnet50")).model))
