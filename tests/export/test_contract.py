"""The copy of a detector that becomes a file."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfrcnn
from tfrcnn.errors import InputError
from tfrcnn.export import to_onnx, to_saved_model, to_tflite
from tfrcnn.export.contract import category_ids, prepare

WRITERS = {to_onnx: "a.onnx", to_saved_model: "a", to_tflite: "a.tflite"}


@pytest.fixture(scope="module")
def detector():
    return tfrcnn.build_detector(tfrcnn.preset("tiny_fpn", (tfrcnn.Category(1, "cell"),)).detector)


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_not_finite_is_named_before_any_work(detector, tmp_path, write, value):
    kernel = detector.rpn_head.objectness.kernel
    before = kernel.numpy()
    spoilt = before.copy()
    spoilt.flat[3] = value
    kernel.assign(spoilt)
    try:
        with pytest.raises(
            InputError, match=r"weight rpn_head/(objectness/)?kernel: .* found 1 NaN or infinite of 192"
        ):
            write(detector, tmp_path / WRITERS[write])
    finally:
        kernel.assign(before)
    assert list(tmp_path.iterdir()) == []


def with_id(value):
    return tfrcnn.preset("tiny_fpn", (tfrcnn.Category(3, "cat"), tfrcnn.Category(value, "dog"))).detector


@pytest.mark.parametrize("value", [2**24 + 1, -(2**24) - 1, 2**31 - 1, 2**25 + 2, 2**62 + 1])
def test_a_category_id_that_float32_does_not_hold_is_refused_with_its_name(value):
    with pytest.raises(InputError, match=rf"category id {value} of 'dog': detection_classes are float32"):
        category_ids(with_id(value))


@pytest.mark.parametrize("value", [0, 1, 90, -1, 2**24, 2**24 + 2, 2**30])
def test_a_category_id_that_float32_holds_is_exact(value):
    assert category_ids(with_id(value)).numpy().astype(int).tolist() == [3, value]


@pytest.mark.parametrize("write", [to_onnx, to_saved_model], ids=lambda write: write.__name__)
def test_a_detector_with_such_an_id_is_refused_before_any_work(tmp_path, write):
    with pytest.raises(InputError, match="category id 16777217 of 'dog'"):
        write(SimpleNamespace(config=with_id(16777217)), tmp_path / WRITERS[write])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", [to_onnx, to_tflite], ids=lambda write: write.__name__)
def test_weights_that_do_not_fit_into_one_file_are_refused_before_any_work(detector, tmp_path, write, monkeypatch):
    monkeypatch.setattr("tfrcnn.export.contract.MAX_BYTES", 1_000_000)
    with pytest.raises(InputError, match=r"has \d.\d GB of weights, .* export it to saved_model"):
        write(detector, tmp_path / WRITERS[write])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_an_export_where_it_cannot_run_is_one_clear_line(detector, tmp_path, write):
    path = tmp_path / WRITERS[write]
    with tf.Graph().as_default(), pytest.raises(InputError, match="exports run eagerly: call them outside"):
        write(detector, path)
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope(), pytest.raises(InputError, match=r"outside strategy\.scope\(\), found MirroredStrategy"):
        write(detector, path)
    keras.backend.set_image_data_format("channels_first")
    try:
        with pytest.raises(InputError, match=r"found 'channels_first': call keras.backend.set_image_data_format"):
            write(detector, path)
    finally:
        keras.backend.set_image_data_format("channels_last")
    assert list(tmp_path.iterdir()) == []


def test_the_copy_is_float32_under_a_callers_policy_and_leaves_the_policy(detector):
    keras.mixed_precision.set_global_policy("mixed_float16")
    keras.backend.set_floatx("float64")
    try:
        copy = prepare(detector, kernels="tensorflow")
        assert keras.mixed_precision.global_policy().name == "mixed_float16"
        assert keras.backend.floatx() == "float64"
    finally:
        keras.backend.set_floatx("float32")
        keras.mixed_precision.set_global_policy("float32")
    assert {tf.as_dtype(weight.dtype) for weight in copy.weights} == {tf.float32}
    image = np.random.default_rng(0).uniform(0, 255, (1, 64, 80, 3)).astype(np.float32)
    for name, value in detector(image).items():
        np.testing.assert_array_equal(copy(image)[name], value)


@pytest.mark.slow
def test_the_copy_normalises_with_the_statistics_of_the_detector():
    """Keras' Normalization computes with copies of its weights, made when it is."""
    preset = tfrcnn.preset("mobilenet_v2_fpn", (tfrcnn.Category(1, "cell"),)).detector
    detector = tfrcnn.build_detector(
        preset.replace(
            backbone=preset.backbone.replace(name="EfficientNetB0"),
            image=preset.image.replace(min_size=64, max_size=96),
            detections=preset.detections.replace(score_threshold=0.0),
        )
    )
    (layer,) = (layer for layer in detector.backbone.layers if isinstance(layer, keras.layers.Normalization))
    layer.adapt_mean.assign([0.4, 0.5, 0.6])
    layer.adapt_variance.assign([0.05, 0.06, 0.07])
    layer.finalize_state()
    copy = prepare(detector)
    image = np.random.default_rng(0).uniform(0, 255, (1, 64, 80, 3)).astype(np.float32)
    for expected, outputs in zip(detector.backbone(image), copy.backbone(image)):
        np.testing.assert_array_equal(outputs, expected)
    assert np.any(detector.backbone(image)[0])
