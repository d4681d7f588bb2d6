"""SGD against torch's definition, and the values of the schedule."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.compat import KERAS_2, path_of
from tfrcnn.config import TrainingConfig
from tfrcnn.training.optimizer import SGD, WarmupSchedule
from tfrcnn.training.run_optimizer import make_optimizer

Variable = tf.Variable if KERAS_2 else keras.Variable
unlike_keras_2 = pytest.mark.skipif(KERAS_2, reason="needs Keras 3")


@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_weight_decay_goes_through_the_momentum_and_spares_vectors(momentum):
    kernel, bias = Variable([[1.0]]), Variable([1.0])
    sgd = SGD(0.1, momentum=momentum, coupled_weight_decay=0.5)
    w, v = 1.0, 0.0
    for gradient in (0.2, -0.3, 0.1):
        sgd.apply_gradients(zip([tf.constant([[gradient]]), tf.constant([0.0])], [kernel, bias]))
        v = momentum * v - 0.1 * (gradient + 0.5 * w)
        w = w + v
    np.testing.assert_allclose(kernel.numpy(), [[w]], rtol=1e-6)
    np.testing.assert_array_equal(bias.numpy(), [1.0])


def test_biases_learn_at_their_own_multiple_of_the_rate_and_nothing_else_does():
    # Caffe: v = m v - rate mult g, w = w + v; mult is 1 for kernels and for the vectors of a batch norm
    variables = [Variable([[1.0]], name="kernel"), *(Variable([1.0], name=n) for n in ("bias", "beta"))]
    sgd = SGD(0.1, momentum=0.5, bias_learning_rate_scale=2.0)
    for gradient in (1.0, -3.0):
        sgd.apply_gradients(
            zip([tf.constant([[gradient]]), tf.constant([gradient]), tf.constant([gradient])], variables)
        )
    # v: -0.1, then -0.05 + 0.3 = 0.25; twice that for the bias
    np.testing.assert_allclose([float(v.numpy().item()) for v in variables], [1.15, 1.3, 1.15], rtol=1e-6)
    assert SGD.from_config(sgd.get_config()).bias_learning_rate_scale == 2.0


def test_the_biases_of_a_model_are_found_in_its_traced_step_with_momentum():
    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.layers.Dense(1, kernel_initializer="zeros")(inputs))
    # the loss is the output: in every step its gradient is 3 for the kernel and 1 for the bias
    model.compile(
        SGD(0.1, momentum=0.9, bias_learning_rate_scale=2.0),
        lambda _, output: output,
        run_eagerly=False,
        jit_compile=False,
    )
    for _ in range(3):
        model.train_on_batch(np.array([[3.0]]), np.zeros((1, 1)))
    # v: -0.1 g, -0.19 g, -0.271 g; in all -0.561 g, and twice that for the bias
    moved = {path_of(variable).split("/")[-1]: variable.numpy().item() for variable in model.trainable_variables}
    assert moved == pytest.approx({"kernel": -1.683, "bias": -1.122}, rel=1e-6)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("scaled", [False, pytest.param(True, marks=unlike_keras_2)])
def test_the_momentum_operator_is_keras_own_update(nesterov, scaled):
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(5, 4, 3)).astype(np.float32)
    start = rng.normal(size=(4, 3)).astype(np.float32)
    results = []
    scale = 1024.0 if scaled else 1.0
    for kind in (SGD, keras.optimizers.SGD):
        variable = Variable(start, name="kernel")
        optimizer = kind(0.1, momentum=0.9, nesterov=nesterov)
        if scaled:  # as in mixed_float16
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=scale)
        optimizer.build([variable])
        step = tf.function(lambda gradients: optimizer.apply_gradients(zip(gradients, [variable])))  # noqa: B023
        for gradient in gradients:
            step([tf.constant(scale * gradient)])
        results.append(variable.numpy())
    assert np.abs(results[0] - start).max() > 0.1
    np.testing.assert_allclose(*results, rtol=0, atol=5e-7)  # a few ulps of weights near 1, over five steps


def test_the_average_follows_its_warm_up_and_swaps_back_exactly():
    kernel = Variable([[1.0]])
    sgd = SGD(1.0, use_ema=True, ema_momentum=0.5)
    sgd.build([kernel])
    average, w = 1.0, 1.0
    for step in range(4):
        sgd.apply_gradients(zip([tf.constant([[0.25]])], [kernel]))
        w -= 0.25
        decay = min(0.5, step / (9 + step))
        average = decay * average + (1 - decay) * w
    before = kernel.numpy()
    sgd.swap_averages()
    np.testing.assert_allclose(kernel.numpy(), [[average]], rtol=1e-6)
    sgd.swap_averages()
    np.testing.assert_array_equal(kernel.numpy(), before)


@pytest.mark.parametrize(
    ("kind", "step", "expected"),
    [
        ("step", 0, 0.001),  # the warm-up begins at a thousandth
        ("step", 5, 0.5005),
        ("step", 10, 1.0),
        ("step", 59, 1.0),
        ("step", 60, 0.1),
        ("step", 80, 0.01),
        ("cosine", 50, 0.5),
        ("cosine", 100, 0.0),
    ],
)
def test_the_learning_rate_of_a_step(kind, step, expected):
    schedule = WarmupSchedule(1.0, 100, 10, kind, (0.6, 0.8))
    np.testing.assert_allclose(schedule(step), expected, atol=1e-6)
    copy = WarmupSchedule.from_config(schedule.get_config())
    np.testing.assert_allclose(copy(step), expected, atol=1e-6)


def test_the_rate_is_scaled_by_the_batch_and_a_short_run_warms_up_for_a_quarter():
    training = TrainingConfig(epochs=2, batch_size=4, learning_rate=0.02, warmup_steps=500)
    optimizer = make_optimizer(training, steps_per_epoch=10)
    np.testing.assert_allclose(optimizer._learning_rate(5), 0.02 * 4 / 16, rtol=1e-6)
    assert not optimizer.use_ema
    assert make_optimizer(training.replace(ema=0.9), 10).use_ema
    assert make_optimizer(training.replace(bias_learning_rate_scale=2.0), 10).bias_learning_rate_scale == 2.0


@unlike_keras_2
@pytest.mark.parametrize("ema", [None, 0.5])
def test_accumulated_gradients_make_the_updates_of_their_means(ema):
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(6, 4, 3)).astype(np.float32)
    training = TrainingConfig(
        epochs=1, batch_size=4, warmup_steps=2, milestones=(0.5,), gradient_clip_norm=1.0, ema=ema, learning_rate=1.0
    )
    results = []
    for steps, values in ((2, gradients), (1, gradients.reshape(3, 2, 4, 3).mean(1))):
        kernel = Variable(np.ones((4, 3), np.float32), name="kernel")
        # each step of the reference has twice the images
        config = training.replace(accumulation_steps=steps, batch_size=training.batch_size // steps)
        sgd = make_optimizer(config, len(values))
        sgd.build([kernel])
        step = tf.function(sgd.apply)
        for value in values:
            step([tf.constant(value)])
        assert int(sgd.iterations) == 3
        averages = sgd._model_variables_moving_average if ema else []
        results.append([kernel.numpy(), *(average.numpy() for average in averages)])
    assert np.abs(results[0][0] - 1).max() > 0.1
    np.testing.assert_allclose(*results, rtol=1e-6, atol=1e-7)


@unlike_keras_2
def test_a_step_between_updates_changes_no_weight():
    kernel = Variable([[1.0]])
    sgd = SGD(1.0, gradient_accumulation_steps=2, use_ema=True, ema_momentum=0.5)
    sgd.build([kernel])
    average = sgd._model_variables_moving_average[0]
    values = []
    for _ in range(4):
        sgd.apply_gradients(zip([tf.constant([[0.25]])], [kernel]))
        values.append((kernel.numpy().item(), average.numpy().item()))
    assert values[1] == values[2] == (0.75, 0.75)
    assert values[0][0] == 1.0
    assert values[3][0] == 0.5


def test_the_backbone_learns_at_its_own_multiple_of_the_rate():
    variables = [Variable([[1.0]], name="kernel") for _ in range(2)]
    sgd = SGD(0.1, momentum=0.5, backbone_learning_rate_scale=0.1)
    sgd.set_backbone(variables[:1])
    for _ in range(2):
        sgd.apply_gradients(zip([tf.constant([[1.0]])] * 2, variables))
    # v: -0.1, then -0.15; a tenth of that for the backbone
    np.testing.assert_allclose([v.numpy().item() for v in variables], [0.975, 0.75], rtol=1e-6)
    assert SGD.from_config(sgd.get_config()).backbone_learning_rate_scale == 0.1


@pytest.mark.parametrize("ema", [None, 0.9])
def test_stochastic_weight_averaging_keeps_the_mean_of_the_weights_after_each_later_update(ema):
    kernel = Variable([[1.0]])
    training = TrainingConfig(epochs=1, swa=0.5, ema=ema, warmup_steps=0, milestones=(), momentum=0.0, weight_decay=0.0)
    sgd = make_optimizer(training.replace(learning_rate=8.0), 6)  # 1 for two images per step
    sgd.build([kernel])
    weights = []
    for i in range(6):
        assert sgd.is_averaging == (i > 3)
        sgd.apply_gradients(zip([tf.constant([[float(i)]])], [kernel]))
        weights.append(kernel.numpy().item())
    assert len(set(weights)) == 6
    sgd.swap_averages()
    np.testing.assert_allclose(kernel.numpy().item(), np.mean(weights[3:]), rtol=1e-6)


@pytest.mark.parametrize(("steps_before", "steps", "first"), [(20, 6, 4), (6, 12, 6)], ids=["shorter", "longer"])
def test_a_run_that_is_resumed_with_other_epochs_averages_the_updates_after_its_start_or_its_resumption(
    steps_before, steps, first
):
    kernel = Variable([[1.0]])
    training = TrainingConfig(epochs=1, swa=0.5, warmup_steps=0, milestones=(), momentum=0.0, weight_decay=0.0)
    before, after = (make_optimizer(training.replace(learning_rate=8.0), count) for count in (steps_before, steps))
    for sgd in (before, after):
        sgd.build([kernel])
    weights = []
    for i in range(steps):
        if i == 4:
            for variable, value in zip(after.variables, before.variables):
                variable.assign(value)
        sgd = before if i < 4 else after
        sgd.apply_gradients(zip([tf.constant([[float(i)]])], [kernel]))
        weights.append(kernel.numpy().item())
    sgd.swap_averages()
    np.testing.assert_allclose(kernel.numpy().item(), np.mean(weights[first:]), rtol=1e-6)


@unlike_keras_2
def test_the_rate_and_the_schedule_count_updates_not_steps():
    training = TrainingConfig(epochs=2, batch_size=2, accumulation_steps=4, learning_rate=0.02, milestones=(0.5,))
    sgd = make_optimizer(training.replace(warmup_steps=0), steps_per_epoch=8)
    rates = [float(sgd._learning_rate(update)) for update in range(4)]
    np.testing.assert_allclose(rates, [0.01, 0.01, 0.001, 0.001], rtol=1e-5)
