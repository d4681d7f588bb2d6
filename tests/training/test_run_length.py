"""When a run ends and what it averages: patience, accumulated gradients, stochastic weight averaging."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.errors import InputError
from tfrcnn.models import load_detector
from tfrcnn.training import folder as run_folder
from tfrcnn.training import run as run_module
from tfrcnn.training.averages import Statistics, averaged_weights
from tfrcnn.training.callbacks import EndOfEpoch
from tfrcnn.training.checks import check_arguments
from tfrcnn.training.joint import TrainingModel
from tfrcnn.training.loggers import HistoryLogs
from tfrcnn.training.measures import Judgement
from tfrcnn.training.run import train
from tfrcnn.training.run_optimizer import make_optimizer
from tfrcnn.training.schemes import JOINT, SCHEMES, freeze

from .test_joint import make_batch
from .test_run import Interrupt, fresh_detector, make_dataset, settings


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return make_dataset(folder, 6, 0), make_dataset(folder, 3, 1)


def stalled(scores, phase=JOINT, lower_is_better=False):
    rows = [{"phase": phase.number, "val_AP": score} for score in scores]
    end_of_epoch = EndOfEpoch(SimpleNamespace(folder=None), phase, None, [{"phase": 9, "val_AP": 99.0}, *rows], {})
    return end_of_epoch._stalled_epochs(Judgement({"AP": scores[-1]}, lower_is_better))


class TestPatience:
    @pytest.mark.parametrize(
        ("scores", "count"),
        [
            ([0.1], 0),
            ([0.1, 0.2], 0),
            ([0.1, 0.3, 0.2, 0.3], 2),  # an equal score is no better one
            ([0.0, 0.0, 0.0], 0),  # nothing is detected yet
            ([None, None], 0),
            ([0.0, 0.1, None], 1),
        ],
    )
    def test_epochs_without_a_better_score_are_counted_from_the_first_above_zero(self, scores, count):
        assert stalled(scores) == count
        assert stalled(scores, SCHEMES["alternating"][1]) == count

    def test_a_loss_is_better_when_it_is_lower(self):
        assert stalled([2.0, 1.0, 1.5], lower_is_better=True) == 1

    def test_it_needs_validation_data(self, data):
        with pytest.raises(InputError, match="patience needs validation data"):
            check_arguments(fresh_detector(), data[0], None, settings(patience=2))
        check_arguments(fresh_detector(), data[0], None, settings(patience=2), has_measure=True)

    @pytest.mark.soak
    def test_a_run_with_everything_stops_early_and_resumes_to_the_bit(self, data, tmp_path, capsys):
        def scripted():
            scores = iter([0.1, 0.3, 0.2, 0.2, 0.2, 0.2])
            return lambda model: Judgement({"AP": next(scores)})

        def resumed():
            measure = scripted()
            measure(None)
            return measure

        training = settings(
            patience=2, swa=0.25, accumulation_steps=2, backbone_learning_rate_scale=0.5, freeze_batch_norm=False
        ).replace(epochs=8)
        whole = train(fresh_detector(), *data, tmp_path / "whole", training, measure=scripted())
        assert [row["val_AP"] for row in whole.history] == [0.1, 0.3, 0.2, 0.2]
        assert [row["step"] for row in whole.history] == [1, 3, 4, 6]  # updates, of three steps per epoch
        assert "stopped early after epoch 4, since the last 2 epochs brought no better score" in capsys.readouterr().out
        with pytest.raises(KeyboardInterrupt):
            train(
                fresh_detector(), *data, tmp_path / "run", training, measure=scripted(), callbacks=[Interrupt(epoch=1)]
            )
        run = train(fresh_detector(), *data, tmp_path / "run", training, resume=True, measure=resumed())
        assert run.history == whole.history
        weights = [load_detector(each.folder / "last").get_weights() for each in (run, whole)]
        for one, other in zip(*weights):
            np.testing.assert_array_equal(one, other)
        # it is complete, and a larger patience goes on
        assert not run_folder.is_complete(run.folder, patience=3)
        again = train(fresh_detector(), *data, run.folder, training, resume=True, measure=scripted())
        assert again.history == whole.history
        assert "the run: it stopped early after epoch 4" in capsys.readouterr().out
        longer = training.replace(patience=3, epochs=9)
        after = train(fresh_detector(), *data, run.folder, longer, resume=True, measure=lambda _: Judgement({"AP": 0}))
        assert len(after.history) == 5
        assert (run_folder.read_setup(run.folder)["training"]["patience"], after.history[:4]) == (3, whole.history)


def test_a_run_that_stopped_early_says_so_when_it_is_resumed_with_more_epochs(tmp_path, monkeypatch, capsys):
    state = {"phase": 1, "epoch": 3, "stalled": 2, "history": [{"epoch": 3, "step": 9}]}
    (tmp_path / run_folder.STATE).touch()
    for module in (run_module, run_folder):
        monkeypatch.setattr(module, "read_meta", lambda _: state)
    logs = HistoryLogs(tmp_path, {"rows": {}}, {})
    lock, training = SimpleNamespace(folder=tmp_path), settings(patience=2).replace(epochs=9)
    history = run_module._train_phases(None, None, None, training, lock, None, {}, {"callbacks": [logs]})
    assert history == state["history"]
    assert (
        "the run: it stopped early after epoch 3, since the last 2 epochs brought no better" in capsys.readouterr().out
    )


@pytest.mark.parametrize(("scheme", "steps"), [("joint", 9), ("alternating", 6)])
def test_gradients_of_more_steps_than_there_are_cannot_be_accumulated(scheme, steps, data):
    training = settings(accumulation_steps=steps, scheme=scheme)
    check_arguments(fresh_detector(), data[0], None, training)
    with pytest.raises(InputError, match=rf"accumulation_steps must be at most {steps}, the steps of . epochs of made"):
        check_arguments(fresh_detector(), data[0], None, training.replace(accumulation_steps=steps + 1))


@pytest.mark.slow
def test_small_batches_with_accumulation_train_as_the_large_batch(monkeypatch):
    def draw(self, stream, shape, training):
        return tf.broadcast_to(tf.linspace(0.0, 1.0, shape[1]), shape)  # the same for each image and step

    monkeypatch.setattr(TrainingModel, "_draw", draw)
    batch = make_batch(64, 64)
    batch = {name: values if name == "images" else np.stack([values[0]] * 2) for name, values in batch.items()}
    results = []
    for steps in (1, 2):
        detector = fresh_detector()
        training = settings(accumulation_steps=steps, freeze_batch_norm=True).replace(batch_size=2 // steps)
        freeze(detector, training, SCHEMES["rpn-only"][0])
        # anchors are sampled by their place alone, so each image has as many; regions depend on the proposals
        model = TrainingModel(detector, losses=("rpn",))
        model.compile(optimizer=make_optimizer(training, 4 * steps), jit_compile=False)
        for _ in range(2):
            for part in range(steps):
                image = slice(None) if steps == 1 else slice(part, part + 1)
                model.train_on_batch({name: values[image] for name, values in batch.items()})
        results.append([variable.numpy() for variable in model.trainable_variables])
    before = fresh_detector()
    freeze(before, training, SCHEMES["rpn-only"][0])
    assert any(np.abs(a - b.numpy()).max() > 1e-3 for a, b in zip(results[0], before.trainable_variables))
    for one, other in zip(*results):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_the_statistics_of_averaged_weights_are_those_of_training_batches_and_leave_no_trace(monkeypatch):
    detector = fresh_detector()
    training = settings(swa=0.0, freeze_batch_norm=False)
    freeze(detector, training)
    model = TrainingModel(detector)
    model.compile(optimizer=make_optimizer(training, 10), jit_compile=False)
    batches = [make_batch(64, 64, seed=seed) for seed in (0, 1)]
    for batch in batches:
        model.train_on_batch(batch)
    dataset = tf.data.Dataset.from_generator(
        lambda: batches, output_signature={name: tf.TensorSpec(v.shape, v.dtype) for name, v in batches[0].items()}
    )
    sgd, norm = model.optimizer, detector.backbone.get_layer("stem_bn")
    state = [*model.variables, *model.foreground.variables]
    before, seen, traces, statistics = [value.numpy() for value in state], [], [], Statistics(lambda: dataset)
    losses_of = model.losses_of
    monkeypatch.setattr(model, "losses_of", lambda *args, **options: traces.append(1) or losses_of(*args, **options))
    with averaged_weights(model, sgd, statistics):
        assert traces == [1]  # for two batches
    with averaged_weights(model, sgd, statistics):  # of the next epoch
        assert traces == [1]
        seen.append(norm.moving_mean.numpy())
        momentum, norm.momentum = norm.momentum, 0.0
        means = []
        for batch in batches:
            model(batch, training=True)
            means.append(norm.moving_mean.numpy())
        norm.momentum = momentum
    np.testing.assert_allclose(seen[0], np.mean(means, axis=0), rtol=1e-4, atol=1e-6)
    assert np.any(seen[0] != norm.moving_mean.numpy())
    assert norm.momentum == momentum
    for value, expected in zip(state, before):
        np.testing.assert_array_equal(value.numpy(), expected)


class TestLayersThatTheUserFroze:
    def test_they_stay_frozen_in_every_step_of_a_scheme(self):
        detector = fresh_detector()
        frozen = [detector.backbone.get_layer("stem_conv"), detector.fpn]
        for layer in frozen:
            layer.trainable = False
        for phase in (JOINT, SCHEMES["alternating"][2], JOINT):
            freeze(detector, settings(frozen_stages=0, freeze_batch_norm=False), phase)
            assert [layer.trainable for layer in frozen] == [False, False]
            assert not detector.fpn.trainable_variables
        assert detector.backbone.get_layer("stage2_conv1_conv").trainable
        assert detector.backbone.get_layer("stem_bn").trainable

    def test_layers_that_freeze_froze_are_trained_again(self):
        detector = fresh_detector()
        freeze(detector, settings(frozen_stages=2, freeze_batch_norm=True))
        few = len(detector.trainable_variables)
        freeze(detector, settings(frozen_stages=0, freeze_batch_norm=False))
        assert few < len(detector.trainable_variables) == len(fresh_detector().trainable_variables)

    def test_a_detector_that_is_frozen_as_a_whole_is_refused(self):
        detector = fresh_detector()
        detector.trainable = False
        with pytest.raises(InputError, match=r"no layer of the detector is left to train: set detector\.trainable"):
            freeze(detector, settings())

    def test_a_part_within_the_head_stays_frozen(self):
        detector = fresh_detector()
        detector.box_head.classifier.trainable = False
        freeze(detector, settings())
        assert not detector.box_head.classifier.trainable
        assert isinstance(detector.box_head.classifier, keras.layers.Dense)
        assert detector.box_head.trainable_variables
