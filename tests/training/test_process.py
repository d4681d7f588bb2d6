"""What belongs to the whole process stays as the caller set it."""

import random
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import config

from tfrcnn.config import Category
from tfrcnn.models import build_detector, preset
from tfrcnn.training.process import repeatable_operators, seeded


@pytest.mark.parametrize("before", [False, True])
def test_operators_repeat_while_training_runs_and_the_caller_s_setting_comes_back_after_an_error(before):
    (tf.config.experimental.enable_op_determinism if before else config.disable_op_determinism)()
    tf.config.optimizer.set_jit(True)
    try:
        inside = []

        def fail():
            with repeatable_operators():
                inside.append((config.is_op_determinism_enabled(), tf.config.optimizer.get_jit()))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert inside == [(before or not tf.config.list_physical_devices("GPU"), "")]
        assert config.is_op_determinism_enabled() == before
        assert tf.config.optimizer.get_jit() == "autoclustering"
    finally:
        config.disable_op_determinism()
        tf.config.optimizer.set_jit(False)
    assert tf.image.random_brightness(tf.zeros([4, 4, 3]), 0.5).shape == (4, 4, 3)


def test_the_generators_of_the_process_go_on_as_if_no_detector_had_been_seeded():
    def draws():
        return random.random(), np.random.rand()

    random.seed(5)
    np.random.seed(5)
    expected = [draws(), draws()]
    random.seed(5)
    np.random.seed(5)
    first = draws()
    inside = []

    def fail():
        with seeded(0):
            inside.append(draws())
            raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            fail()
    assert inside[0] == inside[1]
    assert [first, draws()] == expected


def test_the_caller_s_dtype_policy_and_data_format_do_not_change_a_detector_nor_the_other_way_round():
    detector_config = preset("tiny_fpn", (Category(1, "a"),), 64).detector
    keras.mixed_precision.set_global_policy("mixed_float16")
    keras.backend.set_image_data_format("channels_first")
    try:
        detector = build_detector(detector_config)
        detections = detector(np.zeros((1, 40, 50, 3), np.float32))
        assert keras.mixed_precision.global_policy().name == "mixed_float16"
        assert keras.backend.image_data_format() == "channels_first"
    finally:
        keras.mixed_precision.set_global_policy("float32")
        keras.backend.set_image_data_format("channels_last")
    assert {layer.compute_dtype for layer in detector._flatten_layers()} == {"float32"}
    assert detections["boxes"].shape == (1, 100, 4)


@pytest.mark.parametrize(
    "imports", ["import tfrcnn; tfrcnn.build_detector", "import tfrcnn.models", "import tfrcnn.layers"]
)
def test_another_backend_of_keras_is_refused_with_one_line(imports):
    process = subprocess.run(
        [sys.executable, "-c", imports], env={"KERAS_BACKEND": "torch"}, capture_output=True, text=True, check=False
    )
    assert "found 'torch' (from KERAS_BACKEND or ~/.keras/keras.json): set the environment" in process.stderr


def test_the_backend_of_keras_json_counts_too(tmp_path, monkeypatch):
    from tfrcnn.backend import _configured

    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert _configured() == "tensorflow"
    for content, backend in (('{"backend": "jax"}', "jax"), ("{", "tensorflow"), ("[]", "tensorflow")):
        (tmp_path / "keras.json").write_text(content)
        assert _configured() == backend
