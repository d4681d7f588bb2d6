"""The sweep of the learning rate: what it suggests, writes and leaves as it was."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tfrcnn.drawing.figures import plot_learning_rates
from tfrcnn.errors import InputError
from tfrcnn.files import read_json
from tfrcnn.models import preset
from tfrcnn.training.lr_finder import LearningRateSweep, _losses, find_learning_rate, suggested_rate

from .test_run import fresh_detector, make_dataset, settings

RATES = [10.0**-i for i in range(5, -1, -1)]


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([2.0, 1.9, 1.2, 0.6, 0.5, 4.0], 1e-3),  # from 1.9 to 0.6 over two decades
        ([2.0, 2.0, 2.0, 2.0, 2.0, 9.0], None),
        ([2.0, 1.98, 1.96, 1.95, 1.95, 1.95], None),  # it hardly falls
    ],
)
def test_the_suggestion_is_the_rate_at_which_the_loss_falls_fastest(losses, expected):
    assert suggested_rate(RATES, losses) == (None if expected is None else pytest.approx(expected))


def test_a_sweep_is_saved_as_numbers_and_a_picture(tmp_path):
    sweep = LearningRateSweep(tuple(RATES), (2.0, 1.9, 1.2, 0.6, 0.5, 4.0), 1e-3)
    sweep.save(tmp_path / "a" / "b")
    assert LearningRateSweep.from_dict(read_json(tmp_path / "a/b/lr_finder.json")) == sweep
    assert (tmp_path / "a/b/lr_finder.png").stat().st_size > 1000
    plot_learning_rates(RATES, sweep.losses, None, tmp_path / "none.png")


@pytest.mark.parametrize(
    "options",
    [{"steps": 9}, {"steps": "20"}, {"steps": 10.5}, {"low": 0.0}, {"low": None}, {"low": 1.0, "high": 0.1}],
    ids=str,
)
def test_ranges_that_cannot_be_swept_are_refused(options):
    with pytest.raises(InputError, match="expected steps >= 10 and 0 < low < high, found steps="):
        find_learning_rate(None, None, None, **options)


def test_a_sweep_has_the_class_weights_and_the_augmentation_of_the_run(tmp_path):
    image, batches = preset("tiny_fpn").detector.image, []

    def train_on_batch(batch, class_weight, return_dict):
        batches.append((batch, class_weight))
        return {"loss": 1.0}

    def black(image, boxes, labels, seed):
        return tf.zeros_like(image), boxes, labels

    config = SimpleNamespace(config=SimpleNamespace(image=image))
    model = SimpleNamespace(detector=config, train_on_batch=train_on_batch, reset_metrics=lambda: None)
    training = settings(class_weights={"dark": 3.0}, color_jitter=0.0)
    assert _losses(model, make_dataset(tmp_path), training, 2, black) == pytest.approx([1.0, 1.0])
    for batch, class_weight in batches:
        assert class_weight == {1: 3.0}
        assert not np.any(batch["images"])


def test_an_image_that_is_gone_during_a_sweep_is_named_in_one_line(tmp_path):
    model = SimpleNamespace(
        detector=SimpleNamespace(config=SimpleNamespace(image=preset("tiny_fpn").detector.image)),
        train_on_batch=lambda *arguments, **options: {"loss": 1.0},
        reset_metrics=lambda: None,
    )
    data = make_dataset(tmp_path)
    data.examples[0].path.unlink()
    with pytest.raises(
        InputError, match=rf"^{data.examples[0].path} \(image 1 of [^\n]*expected an image file, found nothing[^\n]*$"
    ):
        _losses(model, data, settings(), 10, None)


@pytest.mark.slow
def test_a_sweep_ends_when_the_loss_diverges_and_restores_the_weights(tmp_path):
    detector = fresh_detector()
    before = detector.get_weights()
    data = make_dataset(tmp_path, 6)
    training = settings(freeze_batch_norm=False, gradient_clip_norm=None, swa=0.5, accumulation_steps=2)
    sweep = find_learning_rate(detector, data, training, steps=40, low=1e-3, high=1e4)
    assert 5 < len(sweep.losses) == len(sweep.rates) < 40
    assert sweep.suggestion is None or 1e-3 < sweep.suggestion < 100
    for one, other in zip(detector.get_weights(), before):
        np.testing.assert_array_equal(one, other)
