"""augment/custom.py: a user's own function, in TensorFlow or through the adapter of Albumentations."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tfrcnn
from tfrcnn.data.example import Dataset
from tfrcnn.data.image_source import image_errors
from tfrcnn.data.pipeline import training_data
from tfrcnn.errors import InputError

from .test_pipeline import CONFIG, PLAIN, assert_same, dataset, example, find, take

BOXES = [[4, 6, 14, 30], [20, 12, 38, 36]]


@pytest.fixture
def two(tmp_path: Path) -> Dataset:
    return dataset(*(example(tmp_path, f"{i}.png", (40, 80), BOXES[: 2 - i]) for i in range(2)))


def brighten(image: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """A Python branch over a tensor, as users write them."""
    if tf.random.stateless_uniform([], seed) < 0.5:
        image = tf.image.adjust_brightness(image, 0.2)
    return image, boxes, labels


def test_function_is_applied_with_a_seed_per_image_and_resumes_exactly(two: Dataset) -> None:
    training = PLAIN.replace(batch_size=2, horizontal_flip=True)
    data = training_data(two, CONFIG, training, augment=brighten)
    assert_same(take(training_data(two, CONFIG, training, augment=brighten), 2, 1), take(data, 3)[1:])
    _, seeds = data._seeded(tf.constant([0, 1]), tf.constant(3, tf.int64))
    _, others = training_data(two, CONFIG, training)._seeded(tf.constant([0, 1]), tf.constant(3, tf.int64))
    assert set(seeds) - set(others) == {"custom"}
    for name in others:
        np.testing.assert_array_equal(seeds[name], others[name])


def test_function_sees_uint8_pixels_of_the_file_before_anything_else(two: Dataset) -> None:
    """Cut to the left half, the picture of 40 x 80 is square, and is resized after that."""

    def left_half(image: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
        assert image.dtype == tf.uint8
        return image[:, :40], boxes, labels

    for batch in take(training_data(two, CONFIG, PLAIN, augment=left_half), 2):
        np.testing.assert_array_equal(batch["image_sizes"], [[60, 60]])
        np.testing.assert_array_equal(batch["boxes"][0, 0], [6, 9, 21, 45])
        np.testing.assert_array_equal(find(batch["images"][0], 0), [6, 9, 21, 45])


def test_boxes_are_clipped_and_those_without_extent_are_dropped(two: Dataset) -> None:
    boxes = tf.constant([[-5, 10, 20, 100], [0, 0, np.nan, 9], [50, 0, 60, 9], [7, 7, 7, 9]], tf.float32)
    data = training_data(two, CONFIG, PLAIN, augment=lambda image, *_: (image, boxes, tf.range(4)))
    (batch,) = take(data, 1)
    np.testing.assert_array_equal(batch["boxes"], [[[0, 15, 30, 120]]])
    np.testing.assert_array_equal(batch["labels"], [[0]])


def test_image_that_would_lose_all_boxes_is_left_as_it_is(two: Dataset) -> None:
    def lose(image: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return tf.zeros_like(image), boxes[:0], labels[:0]

    assert_same(take(training_data(two, CONFIG, PLAIN, augment=lose), 2), take(training_data(two, CONFIG, PLAIN), 2))


def changed(**changes: object) -> Callable[..., tuple[tf.Tensor, ...]]:
    def function(image: tf.Tensor, boxes: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
        parts = {"image": image, "boxes": boxes, "labels": labels}
        return tuple(changes.get(name, lambda same: same)(part) for name, part in parts.items())

    return function


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda image, boxes: (image, boxes), r"augment must take \(image, boxes, labels, seed\): too many"),
        (lambda image, boxes, labels, seed: (image, boxes), r"augment must return three tensors \(image, boxes, lab"),
        (lambda image, boxes, labels, seed: None, "augment must return three tensors .*, found None"),
        (changed(image=lambda x: x[..., 0]), "must return image as uint8 or float32 of shape .*, found uint8 of"),
        (changed(image=lambda x: x[..., 0:1]), r"must return image as .* shape \[any, any, 3\]"),
        (changed(boxes=lambda x: x[:, :2]), r"must return boxes as .* of shape \[any, 4\], found float32"),
        (changed(labels=lambda x: tf.cast(x, tf.float32)), "must return labels as int32 or int64 .* found float32"),
    ],
)
def test_function_that_takes_or_returns_something_else_is_refused_at_once(
    two: Dataset, function: Callable[..., tuple[tf.Tensor, ...]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        training_data(two, CONFIG, PLAIN, augment=function)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (changed(labels=lambda x: x[:0]), "augment must return one label for each box"),
        (changed(labels=lambda x: x + 4), "augment must return labels below 4"),
        (changed(labels=lambda x: x - 9), "augment must return labels of at least 0"),
    ],
)
def test_wrong_values_are_named_while_batches_are_made(
    two: Dataset, function: Callable[..., tuple[tf.Tensor, ...]], message: str
) -> None:
    with pytest.raises(InputError, match=message), image_errors():
        take(training_data(two, CONFIG, PLAIN, augment=function), 1)


class TestAlbumentations:
    @pytest.fixture(autouse=True)
    def library(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NO_ALBUMENTATIONS_UPDATE", "1")  # it would look for a newer release
        self.library = pytest.importorskip("albumentations")

    def test_boxes_of_a_flip_by_hand(self) -> None:
        """yxyx boxes become x1, y1, x2, y2 and come back."""
        adapted = tfrcnn.from_albumentations(self.library.HorizontalFlip(p=1))
        image = tf.cast(tf.random.stateless_uniform([4, 6, 3], [0, 1], 0, 255), tf.uint8)
        boxes, labels = tf.constant([[0.0, 1, 2, 5], [1, 3, 4, 6]]), tf.constant([3, 1])
        expected = tf.reverse(image, [1]), [[0, 1, 2, 5], [1, 0, 4, 3]], labels
        for result, reference in zip(adapted(image, boxes, labels, tf.constant([1, 2])), expected):
            np.testing.assert_allclose(result, reference, atol=1e-5)

    @pytest.mark.slow
    def test_batches_repeat_and_resume_exactly_from_parallel_threads(self, two: Dataset) -> None:
        transforms = [self.library.Affine(rotate=(-20, 20), p=0.8), self.library.GaussNoise(p=0.5)]
        batches = take(training_data(two, CONFIG, PLAIN, augment=tfrcnn.from_albumentations(transforms)), 12)
        again = training_data(two, CONFIG, PLAIN, augment=tfrcnn.from_albumentations(transforms))
        assert_same(take(again, 6, 6), batches[6:])
        assert len({batch["images"].tobytes() for batch in batches}) > 8

    def test_boxes_hold_the_transformed_pixels(self, two: Dataset) -> None:
        shift = self.library.Affine(translate_px={"x": 8, "y": -2}, p=1)
        data = training_data(two, CONFIG, PLAIN, augment=tfrcnn.from_albumentations([shift]))
        for batch in take(data, 2):
            for box, label in zip(batch["boxes"][0], batch["labels"][0]):
                np.testing.assert_allclose(find(batch["images"][0], label), box, atol=1)
            np.testing.assert_allclose(batch["boxes"][0, 0], [3, 21, 18, 57], atol=0.01)

    def test_images_without_boxes_and_crops_that_lose_all_work(self, tmp_path: Path) -> None:
        images = [example(tmp_path, "a.png", (40, 80)), example(tmp_path, "b.png", (40, 80), [[0, 0, 9, 9]])]
        crop = self.library.Compose([self.library.Crop(40, 20, 80, 40)])
        data = training_data(dataset(*images), CONFIG, PLAIN, augment=tfrcnn.from_albumentations(crop))
        batches = {int(batch["image_index"][0]): batch for batch in take(data, 2)}
        np.testing.assert_array_equal(batches[0]["labels"], [[-1]])
        np.testing.assert_array_equal(batches[1]["boxes"], [[[0, 0, 13.5, 13.5]]])

    def test_compose_with_box_parameters_is_refused(self) -> None:
        flip, boxes = self.library.HorizontalFlip(), self.library.BboxParams("coco", label_fields=[])
        with pytest.raises(InputError, match="leave bbox_params out of the Compose"):
            tfrcnn.from_albumentations(self.library.Compose([flip], bbox_params=boxes))

    def test_floats_are_refused_with_what_to_leave_out(self, two: Dataset) -> None:
        adapted = tfrcnn.from_albumentations([self.library.Normalize()])
        with pytest.raises(InputError, match=r"found float32 of .*: leave Normalize, ToFloat and"), image_errors():
            take(training_data(two, CONFIG, PLAIN, augment=adapted), 1)


def test_advice_about_a_file_is_not_given_for_an_augmentation() -> None:
    for message, end in (("augment must return labels of at least 0", ""), ("a (image 1 of 2 in x): missing", "; do")):
        with pytest.raises(InputError, match=f"^{re.escape(message)}{end}$"), image_errors("; do"):
            raise tf.errors.InvalidArgumentError(None, None, f"InputError: {message}")
