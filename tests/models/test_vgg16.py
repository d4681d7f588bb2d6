"""fc6 and fc7 from VGG-16's classifier: files in Keras' layouts, with the real names and few units."""

import shutil

import keras
import numpy as np
import pytest
from h5py import File

from tfrcnn.compat import KERAS_2
from tfrcnn.config import BackboneConfig, Category, HeadConfig
from tfrcnn.errors import InputError
from tfrcnn.layers import BoxHead
from tfrcnn.models import build_detector, preset
from tfrcnn.models.backbones import build_backbone, vgg16
from tfrcnn.models.backbones.vgg16 import load_classifier

if KERAS_2:
    from keras.src.saving.legacy.hdf5_format import save_weights_to_hdf5_group
else:
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

UNITS = (8, 6)


@pytest.fixture(scope="module")
def network():
    """Return VGG16(include_top=True) with 8 and 6 units instead of 4096. Its seed differs from all later models."""
    keras.utils.set_random_seed(1)
    body = keras.applications.VGG16(include_top=False, weights=None, input_shape=(224, 224, 3))
    x = keras.layers.Flatten(name="flatten")(body.output)
    for name, units in zip(("fc1", "fc2"), UNITS):
        x = keras.layers.Dense(units, activation="relu", bias_initializer="random_normal", name=name)(x)
    return keras.Model(body.input, keras.layers.Dense(10, name="predictions")(x))


@pytest.fixture(scope="module")
def files(network, tmp_path_factory):
    """Write weight files in the layouts of Keras 3 and Keras 2, and a whole model in the layout of Keras 2."""
    folder = tmp_path_factory.mktemp("weights")
    network.save_weights(folder / "new.weights.h5")
    with File(folder / "old.h5", "w") as file:
        save_weights_to_hdf5_group(file, network)
    with File(folder / "old_model.h5", "w") as file:
        save_weights_to_hdf5_group(file.create_group("model_weights"), network)
    body = keras.Model(network.input, network.get_layer("block5_pool").output)
    body.save_weights(folder / "no_top.weights.h5")
    with File(folder / "no_top.h5", "w") as file:
        save_weights_to_hdf5_group(file, body)
    return folder


def head_of(units=UNITS):
    """Return a box head for VGG-16 with seeded weights."""
    keras.utils.set_random_seed(0)
    head = BoxHead(HeadConfig(units=units, dropout=0.5), 2)
    head.build((None, None, 7, 7, 512))
    return head


def test_the_layouts_are_those_of_keras_names_and_order(files):
    with File(files / "old.h5") as file:
        assert list(file.attrs["layer_names"])[-4:] == ["flatten", "fc1", "fc2", "predictions"]
        assert file["fc1"][file["fc1"].attrs["weight_names"][0]].shape == (7 * 7 * 512, 8)
    with File(files / "new.weights.h5") as file:
        assert [file[f"{name}/vars/0"].shape for name in vgg16.DENSE_GROUPS] == [(25088, 8), (8, 6), (6, 10)]


@pytest.mark.parametrize("name", ["new.weights.h5", "old.h5", "old_model.h5"])
def test_a_box_head_computes_what_the_classifier_does_of_the_same_bins(name, files, network):
    head = head_of()
    assert (
        load_classifier(head, files / name) == f"The box head's fc6 and fc7 start from fc1 and fc2 of {files / name}."
    )
    bins = np.random.default_rng(0).uniform(0, 9, (1, 3, 7, 7, 512)).astype(np.float32)
    hidden = keras.Model(network.get_layer("flatten").input, network.get_layer("fc2").output)(bins[0])
    assert np.count_nonzero(hidden) > 3  # ReLU does not zero everything
    np.testing.assert_allclose(head(bins)[0][0], head.classifier(hidden), atol=1e-5)


@pytest.mark.parametrize("name", ["new.weights.h5", "old.h5", "old_model.h5", "no_top.weights.h5", "no_top.h5"])
def test_the_convolutions_come_from_a_file_with_a_classifier_or_without(name, files, network):
    model = build_backbone(BackboneConfig("VGG16"), files / name).model
    for layer in ("block1_conv1", "block5_conv3"):
        for array, other in zip(model.get_layer(layer).get_weights(), network.get_layer(layer).get_weights()):
            np.testing.assert_array_equal(array, other)


def test_a_file_that_lacks_a_convolution_is_refused_though_it_has_a_classifier(files, tmp_path):
    shutil.copy(files / "old.h5", tmp_path / "less.h5")
    with File(tmp_path / "less.h5", "a") as file:
        del file["block4_conv2"]
    with pytest.raises(InputError, match=r"less.h5 does not hold the weights of VGG16"):
        build_backbone(BackboneConfig("VGG16"), tmp_path / "less.h5")


@pytest.mark.parametrize(
    ("name", "units", "message"),
    [
        ("no_top.weights.h5", UNITS, "no_top.weights.h5 has none (it was made with include_top=False)."),
        ("no_top.h5", UNITS, "no_top.h5 has none (it was made with include_top=False)."),
        ("new.weights.h5", (8, 5), "new.weights.h5 has [(25088, 8), (8, 6)]."),
        ("old.h5", (8,), "old.h5 has [(25088, 8), (8, 6)]."),
    ],
)
def test_layers_that_find_none_of_their_shape_stay_random_and_the_note_says_why(name, units, message, files):
    head = head_of(units)
    note = load_classifier(head, files / name)
    assert note.startswith("The box head's fully connected layers start from random weights: ")
    assert note.endswith(message)
    for layer, other in zip(head.hidden, head_of(units).hidden):
        np.testing.assert_array_equal(layer.kernel, other.kernel)


def test_imagenet_weights_bring_the_classifier_where_it_fits(network, monkeypatch):
    calls = []
    monkeypatch.setattr(keras.applications, "VGG16", lambda **options: calls.append(options) or network)
    assert load_classifier(head_of(), "imagenet").endswith(f"but ImageNet's VGG16 has {vgg16.SHAPES}.")
    assert not calls  # half a gigabyte is not downloaded for layers that do not fit
    monkeypatch.setattr(vgg16, "SHAPES", [(25088, 8), (8, 6)])
    head = head_of()
    assert load_classifier(head, "imagenet") == "The box head's fc6 and fc7 start from fc1 and fc2 of imagenet."
    assert calls == [{"weights": "imagenet"}]
    np.testing.assert_array_equal(head.hidden[1].kernel, network.get_layer("fc2").kernel)


def test_a_detector_starts_from_the_whole_network(files, network):
    config = preset("vgg16", (Category(1, "cell"),)).detector
    detector = build_detector(config.replace(head=config.head.replace(units=UNITS)), files / "new.weights.h5")
    assert detector.weights_note.endswith("new.weights.h5.")
    np.testing.assert_array_equal(detector.box_head.hidden[0].kernel, network.get_layer("fc1").kernel)
    np.testing.assert_array_equal(
        detector.backbone.get_layer("block5_conv3").kernel, network.get_layer("block5_conv3").kernel
    )


def test_the_papers_head_has_the_shapes_that_keras_publishes():
    head = preset("vgg16").detector.head
    assert [(head.pool_size**2 * 512, head.units[0]), head.units] == vgg16.SHAPES
