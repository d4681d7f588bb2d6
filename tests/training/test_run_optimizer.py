"""Optimizers by name: each is Keras' own, with the schedule, groups, averages and resumption of `SGD`."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.compat import KERAS_2
from tfrcnn.config import TrainingConfig
from tfrcnn.errors import InputError
from tfrcnn.models import preset
from tfrcnn.training import addons
from tfrcnn.training.addons import announce_successor
from tfrcnn.training.optimizer_names import KERAS, optimizer_class, usual_rate
from tfrcnn.training.resolve import changed
from tfrcnn.training.run_optimizer import GroupedOptimizer, make_optimizer
from tfrcnn.training.state import restore_state, save_state

Variable = tf.Variable if KERAS_2 else keras.Variable
RNG = np.random.default_rng(0)
START = RNG.normal(size=(4, 3)).astype(np.float32)
GRADIENTS = RNG.normal(size=(5, 4, 3)).astype(np.float32)
# a constant rate of 0.01
CONSTANT = TrainingConfig(
    epochs=1, batch_size=16, warmup_steps=0, milestones=(), learning_rate=0.01, gradient_clip_norm=None
)
OTHERS = [name for name in KERAS if name != "sgd" and hasattr(keras.optimizers, KERAS[name])]


def stepped(optimizer, variables, gradients=GRADIENTS):
    """Return the values of the variables after steps with the same gradients for all of them."""
    if not getattr(optimizer, "built", False):  # Keras 2 has no such attribute
        optimizer.build(variables)
    for gradient in gradients:
        optimizer.apply_gradients([(tf.constant(gradient[: v.shape[0]]), v) for v in variables])
    return [variable.numpy() for variable in variables]


def kernel():
    return Variable(START, name="kernel")


@pytest.fixture
def no_addons(monkeypatch):
    monkeypatch.setattr(addons, "_addons", lambda: None)


@pytest.mark.parametrize("name", OTHERS)
def test_a_name_steps_as_the_class_of_keras(name):
    optimizer = make_optimizer(CONSTANT.replace(optimizer=name, weight_decay=0.1), 100)
    of_keras = getattr(keras.optimizers, KERAS[name])(learning_rate=0.01, weight_decay=0.1)
    (actual,), (expected,) = stepped(optimizer, [kernel()]), stepped(of_keras, [kernel()])
    assert np.abs(expected - START).max() > 1e-3
    np.testing.assert_array_equal(actual, expected)
    assert int(optimizer.iterations) == 5


def test_adafactor_keeps_weights_whose_row_and_column_have_no_gradient():
    """By its default in Keras they become NaN, for example where an anchor matches no object in a batch."""
    gradient = np.zeros((4, 3), np.float32)
    gradient[0, 0] = 0.1
    training = CONSTANT.replace(optimizer="adafactor", weight_decay=0.0)
    (weights,) = stepped(make_optimizer(training, 100), [kernel()], [gradient])
    assert weights[0, 0] < START[0, 0]
    np.testing.assert_array_equal(weights.ravel()[1:], START.ravel()[1:])


def test_options_reach_the_optimizer():
    training = CONSTANT.replace(optimizer="adam", optimizer_options={"beta_1": 0.5, "amsgrad": True}, weight_decay=0.0)
    actual = stepped(make_optimizer(training, 100), [kernel()])
    np.testing.assert_array_equal(actual, stepped(keras.optimizers.Adam(0.01, beta_1=0.5, amsgrad=True), [kernel()]))
    assert make_optimizer(CONSTANT.replace(optimizer_options={"nesterov": True}), 1).nesterov


def test_each_group_learns_at_its_own_rate_and_only_kernels_decay():
    def variables():
        return [kernel(), Variable(START[:, 0], name="bias"), kernel()]

    training = CONSTANT.replace(
        optimizer="adamw", weight_decay=0.1, bias_learning_rate_scale=2.0, backbone_learning_rate_scale=0.5
    )
    optimizer, weights = make_optimizer(training, 100), variables()
    optimizer.set_backbone(weights[2:])
    optimizer.build(weights)
    gradients = [[gradient, gradient[:, 0], gradient] for gradient in GRADIENTS]
    for step in gradients:
        optimizer.apply_gradients(zip(map(tf.constant, step), weights))
    for i, (rate, decay) in enumerate([(0.01, 0.1), (0.02, 0.0), (0.005, 0.1)]):
        alone = keras.optimizers.AdamW(rate, weight_decay=decay)
        (expected,) = stepped(alone, [variables()[i]], [step[i] for step in gradients])
        np.testing.assert_array_equal(weights[i].numpy(), expected)


def test_the_schedule_and_a_rate_that_is_set_decide_the_steps():
    training = CONSTANT.replace(optimizer="lion", weight_decay=0.0, milestones=(0.5,))
    optimizer, variable = make_optimizer(training, 4), kernel()
    optimizer.build([variable])
    moves = []
    for i in range(5):
        if i == 4:
            optimizer.learning_rate = 0.5
        before = variable.numpy()
        optimizer.apply_gradients([(tf.ones((4, 3)), variable)])
        moves.append(np.abs(variable.numpy() - before).max())
    np.testing.assert_allclose(moves, [0.01, 0.01, 0.001, 0.001, 0.5], rtol=1e-3)  # Lion moves by the rate


def test_averages_are_those_of_sgd():
    optimizer, variable = make_optimizer(CONSTANT.replace(optimizer="adamw", swa=0.5), 4), kernel()
    weights = [stepped(optimizer, [variable], [gradient])[0] for gradient in GRADIENTS[:4]]
    optimizer.swap_averages()
    np.testing.assert_allclose(variable.numpy(), np.mean(weights[2:], axis=0), rtol=1e-6)


@pytest.mark.skipif(KERAS_2, reason="Keras 2 does not accumulate gradients")
def test_accumulated_gradients_make_the_updates_of_their_means():
    training = CONSTANT.replace(optimizer="adamw", gradient_clip_norm=1.0)
    means = GRADIENTS[:4].reshape(2, 2, 4, 3).mean(1)
    accumulated = make_optimizer(training.replace(batch_size=8, accumulation_steps=2), 100)
    variable = kernel()
    accumulated.build([variable])
    step = tf.function(accumulated.apply)
    for gradient in GRADIENTS[:4]:
        step([tf.constant(gradient)])
    (expected,) = stepped(make_optimizer(training, 100), [kernel()], means)
    np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5)


def test_float16_scales_the_loss_around_it():
    optimizer, variable = make_optimizer(CONSTANT.replace(optimizer="adamw"), 100), kernel()
    scaled = keras.mixed_precision.LossScaleOptimizer(optimizer, initial_scale=2.0)
    scaled.build([variable])

    def step(gradient):
        if KERAS_2:  # `minimize` does this there
            (gradient,) = scaled.get_unscaled_gradients([gradient])
        scaled.apply_gradients([(gradient, variable)])

    tf.function(step)(tf.constant(2.0 * GRADIENTS[0]))
    (expected,) = stepped(make_optimizer(CONSTANT.replace(optimizer="adamw"), 100), [kernel()], GRADIENTS[:1])
    np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-6)


def test_its_config_makes_it_again():
    training = CONSTANT.replace(optimizer="adamw", optimizer_options={"beta_2": 0.9}, backbone_learning_rate_scale=0.1)
    copy = GroupedOptimizer.from_config(make_optimizer(training, 100).get_config())
    assert (copy.kind, copy.options, copy.decay) == ("adamw", {"beta_2": 0.9}, 1e-4)
    assert copy.backbone_learning_rate_scale == 0.1


class Toy(keras.Sequential):
    """A network that a state file can be made of."""

    backbone = rpn_backbone = None

    @property
    def detector(self):
        return self


def test_a_training_is_resumed_to_the_bit(tmp_path):
    def compiled():
        model = Toy([keras.Input((3,)), keras.layers.Dense(4, name="dense")], name="toy")
        training = CONSTANT.replace(optimizer="adamw", ema=0.9, bias_learning_rate_scale=2.0)
        model.compile(optimizer=make_optimizer(training, 10), loss="mse", run_eagerly=True)
        model.optimizer.build(model.trainable_variables)  # as TrainingModel.compile does
        return model

    model, other, batch = compiled(), compiled(), (GRADIENTS[0], START[:, :1])
    model.train_on_batch(*batch)
    save_state(tmp_path / "state.npz", model, {})
    model.train_on_batch(*batch)
    restore_state(tmp_path / "state.npz", other)
    other.train_on_batch(*batch)
    states = [[v.numpy() for v in (*m.trainable_variables, *m.optimizer.variables)] for m in (model, other)]
    assert len(states[0]) > 10
    for one, another in zip(*states):
        np.testing.assert_array_equal(one, another)


class TestWrongOptimizers:
    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"optimizer": "adamax2"}, r"optimizer must be one of sgd, adam, .*lamb, or tfa:CLASS .*, found 'adamax2'"),
            ({"optimizer": "AdamW"}, r"found 'AdamW'"),
            ({"optimizer": "tf:LAMB"}, r"found 'tf:LAMB'"),
            (
                {"optimizer": "lion", "optimizer_options": {"beta": 1.0}},
                r"optimizer_options of lion must be some of beta_1, beta_2, found 'beta'",
            ),
            ({"optimizer": "lion", "optimizer_options": {"learning_rate": 1.0}}, r"found 'learning_rate'"),
            ({"optimizer": "lion", "optimizer_options": {"use_ema": True}}, r"found 'use_ema'"),
            ({"optimizer_options": {"momentum": 0.5}}, r"of sgd must be some of nesterov, found 'momentum'"),
            ({"optimizer": "adam", "optimizer_options": {"beta_1": "x"}}, r"beta_1 must be a number, found 'x'"),
            ({"optimizer": "adam", "optimizer_options": {"amsgrad": 1}}, r"amsgrad must be true or false, found 1"),
        ],
    )
    def test_are_one_line_that_says_what_is_expected(self, changes, message):
        with pytest.raises(InputError, match=message) as error:
            make_optimizer(CONSTANT.replace(**changes), 1)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        ("name", "advice"),
        [
            ("tfa:Lookahead", r"set training\.ema instead"),
            ("tfa:SWA", r"set training\.swa instead"),
            ("tfa:RectifiedAdam", r"set training\.optimizer=adamw with training\.warmup_steps instead"),
            ("tfa:COCOB", "set another instead"),
        ],
    )
    def test_of_tensorflow_addons_name_what_replaced_them_and_how_to_install_it(self, name, advice, no_addons):
        message = rf'pip install "tfrcnn\[addons\]"\) .* or one that Keras has too, found \'{name}\': {advice}\. Pass'
        with pytest.raises(InputError, match=message) as error:
            make_optimizer(CONSTANT.replace(optimizer=name), 1)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("kind", ["Lookahead", "NoSuchClass"])
    def test_of_tensorflow_addons_without_a_rate_are_refused(self, kind, monkeypatch):
        class Lookahead:
            def __init__(self, optimizer, sync_period=6):
                """Wrap an optimizer, as the class of tensorflow-addons."""

        package = types.SimpleNamespace(optimizers=types.SimpleNamespace(Lookahead=Lookahead))
        monkeypatch.setattr(addons, "_addons", lambda: package)
        with pytest.raises(InputError, match=r"with a learning rate.* found 'tfa:.*to TrainingModel\.compile"):
            optimizer_class(f"tfa:{kind}")


@pytest.mark.parametrize(
    ("name", "successor"), [("tfa:LAMB", "Lamb"), ("tfa:AdamW", "AdamW"), ("tfa:LazyAdam", "Adam")]
)
def test_names_of_tensorflow_addons_stand_for_their_successors_in_keras(name, successor, no_addons):
    if not hasattr(keras.optimizers, successor):
        pytest.skip(f"Keras {keras.__version__} has no {successor}")
    assert optimizer_class(name) is getattr(keras.optimizers, successor)


def test_a_successor_of_tensorflow_addons_is_named_in_one_line(no_addons, capsys):
    announce_successor("tfa:AdamW")
    output = capsys.readouterr().out
    assert output == "tfa:AdamW: training with its successor in Keras, --optimizer adamw\n"


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_other_optimizers_are_not_announced(name, no_addons, capsys):
    announce_successor(name)
    assert capsys.readouterr().out == ""


class TestTheLearningRate:
    @pytest.mark.parametrize(
        ("changes", "multiple"),
        [
            ({"training.optimizer": "adamw"}, 1 / 200),
            ({"training": {"optimizer": "lion"}}, 1 / 1000),
            ({"training.optimizer": "tfa:LAMB"}, 1 / 20),
            ({"training.optimizer": "sgd"}, 1),
            ({"training.epochs": 2}, 1),
        ],
    )
    def test_of_another_optimizer_is_a_part_of_the_preset_s(self, changes, multiple):
        start = preset("tiny_fpn")
        rate = changed(start, changes).training.learning_rate
        assert rate == pytest.approx(multiple * start.training.learning_rate)

    @pytest.mark.parametrize(
        "changes",
        [
            {"training.optimizer": "adamw", "training.learning_rate": 0.5},
            {"training": {"optimizer": "adamw", "learning_rate": 0.5}},
        ],
    )
    def test_that_is_set_is_kept(self, changes):
        start = preset("tiny_fpn")
        first = changed(start, changes)
        assert first.training.learning_rate == 0.5
        assert changed(first, {"training.optimizer": "lion"}).training.learning_rate == 0.5

    def test_of_the_classes_of_tensorflow_addons_is_that_of_their_successors(self):
        assert usual_rate("tfa:AdamW", 0.02) == usual_rate("adamw", 0.02) == pytest.approx(1e-4)
        assert usual_rate("tfa:SGDW", 0.02) == 0.02
