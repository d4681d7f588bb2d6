"""What Keras 2 and Keras 3 do alike through `tfrcnn.compat`. The lanes run this with both."""

import h5py
import keras
import numpy as np
import tensorflow as tf

from tfrcnn.compat import Variable, _walk, name_of, path_of
from tfrcnn.config import Category, TrainingConfig
from tfrcnn.config_cascade import CascadeConfig
from tfrcnn.models import build_blank_detector, preset
from tfrcnn.training.run_optimizer import make_optimizer


def test_weights_files_have_the_names_of_keras_3(tmp_path):
    config = preset("tiny_fpn", (Category(1, "cell"),)).detector
    head = config.head.replace(dropout=0.5, class_agnostic=True, cascade=CascadeConfig())
    detector = build_blank_detector(config.replace(head=head, shared_features=False))
    detector.save_weights(tmp_path / "a.weights.h5")
    shapes, expected = {}, {}
    with h5py.File(tmp_path / "a.weights.h5") as file:
        file.visititems(lambda name, item: shapes.update({name: item.shape} if isinstance(item, h5py.Dataset) else {}))
    for path, layer in _walk(detector, "", set()):
        arrays = {}
        layer.save_own_variables(arrays)
        expected.update({f"{path}vars/{i}": tuple(array.shape) for i, array in arrays.items()})
    assert shapes == expected


def test_a_variable_is_named_by_its_layer_and_role():
    layer = keras.layers.Dense(2, name="fc6")
    layer.build((None, 3))
    assert [name_of(weight) for weight in layer.weights] == ["kernel", "bias"]
    assert path_of(layer.weights[0]).endswith("kernel")


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
