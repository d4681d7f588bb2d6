"""A backbone from outside the library: built, registered, saved, loaded, trained and exported."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import tfrcnn
from tfrcnn.compat import path_of
from tfrcnn.config import AnchorConfig, BackboneConfig, Category, DetectionConfig
from tfrcnn.data.example import Dataset, Example
from tfrcnn.errors import InputError
from tfrcnn.export import load, to_saved_model
from tfrcnn.models import build_detector, load_detector, preset, save_detector
from tfrcnn.models.backbones import BACKBONES, BackboneSpec, build_backbone, find_spec
from tfrcnn.models.transfer import unshare, with_categories
from tfrcnn.training.run import train
from tfrcnn.training.schemes import freeze

layers = keras.layers
CATEGORIES = (Category(3, "cell"), Category(9, "dot"))


def small_network(size=(None, None), seed=0):
    """Strides 2, 4, 8 and 16, with batch norms, a depthwise convolution and an operation that is no layer."""
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((*size, 3))
    x = layers.Conv2D(8, 3, 2, padding="same", name="stem")(inputs)
    for i, channels in enumerate((8, 12, 16), start=1):
        y = layers.DepthwiseConv2D(3, 2, padding="same", name=f"depthwise{i}")(x)
        y = layers.BatchNormalization(name=f"norm{i}")(layers.Conv2D(channels, 1, use_bias=False, name=f"conv{i}")(y))
        shortcut = layers.Conv2D(channels, 1, 2, name=f"shortcut{i}")(x)
        x = layers.ReLU(name=f"out{i}")(y + shortcut)
    return keras.Model(inputs, x, name="small")


def config_of(name="mine", **options):
    config = preset("tiny_fpn", CATEGORIES).detector
    return config.replace(
        backbone=BackboneConfig(name, **options),
        detections=DetectionConfig(score_threshold=0.0, max_detections=5),
    )


@pytest.fixture
def registry():
    yield
    BACKBONES.pop("mine", None)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (1, 96, 128, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def network():
    return small_network()


def assert_same_detections(one, other, image):
    outputs, expected = other(image), one(image)
    for name in expected:
        np.testing.assert_allclose(outputs[name], expected[name], atol=1e-4, err_msg=name)


def test_taps_are_found_at_the_strides_from_4_to_32(network):
    backbone = build_backbone(BackboneConfig("mine"), backbone=network)
    assert backbone.strides == (4, 8, 16)
    assert backbone.stages == ("out1", "out2", "out3")


def test_taps_can_be_named(network):
    backbone = build_backbone(BackboneConfig("mine", taps=("conv2", "out3")), backbone=network)
    assert backbone.strides == (8, 16)
    assert backbone.stages == ("conv2", "out3")
    with pytest.raises(InputError, match="backbone 'mine' has no layer 'conv9'"):
        build_backbone(BackboneConfig("mine", taps=("conv9",)), backbone=network)


@pytest.mark.parametrize("size", [(None, None), (64, 96)])
def test_a_detector_gets_a_copy_with_the_weights_for_images_of_any_size(size):
    model = small_network(size)
    backbone = build_backbone(BackboneConfig("mine"), backbone=model).model
    x = np.random.default_rng(0).normal(size=(1, 64, 96, 3)).astype(np.float32)
    np.testing.assert_allclose(backbone(x)[-1], model(x), atol=1e-5)
    assert [feature.shape[1:3] for feature in backbone(np.zeros((1, 32, 160, 3)))] == [(8, 40), (4, 20), (2, 10)]
    backbone.get_layer("stem").kernel.assign_add(tf.ones_like(backbone.get_layer("stem").kernel))
    assert np.any(model.get_layer("stem").kernel.numpy() != backbone.get_layer("stem").kernel.numpy())


def test_a_classifier_is_cut_off_behind_the_last_tap():
    model = keras.applications.MobileNet(weights=None, alpha=0.25, input_shape=(128, 128, 3))
    backbone = build_backbone(BackboneConfig("mine"), backbone=model)
    assert backbone.strides == (4, 8, 16, 32)
    assert backbone.model.layers[-1].name == "conv_pw_13_relu"


def test_a_sequential_model_is_a_backbone():
    convolutions = [layers.Conv2D(4, 3, 2, padding="same", activation="relu", name=f"conv{i}") for i in range(3)]
    model = keras.Sequential([keras.Input((None, None, 3)), *convolutions])
    assert build_backbone(BackboneConfig("mine"), backbone=model).strides == (4, 8)


def test_a_model_within_a_model_is_one_layer(network):
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, network(layers.Rescaling(1 / 255)(inputs)))
    backbone = build_backbone(BackboneConfig("mine"), backbone=model)
    assert backbone.strides == (16,)
    x = np.full((1, 32, 32, 3), 255, np.float32)
    np.testing.assert_allclose(tf.nest.flatten(backbone.model(x))[0], network(x / 255), atol=1e-5)


def test_batch_norms_of_a_model_within_a_model_are_frozen_too(network):
    inputs = keras.Input((None, None, 3))
    config = config_of().replace(fpn=None, anchors=AnchorConfig(sizes=((32.0,),)))
    detector = build_detector(config, backbone=keras.Model(inputs, network(layers.Rescaling(1 / 255)(inputs))))
    freeze(detector, preset("tiny_fpn").training.replace(freeze_batch_norm=True))
    trained = {path_of(weight).split("/")[-1] for weight in detector.backbone.trainable_weights}
    assert "kernel" in trained
    assert not trained & {"gamma", "beta"}


class Subclassed(keras.Model):
    def call(self, x):
        return x


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Subclassed, "must be a functional keras.Model or a BackboneSpec"),
        (lambda: keras.Sequential([layers.Conv2D(4, 3)]), "must be a functional keras.Model or a BackboneSpec"),
        (lambda: keras.Sequential([keras.Input((8,)), layers.Dense(2)]), r"takes \[\(None, 8\)\]"),
        (lambda: keras.Sequential([keras.Input((32, 32, 3)), layers.Conv2D(4, 3)]), "has no feature maps at strides 4"),
    ],
)
def test_a_model_that_cannot_be_a_backbone_is_one_clear_error(model, message):
    with pytest.raises(InputError, match=message):
        build_backbone(BackboneConfig("mine"), backbone=model())


@pytest.mark.parametrize("name", ["tiny", "MobileNetV2", "DenseNet121"])
def test_the_librarys_names_are_taken(name, network):
    with pytest.raises(InputError, match=f"'{name}' is the name of a backbone of the library"):
        build_detector(config_of(name), backbone=network)
    with pytest.raises(InputError, match=f"'{name}' is the name of a backbone of the library"):
        tfrcnn.register_backbone(name, network)


def test_a_folder_needs_the_same_model_again(network, image, tmp_path):
    detector = build_detector(config_of(), backbone=network)
    save_detector(detector, tmp_path)
    assert_same_detections(detector, load_detector(tmp_path, backbone=small_network(seed=1)), image)
    with pytest.raises(
        InputError, match=r"unknown backbone 'mine': .*load_detector with backbone=MODEL.*register_back"
    ):
        load_detector(tmp_path)
    other = keras.Model(network.input, network.get_layer("out2").output)
    with pytest.raises(InputError, match=r"AnchorConfig.sizes must have one entry for each of the 3 levels of mine"):
        load_detector(tmp_path, backbone=other)


@pytest.mark.slow
@pytest.mark.usefixtures("registry")
def test_a_registered_model_is_found_by_its_name(network, image, tmp_path):
    tfrcnn.register_backbone("mine", network)
    detector = build_detector(config_of())
    save_detector(detector, tmp_path / "run")
    assert_same_detections(detector, load_detector(tmp_path / "run"), image)
    detector.save(tmp_path / "detector.keras")
    assert_same_detections(detector, keras.models.load_model(tmp_path / "detector.keras"), image)
    tfrcnn.register_backbone("mine", small_network(seed=1))  # a notebook's cell runs twice


def test_a_spec_is_built_for_each_detector_with_the_options_it_names(image):
    configs = []

    def build(config):
        configs.append(config)
        return small_network()

    spec = BackboneSpec(build, taps=("out1", "out2", "out3"), stages=("stem", "out1"), options=("norm_epsilon",))
    detector = build_detector(config_of(norm_epsilon=1e-3), backbone=spec)
    assert detector.backbone_stages == ("stem", "out1")
    assert detector.backbone_spec is spec
    assert configs == [BackboneConfig("mine", norm_epsilon=1e-3)]
    with pytest.raises(InputError, match="stride_in_1x1 is not an option of backbone 'mine'"):
        build_detector(config_of(stride_in_1x1=True), backbone=spec)


def test_weights_of_a_file_are_loaded_into_a_specs_network(tmp_path):
    source = small_network(seed=5)
    source.save_weights(tmp_path / "a.weights.h5")
    spec = BackboneSpec(lambda config: small_network())
    model = build_backbone(BackboneConfig("mine"), tmp_path / "a.weights.h5", backbone=spec).model
    np.testing.assert_array_equal(model.get_layer("stem").kernel, source.get_layer("stem").kernel)
    with pytest.raises(InputError, match="'mine' has no ImageNet weights to download"):
        build_backbone(BackboneConfig("mine"), "imagenet", backbone=spec)


def test_two_networks_have_weights_of_their_own(network):
    detector = build_detector(config_of().replace(shared_features=False), backbone=network)
    detector.backbone.get_layer("stem").bias.assign(np.ones(8))
    np.testing.assert_array_equal(detector.rpn_backbone.get_layer("stem").bias, np.zeros(8))


@pytest.mark.slow
def test_a_detector_is_rebuilt_with_its_backbone(network, image):
    detector = build_detector(config_of(), backbone=network)
    two = unshare(detector)
    assert_same_detections(detector, two, image)
    other, kept = with_categories(detector, CATEGORIES[:1])
    assert kept == ("cell",)
    np.testing.assert_array_equal(other.backbone.get_layer("stem").kernel, detector.backbone.get_layer("stem").kernel)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (BackboneConfig("tiny"), "none"),
        (BackboneConfig("zf"), None),
        (BackboneConfig("resnet50"), None),
        (BackboneConfig("resnet101", stride_in_1x1=True), "imagenet"),
        (BackboneConfig("mobilenet_v3_large"), None),
        (BackboneConfig("VGG16"), "imagenet"),
        (BackboneConfig("DenseNet121"), "imagenet"),
    ],
)
def test_each_backbone_names_the_weights_it_starts_from(config, expected):
    assert find_spec(config.name).default_weights(config) == expected


def test_a_model_starts_from_its_own_weights(network):
    assert find_spec("mine", network).default_weights(BackboneConfig("mine")) == "none"


def examples(folder):
    """Three grey images, each with one bright square."""
    made = []
    for i in range(3):
        pixels = np.full((96, 96, 3), 128, np.uint8)
        pixels[20:60, 10 + i : 50 + i] = 255
        Image.fromarray(pixels).save(folder / f"{i}.png")
        made.append(
            Example(
                image_id=i,
                path=folder / f"{i}.png",
                height=96,
                width=96,
                boxes=np.array([[20, 10 + i, 60, 50 + i]], np.float32),
                labels=np.zeros(1, np.int32),
                crowd=np.zeros(1, bool),
                difficult=np.zeros(1, bool),
                area=np.full(1, 1600, np.float32),
                orientation=1,
                annotation_ids=np.array([i]),
            )
        )
    return Dataset("squares", CATEGORIES, tuple(made))


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore:.*that were never trained")  # the network's weights are random
def test_a_model_is_trained_by_the_alternating_scheme_and_detects_from_its_folder(network, image, tmp_path):
    data = examples(tmp_path)
    settings = preset("tiny_fpn").training.replace(epochs=1, batch_size=2, warmup_steps=1, scheme="alternating")
    settings = settings.replace(frozen_stages=1, freeze_batch_norm=True)
    config = config_of()
    config = config.replace(image=config.image.replace(min_size=64, max_size=64))
    run = train(build_detector(config, backbone=network), data, None, tmp_path / "run", settings)
    assert_same_detections(run.detector, load_detector(tmp_path / "run", backbone=network), image)
    kernels = [run.detector.backbone.get_layer(name).kernel.numpy() for name in ("conv1", "conv2")]
    np.testing.assert_array_equal(kernels[0], network.get_layer("conv1").kernel)  # in the frozen stage
    assert np.any(kernels[1] != network.get_layer("conv2").kernel.numpy())


@pytest.mark.soak
def test_an_application_outside_the_table_is_trained_and_exported(image, tmp_path):
    model = keras.applications.MobileNet(include_top=False, weights=None, alpha=0.25, input_shape=(None, None, 3))
    config = config_of()
    anchors = config.anchors.replace(sizes=((8.0,), (16.0,), (32.0,), (64.0,), (128.0,)))
    image_config = config.image.replace(mean=(127.5,) * 3, std=(127.5,) * 3)  # what MobileNet is trained with
    detector = build_detector(config.replace(image=image_config, anchors=anchors), backbone=model)
    assert detector.level_strides == (4, 8, 16, 32, 64)

    settings = preset("mobilenet_v2_fpn").training.replace(epochs=1, batch_size=2, warmup_steps=1)
    settings = settings.replace(frozen_stages=0, freeze_batch_norm=False)  # the weights are random
    trained = train(detector, examples(tmp_path), None, tmp_path / "run", settings).detector
    artefact = load(to_saved_model(trained, tmp_path / "saved"))
    expected = trained(image)
    outputs = artefact.detect(image[0].astype(np.uint8))
    assert len(outputs.scores) == int(expected["num_detections"][0])
    np.testing.assert_allclose(outputs.scores, expected["scores"][0, : len(outputs.scores)], atol=1e-3)
