"""What Keras 2 and Keras 3 do alike through `tfrcnn.compat`. The lanes run this with both."""

import json
from pathlib import Path

import h5py
import keras
import numpy as np
import tensorflow as tf

from tfrcnn.compat import KERAS_2, path_of
from tfrcnn.config import Category, TrainingConfig
from tfrcnn.config_cascade import CascadeConfig
from tfrcnn.models import build_blank_detector, preset
from tfrcnn.training.run_optimizer import make_optimizer

Variable = tf.Variable if KERAS_2 else keras.Variable


def test_weights_files_have_the_names_of_keras_3(tmp_path):
    """With Keras 3, the test also shows that the list of names is one of Keras 3."""
    config = preset("tiny_fpn", (Category(1, "cell"),)).detector
    head = config.head.replace(dropout=0.5, class_agnostic=True, cascade=CascadeConfig())
    detector = build_blank_detector(config.replace(head=head, shared_features=False))
    detector.save_weights(tmp_path / "a.weights.h5")
    shapes = {}
    with h5py.File(tmp_path / "a.weights.h5") as file:
        file.visititems(
            lambda name, item: shapes.update({name: list(item.shape)} if isinstance(item, h5py.Dataset) else {})
        )
    assert shapes == json.loads(Path(__file__).with_name("weights_of_keras_3.json").read_text())


def test_a_variable_is_named_by_its_layer_and_role():
    layer = keras.layers.Dense(2, name="fc6")
    layer.build((None, 3))
    assert [path_of(weight).split("/")[-1] for weight in layer.weights] == ["kernel", "bias"]


def test_an_optimizer_by_name_steps_as_the_class_of_keras():
    training = TrainingConfig(epochs=1, batch_size=16, warmup_steps=0, milestones=(), learning_rate=0.01).replace(
        optimizer="adamw", weight_decay=0.1, gradient_clip_norm=None
    )
    results = []
    for optimizer in (make_optimizer(training, 100), keras.optimizers.AdamW(0.01, weight_decay=0.1)):
        kernel = Variable(np.ones((2, 3), np.float32), name="kernel")
        optimizer.build([kernel])
        for _ in range(2):
            optimizer.apply_gradients([(tf.fill([2, 3], 0.5), kernel)])
        results.append(kernel.numpy())
    assert results[0].max() < 0.99
    np.testing.assert_allclose(*results, rtol=1e-6)
