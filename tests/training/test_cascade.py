"""Training of a Cascade R-CNN."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.compat import path_of
from tfrcnn.config import CascadeConfig, Category, TrainingConfig
from tfrcnn.layers import CascadeHeads
from tfrcnn.models import build_detector, preset
from tfrcnn.training import joint
from tfrcnn.training.alternating import _take_head_and_features
from tfrcnn.training.joint import LOSSES, TrainingModel
from tfrcnn.training.schemes import HEAD, SCHEMES, freeze

CASCADE = CascadeConfig()
CATEGORIES = (Category(3, "a"), Category(90, "b"))
TRAINING = TrainingConfig(epochs=1, batch_size=2, warmup_steps=0, freeze_batch_norm=False, learning_rate=0.01)
BATCH = {
    "images": np.random.default_rng(0).uniform(0, 255, (2, 64, 96, 3)).astype(np.float32),
    "image_sizes": np.array([[64, 96], [60, 80]], np.float32),
    "boxes": np.array([[[5, 10, 35, 50], [20, 40, 60, 90]], [[10, 10, 40, 30], [0, 0, 0, 0]]], np.float32),
    "labels": np.array([[0, 1], [1, -1]], np.int32),
}


def make_model(precision="float32"):
    keras.utils.set_random_seed(0)
    config = preset("tiny_fpn", CATEGORIES).detector
    detector = build_detector(
        config.replace(head=config.head.replace(class_agnostic=True, cascade=CASCADE)), precision=precision
    )
    return TrainingModel(detector)


@pytest.fixture(scope="module")
def model():
    return make_model()


def watched(monkeypatch, name):
    """Record the arguments and the result of each call of a function that `joint` uses."""
    calls, function = [], getattr(joint, name)

    def call(*args):
        calls.append((args, result := function(*args)))
        return result

    monkeypatch.setattr(joint, name, call)
    return calls


def test_the_losses_are_the_weighted_sums_over_the_stages(model, monkeypatch):
    losses = watched(monkeypatch, "head_losses")
    total = model.losses_of(BATCH, model(BATCH, training=True))
    assert len(losses) == 3
    for i, name in enumerate(LOSSES[2:]):
        expected = sum(weight * float(result[i]) for weight, (_, result) in zip((1, 0.5, 0.25), losses))
        np.testing.assert_allclose(total[name], expected, rtol=1e-6)
        assert expected > 0


def test_a_stage_learns_on_all_boxes_that_the_stage_before_predicts(model, monkeypatch):
    refined, losses = (watched(monkeypatch, name) for name in ("refined_roi_targets", "head_losses"))
    model.losses_of(BATCH, model(BATCH, training=True))
    assert [call[0][5].match.foreground_iou for call in refined] == [0.6, 0.7]
    for stage, ((boxes, valid, *_), targets) in enumerate(refined):
        (_, deltas, before, *_), _ = losses[stage]
        expected = model.detector.stages.refine(deltas, before.boxes, BATCH["image_sizes"], stage)
        np.testing.assert_array_equal(boxes, expected)
        np.testing.assert_array_equal(valid, before.samples.valid)
        assert targets is losses[stage + 1][0][2]


def test_the_losses_of_later_stages_train_the_features_but_no_earlier_head(model, monkeypatch):
    losses, detector = watched(monkeypatch, "head_losses"), model.detector
    first = detector.box_head.trainable_weights
    with tf.GradientTape() as tape:
        model.losses_of(BATCH, model(BATCH, training=True))
        later = tf.add_n([loss for _, stage in losses[1:] for loss in stage])
    *gradients, of_features = tape.gradient(later, [*first, detector.backbone.trainable_weights[0]])
    assert gradients == [None] * len(first)
    assert np.any(of_features)


def test_a_batch_without_objects_has_finite_losses_and_no_box_loss(model):
    empty = {**BATCH, "boxes": np.zeros((2, 1, 4), np.float32), "labels": np.full((2, 1), -1, np.int32)}
    losses = model.losses_of(empty, model(empty, training=True))
    assert losses["box_loss"] == 0
    assert np.isfinite(losses["classifier_loss"])


@pytest.mark.slow
def test_every_weight_of_every_stage_is_trained_under_mixed_precision():
    model = make_model(precision="mixed_bfloat16")
    assert model.detector.cascade.heads[0].hidden[0].compute_dtype == "bfloat16"
    with tf.GradientTape() as tape:
        loss = model.compute_loss(x=BATCH, y_pred=model(BATCH, training=True))
    gradients = tape.gradient(loss, model.trainable_variables)
    without = [path_of(v) for v, g in zip(model.trainable_variables, gradients) if g is None or not np.any(g)]
    assert not without
    assert all(np.all(np.isfinite(gradient)) for gradient in gradients)


@pytest.mark.parametrize("scheme", ["joint", "rpn-only", "alternating"])
def test_every_stage_is_trained_in_the_steps_that_train_the_head(model, scheme):
    detector = model.detector
    for phase in SCHEMES[scheme]:
        freeze(detector, TRAINING, phase)
        assert detector.cascade.trainable == detector.box_head.trainable == (HEAD in phase.losses)
        assert bool(detector.cascade.trainable_weights) == (HEAD in phase.losses)
    freeze(detector, TRAINING)


def test_alternating_training_hands_every_stage_on(model):
    config, parts = model.detector.cascade.config, {"backbone": None, "fpn": None, "roi_pooling": None}
    one, other = (CascadeHeads(config, 2) for _ in range(2))
    for heads in (one, other):
        heads.build((None, None, 7, 7, 4))
    box_head = model.detector.box_head
    _take_head_and_features(*(SimpleNamespace(**parts, box_head=box_head, cascade=heads) for heads in (one, other)))
    for weight, expected in zip(other.get_weights(), one.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)


@pytest.mark.soak
def test_the_losses_and_their_gradients_compile_under_xla():
    keras.utils.set_random_seed(0)
    config = preset("tiny_fpn", CATEGORIES, 64).detector
    head = config.head.replace(class_agnostic=True, cascade=CASCADE)
    model = TrainingModel(build_detector(config.replace(head=head), kernels="portable"))
    images = tf.constant(BATCH["images"])[:, :, :64]
    batch = {**{key: tf.constant(value) for key, value in BATCH.items()}, "images": images}

    @tf.function(jit_compile=True)
    def step():
        with tf.GradientTape() as tape:
            loss = tf.add_n([*model.losses_of(batch, model(batch, training=True)).values()])
        return loss, tape.gradient(loss, model.detector.cascade.trainable_weights)

    loss, gradients = step()
    assert np.isfinite(loss)
    assert all(np.all(np.isfinite(gradient)) and np.any(gradient) for gradient in gradients)
