"""The training model under plain `fit`."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.compat import path_of
from tfrcnn.config import Category, TrainingConfig
from tfrcnn.errors import InputError
from tfrcnn.models import build_detector, preset
from tfrcnn.training import joint
from tfrcnn.training.joint import LOSSES, TrainingModel
from tfrcnn.training.run_optimizer import make_optimizer
from tfrcnn.training.schemes import freeze

CATEGORIES = (Category(3, "a"), Category(90, "b"))
TRAINING = TrainingConfig(epochs=1, batch_size=2, warmup_steps=0, freeze_batch_norm=False, learning_rate=0.01)


def make_batch(height=64, width=96, objects=2, seed=0):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 30, (2, 3, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(10, 30, (2, 3, 2))], -1).astype(np.float32)
    labels = np.tile(np.where(np.arange(3) < objects, np.arange(3) % 2, -1), (2, 1)).astype(np.int32)
    return {
        "images": rng.uniform(0, 255, (2, height, width, 3)).astype(np.float32),
        "image_sizes": np.array([[height, width]] * 2, np.float32),
        "boxes": boxes * (labels >= 0)[..., None],
        "labels": labels,
    }


def make_model(seed=0, static=None, kernels="tensorflow", jit_compile=False, training=TRAINING):
    keras.utils.set_random_seed(seed)
    detector = build_detector(preset("tiny_fpn", CATEGORIES, static).detector, kernels=kernels)
    freeze(detector, training)
    model = TrainingModel(detector, seed)
    model.compile(optimizer=make_optimizer(training, 10), jit_compile=jit_compile)
    return model


def losses_of(model, batch):
    outputs = model(batch, training=True)
    model.compute_loss(x=batch, y_pred=outputs)
    return {metric.name: float(metric.result()) for metric in model.loss_metrics}


def test_losses_have_their_names_in_any_order_of_the_stages():
    losses = []
    for stages in (("rpn", "head"), ("head", "rpn")):
        keras.utils.set_random_seed(0)
        model = TrainingModel(build_detector(preset("tiny_fpn", CATEGORIES).detector), 0, stages)
        losses.append(losses_of(model, make_batch()))
    assert losses[0] == losses[1]


@pytest.fixture(scope="module")
def fitted():
    """Return a model, its history over 30 steps on one batch, and its backbone's weights before."""
    training = TRAINING.replace(learning_rate=0.08)
    model = make_model(training=training)
    model.compile(optimizer=make_optimizer(training, 1000), jit_compile=False)  # the learning rate stays constant
    before = {layer.name: layer.get_weights() for layer in model.detector.backbone.layers}
    data = tf.data.Dataset.from_tensors(make_batch()).repeat()
    history = model.fit(data, steps_per_epoch=10, epochs=3, shuffle=False, verbose=0).history
    return model, history, before


def test_fit_reports_the_four_losses_and_their_sum(fitted):
    history = fitted[1]
    assert set(history) == {"loss", *LOSSES}
    np.testing.assert_allclose(history["loss"][0], sum(history[name][0] for name in LOSSES), rtol=1e-5)


def test_thirty_steps_on_one_batch_make_the_objectness_loss_a_fifth(fitted):
    losses = fitted[1]["rpn_objectness_loss"]
    assert losses[-1] < 0.2 * losses[0]


def test_trainable_norms_update_their_statistics(fitted):
    model, _, before = fitted
    assert np.any(model.detector.backbone.get_layer("stem_bn").get_weights()[2] != before["stem_bn"][2])


def test_an_image_without_objects_has_zero_box_losses_and_finite_gradients():
    model, batch = make_model(), make_batch(objects=0)
    with tf.GradientTape() as tape:
        outputs = model(batch, training=True)
        loss = model.compute_loss(x=batch, y_pred=outputs)
    assert float(model.loss_metrics[1].result()) == 0
    assert float(model.loss_metrics[3].result()) == 0
    gradients = [g for g in tape.gradient(loss, model.trainable_variables) if g is not None]
    assert all(np.all(np.isfinite(g)) for g in gradients)


def test_every_trained_weight_has_a_gradient_that_is_not_zero():
    model, batch = make_model(), make_batch()
    with tf.GradientTape() as tape:
        loss = model.compute_loss(x=batch, y_pred=model(batch, training=True))
    gradients = tape.gradient(loss, model.trainable_variables)
    without = [path_of(v) for v, g in zip(model.trainable_variables, gradients) if g is None or not np.any(g)]
    assert not without


def test_the_heads_losses_train_no_weight_of_the_rpn():
    # proposals are constants to the head (section 3.2, approximate joint training)
    model, batch = make_model(), make_batch()
    with tf.GradientTape(persistent=True) as tape:
        outputs = model(batch, training=True)
        total = model.compute_loss(x=batch, y_pred=outputs)
        without_rpn = model.compute_loss(
            x=batch,
            y_pred={
                **outputs,
                "rpn_logits": tf.stop_gradient(outputs["rpn_logits"]),
                "rpn_deltas": tf.stop_gradient(outputs["rpn_deltas"]),
            },
        )
    rpn = model.detector.rpn_head.trainable_variables
    assert all(gradient is None for gradient in tape.gradient(without_rpn, rpn))
    assert all(np.any(gradient) for gradient in tape.gradient(total, rpn))
    shared = model.detector.fpn.trainable_variables
    assert all(gradient is not None for gradient in tape.gradient(without_rpn, shared[:2]))


def test_the_weight_of_the_rpns_box_loss_multiplies_that_loss_alone():
    batch, model = make_batch(), make_model()
    config = model.detector.config
    one = losses_of(model, batch)
    model.detector.config = config.replace(rpn=config.rpn.replace(box_loss_weight=10.0))
    model.reset_metrics()
    ten = losses_of(model, batch)
    for name in LOSSES:
        np.testing.assert_allclose(ten[name], one[name] * (10 if name == "rpn_box_loss" else 1), rtol=1e-5)


@pytest.mark.slow
def test_padding_the_ground_truth_does_not_change_the_loss():
    batch = make_batch()
    padded = {
        **batch,
        "boxes": np.pad(batch["boxes"], [[0, 0], [0, 4], [0, 0]]),
        "labels": np.pad(batch["labels"], [[0, 0], [0, 4]], constant_values=-1),
    }
    model = make_model()
    # the sampled RoIs depend on the number of candidates: compare only the RPN's losses
    one, other = losses_of(model, batch), losses_of(make_model(), padded)
    for name in LOSSES[:2]:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-5)


@pytest.mark.slow
def test_the_samples_of_a_step_are_a_function_of_seed_and_step():
    batch = make_batch()
    one = losses_of(make_model(0), batch)
    assert losses_of(make_model(0), batch) == one
    model = make_model(0)
    model.optimizer.iterations.assign(5)
    assert losses_of(model, batch) != one


def test_no_two_samplings_draw_the_same_numbers(monkeypatch):
    # anchors and RoIs of one seed, then of the next, which must not repeat either
    drawn = []
    for name in ("rpn_targets", "roi_targets"):
        original = getattr(joint, name)

        def record(*arguments, original=original):
            drawn.append(tuple(arguments[-1].numpy().ravel()[:8].tolist()))
            return original(*arguments)

        monkeypatch.setattr(joint, name, record)
    batch, model = make_batch(), make_model(0)
    outputs = model(batch, training=True)
    for seed in (0, 1):
        model.seed = seed
        for step in (0, 1):
            model.optimizer.iterations.assign(step)
            model.losses_of(batch, outputs)
    assert len(drawn) == 8
    assert len(set(drawn)) == 8


@pytest.mark.slow
def test_batches_of_many_sizes_are_trained_with_one_trace():
    model = make_model()
    batches = [make_batch(h, w, seed=h) for h, w in ((64, 96), (96, 64), (64, 64), (128, 96))]
    signature = {
        "images": tf.TensorSpec([2, None, None, 3]),
        "image_sizes": tf.TensorSpec([2, 2]),
        "boxes": tf.TensorSpec([2, None, 4]),
        "labels": tf.TensorSpec([2, None], tf.int32),
    }
    data = tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=signature)
    traces, after_batch = [], []
    original = model.compute_loss
    model.compute_loss = lambda *a, **k: traces.append(1) or original(*a, **k)
    count = keras.callbacks.LambdaCallback(on_train_batch_end=lambda *_, **__: after_batch.append(len(traces)))
    model.fit(data.repeat(), steps_per_epoch=8, shuffle=False, verbose=0, callbacks=[count])
    assert after_batch == [after_batch[0]] * 8


XLA_SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
import tensorflow as tf
from test_joint import make_batch, make_model
from tfrcnn.training.joint import TrainingModel

# XLA draws other random numbers than TensorFlow from the same seed; both steps must sample the same anchors
TrainingModel._draw = lambda self, stream, shape, training: tf.reshape(
    tf.range(tf.reduce_prod(shape)) * 7919 % 10007 / 10007, shape
)
data = tf.data.Dataset.from_tensors(make_batch(64, 64)).repeat()
fit = {"steps_per_epoch": 1, "shuffle": False, "verbose": 0}
plain = make_model(static=64).fit(data, **fit).history
model = make_model(static=64, kernels="portable", jit_compile=True)
assert model.jit_compile
compiled = model.fit(data, **fit).history
# a fresh RPN scores every anchor about 0.5: round-off alone decides which proposals the head is given, so the head's
# losses are compared loosely; the objectness of sampled anchors does not depend on it
np.testing.assert_allclose(compiled["rpn_objectness_loss"], plain["rpn_objectness_loss"], rtol=1e-3)
assert np.all(np.isfinite(compiled["loss"]))
"""


@pytest.mark.soak
def test_the_whole_step_compiles_under_xla_with_a_static_size():
    # in a separate process: `train` turns op determinism on, and then Keras does not compile
    process = subprocess.run(
        [sys.executable, "-c", XLA_SCRIPT, str(Path(__file__).parent)], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr[-3000:]


def test_xla_is_chosen_by_keras_for_a_static_size_and_portable_kernels_alone():
    dynamic, static = preset("tiny_fpn", CATEGORIES).detector, preset("tiny_fpn", CATEGORIES, 64).detector
    assert not build_detector(dynamic, kernels="portable").supports_jit
    assert not build_detector(static).roi_pooling.supports_jit
    compiled = build_detector(static, kernels="portable")
    assert compiled.supports_jit
    assert compiled.roi_pooling.supports_jit


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_to_about_the_same_loss(precision):
    keras.utils.set_random_seed(0)
    detector = build_detector(preset("tiny_fpn", CATEGORIES).detector, precision=precision)
    freeze(detector, TRAINING)
    model = TrainingModel(detector)
    model.compile(optimizer=make_optimizer(TRAINING, 10), jit_compile=False)
    is_scaled = isinstance(model.optimizer, keras.mixed_precision.LossScaleOptimizer)
    assert is_scaled == (precision == "mixed_float16")
    data = tf.data.Dataset.from_tensors(make_batch()).repeat()
    loss = model.fit(data, steps_per_epoch=3, shuffle=False, verbose=0).history["loss"][0]
    reference = make_model().fit(data, steps_per_epoch=3, shuffle=False, verbose=0).history["loss"][0]
    np.testing.assert_allclose(loss, reference, rtol=0.1)


class TestFreezing:
    @pytest.mark.slow
    def test_frozen_stages_and_norms_do_not_change_and_the_rest_does(self):
        training = TRAINING.replace(frozen_stages=1, freeze_batch_norm=True)
        model = make_model(training=training)
        backbone = model.detector.backbone
        before = {layer.name: layer.get_weights() for layer in backbone.layers}
        data = tf.data.Dataset.from_tensors(make_batch()).repeat()
        model.fit(data, steps_per_epoch=2, shuffle=False, verbose=0)
        changed = {
            layer.name
            for layer in backbone.layers
            if any(np.any(a != b) for a, b in zip(layer.get_weights(), before[layer.name]))
        }
        assert changed
        assert all(name.startswith(("stage2", "stage3")) and name.endswith("_conv") for name in changed)

    def test_more_stages_than_there_are_is_an_error(self):
        detector = build_detector(preset("tiny_fpn", CATEGORIES).detector)
        with pytest.raises(InputError, match="frozen_stages must be at most 3 for tiny, found 4"):
            freeze(detector, TRAINING.replace(frozen_stages=4))
