"""Reads the images of a data set inside tf.data, and names the image that cannot be read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import tensorflow as tf

from tfrcnn.data.calls import counted
from tfrcnn.data.decode import decode_file
from tfrcnn.data.example import Dataset
from tfrcnn.data.example_table import column_of
from tfrcnn.errors import InputError
from tfrcnn.printable import printable

# in the message of TensorFlow's error; `tf.debugging.Assert` puts a bracket behind it, see `GraphPixels`
_IMAGE_ERROR = re.compile(rf"{InputError.__name__}: (.+ (?:px|bytes)(?=\])|.+)")
_PLACE = re.compile(r"\(image [\d,]+ of [\d,]+ in ")  # in a message about an image, see `Pixels.read`


@contextmanager
def image_errors(advice: str = "") -> Iterator[None]:
    """Raise the `InputError` of an image in place of TensorFlow's error that holds it; also works as a decorator.

    Args:
        advice: the end of the message, what to do about the file. Errors of a user's augmentation go without it.

    Raises:
        InputError: the block read an image that is missing, cannot be decoded or has another size than before.

    Example:
        with image_errors():
            model.fit(data.batches(), steps_per_epoch=data.steps_per_epoch)
    """
    try:
        yield
    except tf.errors.OpError as error:
        if match := _IMAGE_ERROR.search(str(error.message)):
            raise InputError(match[1] + (advice if _PLACE.search(match[1]) else "")) from error
        raise


class Pixels:
    """Reads the upright [H, W, 3] uint8 image at a position of a data set from its file."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def __call__(self, index: tf.Tensor) -> tf.Tensor:
        # "stateless": the same pixels whenever it runs, so that repeatable pipelines still decode in parallel
        pixels = tf.numpy_function(counted(self.read), [index], tf.uint8, stateful=False)
        return tf.ensure_shape(pixels, [None, None, 3])

    def read(self, index: int) -> np.ndarray:
        """Read one image, outside TensorFlow.

        Raises:
            InputError: the file cannot be decoded, or has another size; the message names the file and the position.
        """
        example = self._dataset.examples[index]
        try:
            pixels = np.asarray(decode_file(example.path, example.orientation))
            height, width = pixels.shape[:2]
            if (height, width) != (example.height, example.width):  # boxes would be silently wrong
                expected = f"{example.width} x {example.height} px, as when the data set was read"
                raise InputError(f"expected {expected}, found {width} x {height} px")
        except InputError as error:
            place = f"image {index + 1:,} of {len(self._dataset):,} in {self._dataset.source}"
            raise InputError(printable(f"{example.path} ({place}): {error}")) from None
        return pixels


class CachedPixels:
    """Decodes all images once and keeps them in one flat tensor."""

    def __init__(self, dataset: Dataset) -> None:
        height, width = (column_of(dataset.examples, name) for name in ("height", "width"))
        lengths = 3 * height * width
        starts = np.concatenate([[0], np.cumsum(lengths)])
        flat = np.empty(starts[-1], np.uint8)
        positions = tf.data.Dataset.range(len(dataset), output_type=tf.int32)
        decoded = positions.map(Pixels(dataset), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        with image_errors():
            for start, image in zip(starts, decoded.with_options(repeatable()).as_numpy_iterator()):
                flat[start : start + image.size] = image.ravel()
        sizes = np.stack([height, width, np.full_like(height, 3)], axis=1)
        with tf.device("CPU:0"):  # where tf.data runs, also on a machine with a GPU
            self._flat = tf.constant(flat)
            self._starts = tf.constant(starts, tf.int64)
            self._shapes = tf.constant(sizes, tf.int32)

    def __call__(self, index: tf.Tensor) -> tf.Tensor:
        return tf.reshape(self._flat[self._starts[index] : self._starts[index + 1]], self._shapes[index])


def repeatable() -> tf.data.Options:
    """Return the options of a pipeline whose order is always the same."""
    options = tf.data.Options()
    options.deterministic = True
    # The pipeline is parallel and prefetched by hand. TensorFlow's rewriting would only add a copy of all captured
    # tensors, the cache among them.
    options.experimental_optimization.apply_default_optimizations = False
    # Tuning would find no better numbers, and its thread sleeps for up to a minute: an abandoned iterator waits for
    # it, and Python with it. AUTOTUNE without tuning is one thread per core.
    options.autotune.enabled = False
    return options
