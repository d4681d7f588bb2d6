"""What users do with a Keras model: each works with a detector and its training model, or is refused at once."""

import copy
import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.compat import KERAS_2
from tfrcnn.errors import InputError
from tfrcnn.models import build_detector, load_detector, preset, save_detector
from tfrcnn.training.joint import TrainingModel
from tfrcnn.training.run_optimizer import make_optimizer

from .test_joint import CATEGORIES, TRAINING, make_batch, make_model

ONES = np.ones(2)


@pytest.fixture(scope="module")
def model():
    return make_model(static=64)


@pytest.fixture(scope="module")
def batch():
    return {key: tf.constant(value) for key, value in make_batch(64, 64).items()}


def endless(batch):
    return tf.data.Dataset.from_tensors(batch).repeat()


REFUSED = {
    "compile(loss)": (lambda m, b: m.compile("sgd", "mse"), "takes no loss, leave it out: the detector has its four"),
    "compile(loss_weights)": (lambda m, b: m.compile("sgd", loss_weights=[1.0]), "no loss_weights.*box_loss_weight"),
    "compile(metrics)": (lambda m, b: m.compile("sgd", metrics=["mse"]), "no metrics.*tfrcnn.evaluate"),
    "compile(weighted_metrics)": (lambda m, b: m.compile("sgd", weighted_metrics=["mse"]), "no weighted_metrics"),
    "fit(class_weight) of other labels": (
        lambda m, b: m.fit(b, class_weight={3: 1.0}),
        r"0\.\.2 \(2 is background\).*{3:",
    ),
    "fit(sample_weight)": (lambda m, b: m.fit(b, sample_weight=ONES), "no sample_weight.*repeat the images"),
    "fit(y)": (lambda m, b: m.fit(b, ONES), "takes no y, leave it out: the batches of tfrcnn.training_data hold"),
    "fit without end": (lambda m, b: m.fit(endless(b)), "fit: x has no end, so pass steps_per_epoch"),
    "fit(validation_data) without end": (
        lambda m, b: m.fit(endless(b), steps_per_epoch=1, validation_data=endless(b)),
        "validation_data has no end, so pass validation_steps",
    ),
    "evaluate without end": (lambda m, b: m.evaluate(endless(b)), "evaluate: x has no end, so pass steps"),
    "train_on_batch(class_weight)": (lambda m, b: m.train_on_batch(b, class_weight={0: -1.0}), r"found {0: -1\.0}"),
    "compute_loss(sample_weight)": (lambda m, b: m.compute_loss(x=b, sample_weight=ONES), "takes no sample_weight"),
    "images alone": (
        lambda m, b: m(b["images"]),
        "expected batches as tfrcnn.training_data makes them, found no 'imag",
    ),
    "images without boxes": (
        lambda m, b: m({"images": b["images"]}),
        "found no 'image_sizes'",
    ),
    "boxes in float64": (
        lambda m, b: m({**b, "boxes": tf.cast(b["boxes"], tf.float64)}),
        r"makes them, with boxes float32 \[B, M, 4\], found float64",
    ),
    "images of 8 bits": (
        lambda m, b: m({**b, "images": tf.cast(b["images"], tf.uint8)}),
        "images float32 .* found uint8",
    ),
    "one image": (lambda m, b: m({name: value[0] for name, value in b.items()}), r"found float32 \(64, 64, 3\)"),
    "fit()": (lambda m, b: m.fit(), "fit: x: expected batches, for example data.batches.*found NoneType"),
    "fit(a path)": (lambda m, b: m.fit("cells.json"), "fit: x: expected batches.*found str"),
    "fit(a function)": (lambda m, b: m.fit(endless), "fit: x: expected batches.*found function"),
    "quantize": (lambda m, b: m.quantize("int8"), 'export it with precision="int8"'),
    "detector.quantize": (lambda m, b: m.detector.quantize("int8"), 'export it with precision="int8"'),
    "detector.fit": (lambda m, b: m.detector.fit(b["images"]), "train it with tfrcnn.train, or fit tfrcnn.Tr"),
    "detector.evaluate": (lambda m, b: m.detector.evaluate(b["images"]), "tfrcnn.evaluate measures it"),
    "detector(one image)": (
        lambda m, b: m.detector(b["images"][0]),
        r"found \[64, 64, 3\]: tfrcnn.Predictor\(detector",
    ),
    "detector(grey)": (
        lambda m, b: m.detector(b["images"][..., :1]),
        r"must be \[B, H, W, 3\] .* found \[2, 64, 64, 1\]",
    ),
    "detector(no image)": (lambda m, b: m.detector(b["images"][:0]), r"not empty, found \[0, 64, 64, 3\]"),
    "predict": (lambda m, b: m.predict_on_batch(b), "does not predict: use model.detector, or tfrcnn.Predictor"),
    "export": (lambda m, b: m.export("out"), "is not exported: export its detector"),
    "save to .h5": (lambda m, b: m.save("m.h5"), r"m\.h5: expected a file name that ends in \.keras; save_weights"),
    "detector.compile": (lambda m, b: m.detector.compile("sgd", "mse"), "train it with tfrcnn.train, or fit tfrcnn.Tr"),
    "detector.save to .h5": (lambda m, b: m.detector.save("d.h5"), r"d\.h5: expected a file name that ends in \.keras"),
}


@pytest.mark.parametrize(("action", "message"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_a_detector_is_refused_at_once_in_one_line(action, message, model, batch):
    with pytest.raises(InputError, match=message) as error:
        action(model, batch)
    assert "\n" not in str(error.value)


def test_batches_may_come_from_a_generator(model, batch, monkeypatch):
    seen = []
    monkeypatch.setattr(keras.Model, "fit", lambda self, x, **options: seen.extend(x))
    model.fit(batch for _ in range(2))
    assert seen == [(batch,), (batch,)]


def test_a_layer_that_is_frozen_after_compile_is_refused_until_it_is_called_again(batch):
    model = make_model(static=64)
    model.detector.backbone.trainable = False
    with pytest.raises(InputError, match=r"frozen or unfrozen after TrainingModel\.compile: call compile again"):
        model.train_on_batch(batch)
    model.compile(make_optimizer(TRAINING, 1))
    model.make_train_function()


@pytest.mark.slow
def test_a_loop_of_your_own_draws_other_samples_in_every_step_and_goes_on_where_it_stopped(batch, tmp_path):
    def draws(model, steps):
        drawn = []
        for _ in range(steps):
            with tf.GradientTape() as tape:
                loss = model.compute_loss(x=batch, y_pred=model(batch, training=True))
            drawn.append(model._draw("roi_samples", [2, 50], True).numpy())
            tape.gradient(loss, model.trainable_variables[-2:])
        return drawn

    detector = build_detector(preset("tiny_fpn", CATEGORIES, 64).detector)
    model = TrainingModel(detector)
    first, second = draws(model, 2)
    assert not np.array_equal(first, second)
    model.save_weights(tmp_path / "m.weights.h5")
    other = TrainingModel(build_detector(detector.config))
    other.load_weights(tmp_path / "m.weights.h5")
    np.testing.assert_array_equal(draws(other, 1), draws(model, 1))


def test_losses_without_a_gradient_count_no_step(batch):
    model = make_model(static=64)
    outputs = model(batch, training=True)
    losses = [float(model.compute_loss(x=batch, y_pred=outputs)) for _ in range(2)]
    assert losses[0] == losses[1]
    assert int(model.steps) == 0


def test_a_clone_is_a_detector_with_weights_of_its_own(model, tmp_path):
    detector = model.detector
    clone = keras.models.clone_model(detector)
    assert type(clone) is type(detector)
    assert clone.config == detector.config
    assert clone.kernels is detector.kernels
    kernel, other = (each.box_head.classifier.kernel.numpy() for each in (clone, detector))
    assert not np.array_equal(kernel, other)
    clone.set_weights(detector.get_weights())
    save_detector(clone, tmp_path)
    images = np.random.default_rng(0).uniform(0, 255, (1, 60, 50, 3)).astype(np.float32)
    np.testing.assert_array_equal(load_detector(tmp_path)(images)["boxes"], detector(images)["boxes"])


def through_file(model, tmp_path):
    model.save(tmp_path / "model.keras")
    return keras.models.load_model(tmp_path / "model.keras")


COPIES = {
    "pickle": lambda model, _: pickle.loads(pickle.dumps(model)),
    "deepcopy": lambda model, _: copy.deepcopy(model),
    "save and load_model": through_file,
}


@pytest.mark.parametrize("make_copy", COPIES.values(), ids=COPIES)
def test_a_copy_of_a_training_model_has_its_weights_optimizer_and_steps(make_copy, model, tmp_path):
    model.optimizer.learning_rate = 0.003
    model.steps.assign(7)
    other = make_copy(model, tmp_path)
    assert int(other.steps) == 7
    assert float(other.optimizer.learning_rate) == pytest.approx(0.003)
    for one, two in zip(model.get_weights(), other.get_weights()):
        np.testing.assert_array_equal(one, two)


@pytest.mark.slow
@pytest.mark.skipif(KERAS_2, reason="its callbacks cannot set the rate of a schedule")
def test_fit_works_with_every_callback_validation_data_and_several_steps_per_execution(batch, tmp_path):
    model = make_model(static=64)
    model.compile(make_optimizer(TRAINING, 10), steps_per_execution=2)
    callbacks = [
        keras.callbacks.BackupAndRestore(str(tmp_path / "backup")),
        keras.callbacks.CSVLogger(str(tmp_path / "log.csv")),
        keras.callbacks.EarlyStopping(monitor="val_loss", mode="min", patience=5),
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5),
        keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras"),
        keras.callbacks.ReduceLROnPlateau(monitor="loss", mode="min", patience=1, min_delta=100.0),
        keras.callbacks.TensorBoard(str(tmp_path / "logs"), write_graph=False),
    ]
    data = tf.data.Dataset.from_tensors(batch)
    history = model.fit(
        data.repeat(), steps_per_epoch=2, epochs=3, validation_data=data, callbacks=callbacks, shuffle=False, verbose=0
    ).history
    rate = TRAINING.learning_rate * TRAINING.batch_size / 16
    np.testing.assert_allclose(history["learning_rate"], [rate / 2, rate / 4, rate / 80], rtol=1e-5)
    assert np.all(np.isfinite(history["val_loss"]))
    assert int(model.steps) == int(model.optimizer.iterations) == 6
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 4
    assert int(keras.models.load_model(tmp_path / "2.keras").steps) == 4
