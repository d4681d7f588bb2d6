"""Training under tf.distribute, on two logical CPU devices in a process of its own (devices are fixed at start-up)."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from test_joint import TRAINING, make_batch, make_model

batch = make_batch()
twice = {key: np.concatenate([value, value]) for key, value in batch.items()}

def run(strategy, values):
    with strategy.scope():
        model = make_model(training=TRAINING.replace(ema=0.9))
        data = tf.data.Dataset.from_tensors(values).repeat()
        history = model.fit(data, steps_per_epoch=2, shuffle=False, verbose=0).history
    return history["loss"][0], model.detector.box_head.classifier.kernel.numpy()

one, kernel_one = run(tf.distribute.get_strategy(), batch)
two, kernel_two = run(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]), twice)
print(one, two)
# each replica sees the one batch, so the mean of their gradients is its gradient
np.testing.assert_allclose(two, one, rtol=2e-3)
np.testing.assert_allclose(kernel_two, kernel_one, atol=2e-4)
"""


@pytest.mark.slow
def test_two_replicas_of_one_batch_train_as_one():
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(Path(__file__).parent)], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr[-3000:]
