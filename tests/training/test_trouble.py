"""A run says when it goes wrong, and says nothing when all is well."""

import dataclasses
import re
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.compat import path_of
from tfrcnn.config import BoxLossConfig, CascadeConfig, ClassLossConfig, DetectionConfig, HeadConfig, RPNConfig
from tfrcnn.data.example import Dataset
from tfrcnn.training.foreground import ForegroundCounts
from tfrcnn.training.measures import Judgement
from tfrcnn.training.run import train
from tfrcnn.training.schemes import SCHEMES
from tfrcnn.training.trouble import MAX_STEPS_WITHOUT, Trouble

from .test_joint import make_batch, make_model
from .test_run import CATEGORIES, fresh_detector, make_dataset, settings


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return make_dataset(folder, 6, 0), make_dataset(folder, 3, 1)


def watch(dataset, counts=(0, 0), head=None, **changes):
    """Return a `Trouble` of a run of 400 steps in two epochs, and the list of its messages."""
    messages = []
    trouble = Trouble(settings().replace(warmup_steps=40, **changes), dataset, SimpleNamespace(), messages.append)
    config = SimpleNamespace(num_classes=2, detections=DetectionConfig(), rpn=RPNConfig(), head=head or HeadConfig())
    steps = dict(zip(("rpn", "head"), counts))

    def steps_without(stage):  # a count rises from step to step
        return steps[stage] + (trouble.step if steps[stage] >= MAX_STEPS_WITHOUT else 0)

    trouble.set_model(
        SimpleNamespace(
            active=("rpn", "head"),
            detector=SimpleNamespace(config=config),
            foreground=SimpleNamespace(steps_without=steps_without),
        )
    )
    trouble.set_params({"epochs": 2, "steps": 200})
    return trouble, messages


def follow(trouble, losses):
    trouble.on_epoch_begin(0)
    for i, mean in enumerate(np.cumsum(losses) / np.arange(1, len(losses) + 1)):
        trouble.on_train_batch_end(i, {"loss": mean})


def report(detections=9, **scores):
    classes = [{"name": name, "AP": score, "ground_truth": 5} for name, score in scores.items()]
    headline = {"AP": float(np.mean(list(scores.values())))}
    return {"counts": {"detections": detections}, "headline": headline, "per_class": classes}


def judge(trouble, reports, losses):
    for each, loss in zip(reports, losses):
        trouble.end_of_epoch.judgement = Judgement(each["headline"], report=each)
        trouble.on_epoch_end(0, {"classifier_loss": loss})


class TestTheLossInTheWarmUp:
    @pytest.mark.parametrize(
        ("last", "cause"),
        [(2.0, r"rate of 0\.02 is too low, or too high"), (4.0, r"rate of 0\.02 is too high: ")],
    )
    def test_a_loss_that_has_not_fallen_is_reported_once_at_the_end_of_the_warm_up(self, last, cause, data):
        trouble, messages = watch(data[0], learning_rate=0.02)
        follow(trouble, np.linspace(2.0, last, 39))
        assert not messages
        trouble.on_train_batch_end(39, {"loss": (np.linspace(2.0, last, 39).sum() + last) / 40})
        assert len(messages) == 1
        assert messages[0].startswith("warning: the loss has not fallen in the warm-up (")
        assert re.search(cause, messages[0])

    @pytest.mark.parametrize(
        "losses",
        [np.linspace(2.0, 1.0, 100), np.full(100, 0.3)],  # the second is of a detector that was trained before
        ids=["falls", "is low"],
    )
    def test_a_loss_that_falls_or_is_low_from_the_start_is_not(self, losses, data):
        trouble, messages = watch(data[0])
        follow(trouble, losses)
        assert not messages

    @pytest.mark.parametrize(
        ("head", "loss", "count"),
        [
            ({"class_agnostic": True, "cascade": CascadeConfig()}, 1.25, 0),  # three heads that guess lose 2.6
            ({"class_agnostic": True, "cascade": CascadeConfig()}, 1.35, 1),
            ({"class_loss_weight": 0.1}, 0.5, 1),
            ({"class_loss": ClassLossConfig("sigmoid_focal")}, 0.3, 1),  # what guessing loses is not known
            ({"box_loss": BoxLossConfig("giou")}, 0.3, 1),
        ],
    )
    def test_a_low_loss_is_one_that_is_low_for_the_losses_of_the_detector(self, head, loss, count, data):
        trouble, messages = watch(data[0], head=HeadConfig(**head))
        follow(trouble, np.full(100, loss))
        assert len(messages) == count

    def test_a_phase_that_goes_on_with_a_trained_head_is_not_judged(self, data):
        """Step 4 of alternating training starts with the head of step 2."""
        assert [phase.starts_trained for phase in SCHEMES["alternating"]] == [False, False, False, True]
        trouble, messages = watch(data[0])
        trouble.starts_trained = True
        follow(trouble, np.full(100, 3.0))
        assert not messages

    def test_a_warm_up_of_a_few_steps_shows_nothing(self, data):
        trouble, messages = watch(data[0])
        trouble.training = trouble.training.replace(warmup_steps=10)
        follow(trouble, np.full(100, 3.0))
        assert not messages


class TestForeground:
    @pytest.mark.parametrize(
        ("counts", "message"),
        [
            ((MAX_STEPS_WITHOUT, 0), "steps had no positive anchor, so the RPN learns background only. 1 of 6 images"),
            ((0, MAX_STEPS_WITHOUT), "steps had no proposal that overlaps an object by IoU 0.5"),
        ],
    )
    def test_many_steps_without_it_are_reported_once(self, counts, message, data):
        trouble, messages = watch(data[0], counts)
        follow(trouble, np.linspace(2.0, 0.1, 400))
        assert len(messages) == 1
        assert message in messages[0]

    def test_few_are_not(self, data):
        trouble, messages = watch(None, (MAX_STEPS_WITHOUT - 1,) * 2)  # the data are read for a report only
        follow(trouble, np.linspace(2.0, 0.1, 400))
        assert not messages

    def test_the_counts_are_of_a_type_that_a_gpu_keeps(self):
        assert {variable.dtype for variable in ForegroundCounts().variables} == {tf.int64}

    @pytest.mark.slow
    def test_a_training_model_counts_the_steps_in_a_row(self):
        model = make_model()
        for objects, expected in ((0, 1), (0, 2), (2, 0), (0, 1)):
            model.train_on_batch(make_batch(objects=objects))
            assert model.foreground.steps_without("rpn") == expected
        assert model.foreground.steps_without("head") >= 1
        assert not [variable for variable in model.variables if "without" in path_of(variable)]


class TestScores:
    def test_no_detection_is_reported_when_there_were_steps_enough_for_some(self, data):
        trouble, messages = watch(data[0])
        judge(trouble, [report(0, bright=0.0)], [1.0])
        assert not messages
        trouble.step = 200
        judge(trouble, [report(0, bright=0.0)] * 2, [1.0] * 2)
        assert len(messages) == 1
        assert "no detection after 200 steps: no score exceeds 0.05" in messages[0]

    @pytest.mark.parametrize(
        ("examples", "cause"),
        [(6, "It has 5 boxes to learn from, so look at them"), (1, "It is rare: 0 of 5 boxes to learn from")],
    )
    def test_a_class_that_stays_at_zero_while_the_others_learn_is_reported_once(self, examples, cause, data):
        dataset = data[0]
        if examples == 1:  # the second class is in no image
            rows = [dataclasses.replace(e, labels=e.labels * 0, difficult=e.labels == 1) for e in dataset.examples]
            dataset = Dataset("made", CATEGORIES, tuple(rows))
        trouble, messages = watch(dataset)
        judge(trouble, [report(bright=0.5, dark=0.0)] * 5, [1.0, 0.8, 0.6, 0.5, 0.4])
        assert len(messages) == 1
        assert "AP of 'dark' is 0 in the last 3 epochs while the loss falls" in messages[0]
        assert cause in messages[0]

    @pytest.mark.parametrize(
        ("reports", "losses"),
        [
            ([report(bright=0.5, dark=0.1)] * 5, [1.0, 0.8, 0.6, 0.5, 0.4]),
            ([report(bright=0.5, dark=0.0)] * 5, [1.0] * 5),  # nothing falls: no class stands out
            ([report(bright=0.01, dark=0.0)] * 5, [1.0, 0.8, 0.6, 0.5, 0.4]),
            ([report(bright=0.5, dark=0.0)] * 2, [1.0, 0.5]),
        ],
    )
    def test_others_are_not(self, reports, losses, data):
        trouble, messages = watch(data[0])
        judge(trouble, reports, losses)
        assert not messages


@pytest.mark.slow
@pytest.mark.parametrize("rate", [pytest.param(1e-9, marks=pytest.mark.soak), None])
def test_a_run_says_that_it_goes_wrong_and_a_good_one_is_silent(rate, data, tmp_path, capsys):
    training = settings().replace(epochs=28, warmup_steps=21)  # of 84 steps
    training = training if rate is None else training.replace(learning_rate=rate)
    train(fresh_detector(), data[0], None, tmp_path / "run", training)
    printed = capsys.readouterr().out
    assert ("warning: the loss has not fallen in the warm-up" in printed) == (rate is not None)
    assert "images/s" in printed
    assert printed.count("warning") == (rate is not None)
