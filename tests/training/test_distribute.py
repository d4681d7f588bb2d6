"""Training under tf.distribute, on two logical CPU devices in a separate process (devices are fixed at start-up)."""

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
from tfrcnn.compat import tensorflow_variable
from tfrcnn.training.replicas import mean_over_replicas, uniform_rows

# the images differ in their objects, so the replicas have different numbers of samples
parts = [make_batch(seed=1), make_batch(objects=0, seed=2)]
batch = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}

def run(strategy, seed=0):
    with strategy.scope():
        model = make_model(seed, training=TRAINING.replace(ema=0.9, gradient_clip_norm=0.5))
        history = model.fit(
            tf.data.Dataset.from_tensors(batch).repeat(), steps_per_epoch=3, shuffle=False, verbose=0
        ).history
    weights = [variable.numpy() for variable in (*model.weights, *model.optimizer.variables)]
    return np.array([history[name][0] for name in sorted(history)]), weights, model

one, weights_one, _ = run(tf.distribute.get_strategy())
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
two, weights_two, model = run(strategy)
other, *_ = run(tf.distribute.get_strategy(), seed=1)
print(one, two, other)
np.testing.assert_allclose(two[3:], one[3:], rtol=1e-5)  # of the RPN, whose samples do not depend on the network
# a batch of four rounds unlike two of two, so a proposal at the border of a choice can change
np.testing.assert_allclose(two, one, rtol=5e-3)
assert abs(other - one).max() > 2e-2
for a, b in zip(weights_one, weights_two, strict=True):
    np.testing.assert_allclose(b, a, rtol=1e-2, atol=1e-3 * max(abs(a).max(), 1e-3))

# the replicas' rows are the rows of one device to the bit, also where a block of Philox spans two rows
index = strategy.experimental_distribute_values_from_function(
    lambda context: tf.constant(context.replica_id_in_sync_group)
)

@tf.function
def shared():
    return strategy.run(
        lambda i: (uniform_rows([3, 7 - i], [5, 6]), mean_over_replicas(2.0 * tf.cast(i, tf.float32))), [index]
    )

rows, means = shared()
whole = tf.random.stateless_uniform([6, 7], [5, 6], alg="philox").numpy()
for i, part in enumerate(strategy.experimental_local_results(rows)):
    np.testing.assert_array_equal(part, whole[3 * i : 3 * i + 3, : 7 - i])
assert [float(mean) for mean in strategy.experimental_local_results(means)] == [1.0, 1.0]

# a step is a graph without Python, and nothing of the second replica is on the device of the first
rows = next(iter(strategy.experimental_distribute_dataset(tf.data.Dataset.from_tensors(batch).unbatch().batch(4))))
step = tf.function(lambda rows: strategy.run(model.train_step, [rows])).get_concrete_function(rows)
graph = step.graph.as_graph_def()
nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
assert len(nodes) > 1000
assert not {node.op for node in nodes if "PyFunc" in node.op or "Host" in node.op or node.op == "Print"}
second = [node for node in nodes if "replica_1" in node.name]
assert len(second) > 1000
assert {node.device[-5:] for node in second} == {"", "CPU:1"}

# an overflow in any replica skips the step in all of them, and halves the scale
from tfrcnn.models import build_detector, preset
from tfrcnn.training.joint import TrainingModel
from tfrcnn.training.run_optimizer import make_optimizer
from test_joint import CATEGORIES
with strategy.scope():
    detector = build_detector(preset("tiny_fpn", CATEGORIES, 64).detector, precision="mixed_float16")
    detector.backbone.trainable = detector.fpn.trainable = False
    scaled = TrainingModel(detector)
    scaled.compile(make_optimizer(TRAINING, 10))
optimizer, variables = scaled.optimizer, scaled.trainable_variables

@tf.function
def apply(values):
    strategy.run(lambda value: optimizer.apply([tf.fill(v.shape, value) for v in variables], variables), [values])

def gradients_of(infinite):
    return strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(np.inf if context.replica_id_in_sync_group == infinite else 1.0)
    )

def state():
    everything = (*variables, *optimizer.inner_optimizer.variables, optimizer.dynamic_scale)
    copies = [strategy.experimental_local_results(tensorflow_variable(variable)) for variable in everything]
    return [[copy.numpy() for copy in each] for each in copies]

for infinite in (0, 1):
    before = state()
    apply(gradients_of(infinite))
    *after, scales = state()
    assert scales == [scale / 2 for scale in before[-1]], (infinite, scales)
    for one, two in zip(before, after):
        np.testing.assert_array_equal(one, two)
before = state()
apply(gradients_of(None))
*after, scales = state()
assert scales == before[-1]
for copies, earlier in zip(after[: len(variables)], before):
    np.testing.assert_array_equal(*copies)
    assert np.all(np.isfinite(copies[0]))
    assert np.any(copies[0] != earlier[0])
"""


RUN = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from test_run import fresh_detector, make_dataset, settings
from tfrcnn.errors import InputError
from tfrcnn.models import load_detector
from tfrcnn.training.run import train

folder = Path(sys.argv[2])
data = make_dataset(folder, 6, 0), make_dataset(folder, 3, 1)
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    try:
        train(fresh_detector(), *data, folder / "odd", settings().replace(batch_size=3))
        sys.exit("three images on two replicas were accepted")
    except InputError as error:
        assert "batch_size must be a multiple of the 2 replicas" in str(error)
    try:
        train(fresh_detector(), *data, folder / "odd", settings(accumulation_steps=2))
        sys.exit("gradients were accumulated on two replicas")
    except InputError as error:
        assert "accumulation_steps must be 1 under a strategy of 2 replicas" in str(error)
    assert not (folder / "odd").exists()
    once = settings().replace(epochs=1)
    whole = train(fresh_detector(), *data, folder / "run", once)
    assert [row["step"] for row in whole.history] == [3]
    again = train(fresh_detector(), *data, folder / "run", once, resume=True)
    assert again.history == whole.history
load_detector(folder / "run")
"""


KINDS = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import numpy as np
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from worker_program import TRAINING, callbacks_of_keras, network
from test_run import Interrupt, make_dataset
from tfrcnn.models import load_detector
from tfrcnn.training.run import train

folder = Path(sys.argv[2])
data = make_dataset(folder, 6, 0, noise=100), make_dataset(folder, 3, 1, noise=100)
mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])

def run(name, kind, strategy, **options):
    with strategy.scope():
        return train(network(kind), *data, folder / name, TRAINING[kind], **options)

def weights(run):
    return load_detector(run.folder / "last").get_weights()

for kind, tolerance in (("tiny_fpn", 1e-5), ("alternating", 1e-5), ("mixed_float16", 1e-2), ("callbacks", 1e-5)):
    def callbacks(name):
        return callbacks_of_keras(folder / name) if kind == "callbacks" else []

    one = run(f"one-{kind}", kind, tf.distribute.get_strategy(), callbacks=callbacks("a"))
    two = run(f"two-{kind}", kind, mirrored, callbacks=callbacks("b"))
    for row, other in zip(two.history, one.history, strict=True):
        for name in row:
            if not name.startswith("val_A"):
                np.testing.assert_allclose(row[name], other[name], rtol=tolerance, err_msg=name)
    # shifts and biases start at 0 and are added to values around 1; here they are still small, next to their round-off
    least = {"mixed_float16": 0.01, "callbacks": 0.1}.get(kind, 0)
    for a, b in zip(weights(one), weights(two), strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=tolerance * max(abs(a).max(), least))
    try:
        run(f"cut-{kind}", kind, mirrored, callbacks=[*callbacks("c"), Interrupt(1)])
        sys.exit("the run was not interrupted")
    except KeyboardInterrupt:
        pass
    resumed = run(f"cut-{kind}", kind, mirrored, callbacks=callbacks("c"), resume=True)
    assert resumed.history == two.history
    for a, b in zip(weights(resumed), weights(two), strict=True):
        np.testing.assert_array_equal(a, b)
    print(kind, "works", flush=True)
for name in ("a", "b"):
    assert len(list((folder / name / "saved").iterdir())) == 4, name
"""


def run_script(script, *arguments):
    process = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parent), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-3000:]


@pytest.mark.slow
def test_two_replicas_train_as_one_device_with_the_same_batch_and_scale_of_the_loss():
    run_script(SCRIPT)


@pytest.mark.soak
def test_every_kind_of_run_works_under_two_replicas(tmp_path):
    run_script(KINDS, tmp_path)


@pytest.mark.soak
def test_a_whole_run_under_two_replicas_is_written_and_resumed(tmp_path):
    run_script(RUN, tmp_path)
