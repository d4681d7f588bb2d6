"""Backbones: where their feature maps are, and their weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrcnn import images as image_ops
from tfrcnn.compat import KERAS_2
from tfrcnn.config import BackboneConfig, Category, ImageConfig
from tfrcnn.errors import InputError
from tfrcnn.models import build_detector, preset
from tfrcnn.models.backbones import BACKBONES, build_backbone
from tfrcnn.models.backbones.keras_model import find_taps
from tfrcnn.models.backbones.mobilenet_v3 import mobilenet_v3_large
from tfrcnn.weights.torch_layout import body_assignments, classifier_module

FILE_UTILS = "data_utils" if KERAS_2 else "file_utils"


@pytest.mark.parametrize(
    ("name", "strides", "channels"),
    [
        ("tiny", (4, 8, 16), (32, 64, 128)),
        ("VGG16", (4, 8, 16), (256, 512, 512)),
        ("MobileNetV2", (4, 8, 16, 32), (144, 192, 576, 1280)),
        ("EfficientNetB0", (4, 8, 16, 32), (144, 240, 672, 1280)),
        ("mobilenet_v3_large", (32, 32), (160, 960)),
        ("zf", (16,), (256,)),
        pytest.param("resnet50", (4, 8, 16, 32), (256, 512, 1024, 2048), marks=pytest.mark.slow),
        pytest.param("resnet101", (4, 8, 16, 32), (256, 512, 1024, 2048), marks=pytest.mark.slow),
    ],
)
def test_feature_maps_have_the_documented_strides_and_channels(name, strides, channels):
    backbone = build_backbone(BackboneConfig(name))
    assert backbone.strides == strides
    maps = tf.nest.flatten(backbone.model(np.zeros((1, 64, 96, 3), np.float32)))
    assert [tuple(m.shape) for m in maps] == [(1, 64 // s, 96 // s, c) for s, c in zip(strides, channels)]
    names = [layer.name for layer in backbone.model.layers]
    assert [n for n in names if n in backbone.stages] == [n for n in backbone.stages if n in names]


@pytest.mark.parametrize(
    ("name", "strides"),
    [
        ("MobileNet", (4, 8, 16, 32)),
        pytest.param("MobileNetV3Small", (4, 8, 16, 32), marks=pytest.mark.slow),
        pytest.param("EfficientNetV2B0", (4, 8, 16, 32), marks=pytest.mark.slow),
        pytest.param("DenseNet121", (4, 8, 16, 32), marks=pytest.mark.slow),
        pytest.param("ResNet50V2", (4, 8, 16, 32), marks=pytest.mark.slow),
        pytest.param("ConvNeXtTiny", (4, 8, 16, 32), marks=pytest.mark.slow),
        pytest.param("Xception", (8, 16, 32), marks=pytest.mark.slow),
    ],
)
def test_an_application_outside_the_table_is_tapped_by_its_shapes(name, strides):
    backbone = build_backbone(BackboneConfig(name))
    assert backbone.strides == strides
    maps = backbone.model(np.zeros((1, 96, 160, 3), np.float32))
    assert [tuple(m.shape[1:3]) for m in maps] == [(96 // s, 160 // s) for s in strides]


def test_maps_that_do_not_halve_are_one_clear_error():
    with pytest.raises(InputError, match="'InceptionV3' has no feature maps at strides 4, 8, 16 or 32"):
        build_backbone(BackboneConfig("InceptionV3"))
    with pytest.raises(InputError, match=r"strides that double from map to map, found \(4, 16\)"):
        build_backbone(BackboneConfig("tiny", ("stage1_out", "stage3_out")))


def test_the_table_agrees_with_the_shapes_where_both_know():
    model = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(None, None, 3))
    assert find_taps(model) == BACKBONES["MobileNetV2"].taps


def test_imagenet_weights_are_refused_behind_other_preprocessing_than_theirs():
    config = preset("mobilenet_v2_fpn", (Category(1, "a"),)).detector
    other = config.replace(image=config.image.replace(mean=(0.0, 0.0, 0.0)))
    with pytest.raises(InputError, match=r"ImageConfig.mean must be \(127.5, .* ImageNet weights of MobileNetV2"):
        build_detector(other, "imagenet")


@pytest.mark.slow
def test_efficientnet_is_a_backbone_by_configuration_alone():
    config = preset("mobilenet_v2_fpn", (Category(1, "a"),)).detector
    image = config.image.replace(min_size=64, max_size=64, **BACKBONES["EfficientNetB0"].image)
    detector = build_detector(config.replace(backbone=BackboneConfig("EfficientNetB0"), image=image))
    assert detector.level_strides == (4, 8, 16, 32, 64)
    assert detector(np.zeros((1, 64, 64, 3), np.float32))["boxes"].shape == (1, 100, 4)


def test_weights_of_a_file_are_those_of_the_network(tmp_path):
    source = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(None, None, 3))
    path = tmp_path / "a.weights.h5"
    source.save_weights(path)
    backbone = build_backbone(BackboneConfig("MobileNetV2"), path)
    images = np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3)).astype(np.float32)
    np.testing.assert_allclose(backbone.model(images)[-1], source(images), atol=1e-5)


@pytest.mark.slow
def test_keras_applications_resnet_loads_from_its_file(tmp_path):
    path = tmp_path / "a.weights.h5"
    source = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(None, None, 3))
    source.save_weights(path)
    config = preset("resnet50_fpn", (Category(1, "a"),)).detector.backbone
    backbone = build_backbone(config, path)
    images = np.random.default_rng(0).uniform(-100, 100, (1, 64, 64, 3)).astype(np.float32)
    expected = source(images).numpy()
    np.testing.assert_allclose(backbone.model(images)[-1], expected, atol=1e-4 * np.abs(expected).max())


def test_torchvisions_classifier_loads_without_its_last_layer(tmp_path):
    config = BackboneConfig("mobilenet_v3_large")
    state = {"classifier.0.weight": np.zeros((1280, 960), np.float32)}
    rng = np.random.default_rng(0)
    for each in body_assignments(mobilenet_v3_large(), classifier_module):
        shape = tuple(each.variable.shape)
        if len(shape) == 4:
            shape = (shape[2], 1, *shape[:2]) if "depthwise" in each.convert.__name__ else (*shape[:1:-1], *shape[:2])
        state[each.key] = rng.normal(size=shape).astype(np.float32)
    np.savez(tmp_path / "a.npz", **state)
    model = build_backbone(config, tmp_path / "a.npz").model
    np.testing.assert_array_equal(model.get_layer("features_16_1").moving_mean, state["features.16.1.running_mean"])
    with pytest.raises(InputError, match=r"does not hold torchvision's resnet50: .* missing"):
        build_backbone(BackboneConfig("resnet50"), tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (BackboneConfig("MobileNetV2", norm_epsilon=1e-3), "norm_epsilon is not an option of backbone 'MobileNetV2'"),
        (BackboneConfig("mobilenet_v3_large", stride_in_1x1=True), "stride_in_1x1 is not an option of backbone"),
    ],
)
def test_an_option_that_a_network_does_not_have_is_refused(config, message):
    with pytest.raises(InputError, match=message):
        build_backbone(config)


def test_real_weights_of_vgg_stored_as_float16_load(data_root):
    path = data_root.parent / "weights" / "vgg16_no_top_from_hed.weights.h5"
    if not path.is_file():
        pytest.skip("there are no weights beside TFRCNN_TEST_DATA")
    backbone = build_backbone(BackboneConfig("VGG16", ("block5_conv3",)), path)
    kernel = backbone.model.get_layer("block1_conv1").kernel
    assert kernel.dtype == "float32"
    assert float(np.abs(kernel).max()) > 0.3


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("MobileNetV2", "nowhere.h5", "found nothing at nowhere.h5"),
        ("tiny", "imagenet", "'tiny' has no ImageNet weights to download"),
        ("resnet50", "imagenet", "'resnet50' has no ImageNet weights to download; .* torchvision's classifier"),
    ],
)
def test_weights_that_cannot_be_had_are_one_clear_error(name, weights, message):
    with pytest.raises(InputError, match=message):
        build_backbone(BackboneConfig(name), weights)


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "a.weights.h5"
    build_backbone(BackboneConfig("tiny")).model.save_weights(path)
    with pytest.raises(InputError, match="does not hold the weights of MobileNetV2"):
        build_backbone(BackboneConfig("MobileNetV2"), path)


def test_a_failed_download_says_what_to_do_instead(monkeypatch):
    def no_network(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(f"keras.src.utils.{FILE_UTILS}.get_file", no_network)
    monkeypatch.setattr(f"keras.src.applications.mobilenet_v2.{FILE_UTILS}.get_file", no_network)
    with pytest.raises(InputError, match=r"could not be downloaded .*--backbone-weights FILE"):
        build_backbone(BackboneConfig("MobileNetV2"), "imagenet")


@pytest.mark.slow
def test_pretrained_efficientnet_is_keras_own_on_the_same_pixels(tmp_path, monkeypatch):
    # Keras adds a layer to this network when it loads ImageNet weights
    keras.utils.set_random_seed(0)
    path = tmp_path / "a.weights.h5"
    source = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(None, None, 3))
    statistics = next(layer for layer in source.layers if isinstance(layer, keras.layers.Normalization))
    statistics.adapt_mean.assign([0.485, 0.456, 0.406])
    source.save_weights(path)
    monkeypatch.setattr(f"keras.src.applications.efficientnet.{FILE_UTILS}.get_file", lambda *_, **__: str(path))
    reference = keras.applications.EfficientNetB0(include_top=False, weights="imagenet", input_shape=(None, None, 3))
    backbone = build_backbone(BackboneConfig("EfficientNetB0"), "imagenet")
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype(np.float32)
    config = ImageConfig(**BACKBONES["EfficientNetB0"].image)
    prepared = image_ops.normalize(pixels, np.array([[64.0, 64.0]], np.float32), config)
    expected = reference(pixels).numpy()
    np.testing.assert_allclose(backbone.model(prepared)[-1], expected, atol=1e-3 * np.abs(expected).max())
