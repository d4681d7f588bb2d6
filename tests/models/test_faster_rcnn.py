"""The assembled detector: contract of its outputs, invariances, saving."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.config import BackboneConfig, Category, DetectionConfig
from tfrcnn.errors import InputError
from tfrcnn.models import FasterRCNN, build_detector, load_detector, preset, preset_names, save_detector

CATEGORIES = (Category(3, "cat"), Category(90, "dog"))


def tiny_config(**changes):
    config = preset("tiny_fpn", CATEGORIES).detector
    # random weights give every class about the same score: keep all of them
    return config.replace(detections=DetectionConfig(score_threshold=0.0, max_detections=10), **changes)


@pytest.fixture(scope="module")
def detector():
    keras.utils.set_random_seed(0)
    return build_detector(tiny_config())


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).uniform(0, 255, (1, 90, 120, 3)).astype(np.float32)


def test_detections_keep_their_contract(detector, image):
    detections = detector(image)
    assert {key: (tuple(value.shape), value.dtype.name) for key, value in detections.items()} == {
        "boxes": ((1, 10, 4), "float32"),
        "scores": ((1, 10), "float32"),
        "labels": ((1, 10), "int32"),
        "num_detections": ((1,), "int32"),
    }
    boxes, scores = detections["boxes"][0].numpy(), detections["scores"][0].numpy()
    assert detections["num_detections"][0] == 10
    assert np.all(np.diff(scores) <= 0)
    assert np.all(boxes[:, :2] < boxes[:, 2:])
    assert np.all(boxes >= 0)
    assert np.all(boxes <= [90.001, 120.001, 90.001, 120.001])
    assert set(detections["labels"][0].numpy()) <= {0, 1}


def test_an_image_gives_the_same_detections_alone_and_in_a_batch(detector, image):
    other = np.flip(image, axis=1)
    batch = detector(np.concatenate([other, image]))
    alone = detector(image)
    np.testing.assert_allclose(batch["scores"][1], alone["scores"][0], atol=1e-5)
    np.testing.assert_allclose(batch["boxes"][1], alone["boxes"][0], atol=1e-2)


@pytest.mark.slow
def test_one_trace_serves_images_of_every_size(detector):
    traced = tf.function(detector, input_signature=[tf.TensorSpec([None, None, None, 3])])
    for shape in ((1, 64, 64, 3), (2, 100, 30, 3), (1, 1, 50, 3)):
        assert traced(np.zeros(shape, np.float32))["boxes"].shape == (shape[0], 10, 4)
    assert traced.experimental_get_tracing_count() == 1


def test_a_static_size_is_static_in_the_graph():
    detector = build_detector(preset("tiny_fpn", CATEGORIES, image_size=96).detector)
    assert detector.network.inputs[0].shape == (None, 96, 96, 3)
    assert detector(np.zeros((1, 50, 200, 3), np.float32))["boxes"].shape == (1, 100, 4)


@pytest.mark.slow
def test_a_keras_file_loads_without_custom_objects_in_another_process(detector, image, tmp_path):
    detector.save(tmp_path / "a.keras")
    np.savez(tmp_path / "x.npz", image=image, **{k: v.numpy() for k, v in detector(image).items()})
    script = """if True:
        import keras, tfrcnn
        import numpy as np
        stored = np.load("x.npz")
        for key, value in keras.models.load_model("a.keras")(stored["image"]).items():
            np.testing.assert_allclose(value, stored[key], atol=1e-4)
    """
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, capture_output=True)


def test_a_folder_loads_with_nothing_but_its_path(detector, image, tmp_path):
    save_detector(detector, tmp_path / "run", {"note": 1})
    loaded = load_detector(tmp_path / "run")
    assert loaded.config == detector.config
    for key, value in loaded(image).items():
        np.testing.assert_array_equal(value, detector(image)[key])


def test_saving_again_replaces_the_weights_and_leaves_one_file_of_them(detector, tmp_path):
    for _ in range(3):
        save_detector(detector, tmp_path)
    assert len(list(tmp_path.glob("*.weights.h5"))) == 1
    load_detector(tmp_path)


def test_a_kill_between_the_two_writes_leaves_the_old_detector_loadable(detector, tmp_path, monkeypatch):
    save_detector(detector, tmp_path)
    monkeypatch.setattr("tfrcnn.models.build.write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        save_detector(detector, tmp_path)
    load_detector(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "no detector in"),
        (lambda f: next(f.glob("*.h5")).unlink(), "there is no such file next to it"),
        (lambda f: next(f.glob("*.h5")).write_bytes(b"half"), "does not hold the weights"),
        (lambda f: (f / "config.json").write_text("{"), "config.json: not JSON"),
        (lambda f: (f / "config.json").write_text('{"format": 7}'), "format must be 2"),
    ],
)
def test_a_spoilt_folder_is_an_error_that_says_what_is_wrong(detector, tmp_path, spoil, message):
    save_detector(detector, tmp_path)
    spoil(tmp_path)
    with pytest.raises(InputError, match=message):
        load_detector(tmp_path)


def test_geometry_stays_float32_under_mixed_precision(image):
    detector = build_detector(tiny_config(), precision="mixed_bfloat16")
    sizes = tf.constant([[91.0, 121.0]])  # bfloat16 cannot represent them
    features = detector.extract_features(tf.image.pad_to_bounding_box(image, 0, 0, 96, 128), sizes)
    assert features[0].dtype == tf.bfloat16
    assert all(logits.dtype == tf.float32 for logits in detector.rpn_head(features)[0])
    # boxes become e^4 times their proposals, so all sides are clipped
    detector.box_head.regressor.bias.assign([0.0, 0, 20, 20] * 2)
    detections = detector.network([tf.image.pad_to_bounding_box(image, 0, 0, 96, 128), sizes])
    assert detections["boxes"].dtype == tf.float32
    np.testing.assert_array_equal(detections["boxes"][0, 0], [0, 0, 91, 121])


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_objectness_is_not_rounded_to_16_bits(image, precision):
    detector = build_detector(tiny_config(), precision=precision)
    logits = detector.rpn_head(detector.extract_features(image[:, :64, :96], tf.constant([[64.0, 96.0]])))[0]
    values = tf.concat(logits, axis=1).numpy().ravel()
    assert np.any(values != values.astype(np.float16))


def test_a_keras_file_keeps_the_precision(tmp_path):
    build_detector(tiny_config(), precision="mixed_bfloat16").save(tmp_path / "a.keras")
    loaded = keras.models.load_model(tmp_path / "a.keras")
    assert loaded.dtype_policy.name == "mixed_bfloat16"
    assert loaded.box_head.hidden[0].compute_dtype == "bfloat16"
    assert loaded.box_head.classifier.compute_dtype == "float32"


@pytest.mark.slow
def test_the_network_of_a_static_size_compiles_under_xla_for_any_batch():
    detector = build_detector(preset("tiny_fpn", CATEGORIES, 64).detector, kernels="portable")
    signature = [tf.TensorSpec([None, 64, 64, 3]), tf.TensorSpec([None, 2])]
    images = np.random.default_rng(0).uniform(0, 255, (3, 64, 64, 3)).astype(np.float32)
    sizes = np.full((3, 2), 64, np.float32)
    plain, compiled = (
        tf.function(lambda x, s: detector.network([x, s]), input_signature=signature, jit_compile=jit)(images, sizes)
        for jit in (False, True)
    )
    for key, value in plain.items():
        np.testing.assert_allclose(compiled[key], value, atol=1e-3)


def test_both_sets_of_kernels_give_the_same_detections(detector, image):
    other = build_detector(tiny_config(), kernels="portable")
    other.set_weights(detector.get_weights())
    np.testing.assert_allclose(other(image)["scores"], detector(image)["scores"], atol=1e-5)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (preset("tiny_fpn").detector, "at least one category"),
        (tiny_config(backbone=BackboneConfig("NoNet")), "unknown backbone 'NoNet': expected tiny, resnet50"),
        (tiny_config(backbone=BackboneConfig("tiny", ("nowhere",))), "no layer 'nowhere'"),
        (tiny_config(fpn=None), "one entry for each of the 1 levels"),
    ],
)
def test_a_configuration_that_cannot_be_built_is_one_clear_error(config, message):
    with pytest.raises(InputError, match=message):
        build_detector(config)


@pytest.mark.slow
@pytest.mark.parametrize("name", preset_names())
def test_every_preset_detects(name):
    config = preset(name, CATEGORIES).detector
    small = config.image.replace(min_size=64, max_size=96)
    detector = build_detector(config.replace(image=small))
    assert isinstance(detector, FasterRCNN)
    assert detector(np.zeros((1, 60, 80, 3), np.float32))["boxes"].shape == (1, 100, 4)
