"""Reads the images of a data set in TensorFlow ops: no Python runs, so that a process elsewhere can do it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tfrcnn.data.embedded import ImageBytes, bytes_of
from tfrcnn.data.example import Dataset
from tfrcnn.data.example_table import column_of
from tfrcnn.data.graph_decode import decode_image
from tfrcnn.errors import InputError
from tfrcnn.printable import printable

_MAX_SHOWN = 5  # images per message
_STARTS = (b"\xff\xd8\xff", b"\x89PNG", b"BM", b"GIF8")


class GraphPixels:
    """Reads the upright [H, W, 3] uint8 image at a position of a data set, with TensorFlow's decoders.

    The pixels are the same as those of `tfrcnn.data.image_source.Pixels`, see `tfrcnn.data.graph_decode`.

    Args:
        dataset: its images must be JPEG, PNG, BMP or GIF.

    Raises:
        InputError: there are images of other formats, or images that cannot be opened.
    """

    def __init__(self, dataset: Dataset) -> None:
        places = [bytes_of(example.path) for example in dataset.examples]
        _check_formats(dataset, places)
        files = list(dict.fromkeys(place.file for place in places))
        number = {file: i for i, file in enumerate(files)}
        self._source, self._count = dataset.source, len(dataset)
        with tf.device("CPU:0"):
            self._files = tf.constant([os.fsencode(os.path.abspath(file)) for file in files])
            self._file_of = tf.constant([number[place.file] for place in places], tf.int32)
            self._ranges = _ranges(places)
            if self._ranges is None:
                self._lengths = tf.constant([os.stat(place.file).st_size for place in places], tf.int64)
            self._sizes = tf.constant(
                np.stack([column_of(dataset.examples, name) for name in ("height", "width")], axis=1), tf.int32
            )
            self._orientations = tf.constant(column_of(dataset.examples, "orientation"), tf.int32)

    def __call__(self, index: tf.Tensor) -> tf.Tensor:
        file = self._files[self._file_of[index]]
        if self._ranges is None:
            content = tf.io.read_file(file)
            # first: TensorFlow's error about a file that is cut off does not name it
            length, expected = tf.strings.length(content), self._lengths[index]
            check = self._check(index, tf.strings.as_string(length), tf.strings.as_string(expected), " bytes")
            with tf.control_dependencies([check]):
                content = tf.identity(content)
        else:
            content = _read(file, self._ranges[index])
        pixels = decode_image(content, self._orientations[index])
        size, expected = tf.shape(pixels)[:2], self._sizes[index]
        with tf.control_dependencies([self._check(index, _size_text(size), _size_text(expected), " px")]):
            return tf.identity(pixels)

    def _check(self, index: tf.Tensor, seen: tf.Tensor, expected: tf.Tensor, unit: str) -> tf.Operation:
        """Make an error that names the image, unless two texts are the same."""
        file = self._files[self._file_of[index]]
        place = f" of {self._count:,} in {printable(self._source)}): expected "
        parts = [
            *("InputError: ", file, " (image ", tf.strings.as_string(index + 1), place, expected),
            *(f"{unit}, as when the data set was read, found ", seen, unit),
        ]
        return tf.debugging.Assert(seen == expected, [tf.strings.join(parts)])


def _size_text(size: tf.Tensor) -> tf.Tensor:
    return tf.strings.join([tf.strings.as_string(size[1]), " x ", tf.strings.as_string(size[0])])


def _ranges(places: list[ImageBytes]) -> tf.Tensor | None:
    """Return where each image is in its file, [n, 3] (bytes before, of, and behind it), or None if all are whole."""
    if all(place.size is None for place in places):
        return None
    length = {file: os.stat(file).st_size for file in {place.file for place in places}}
    sizes = [length[place.file] if place.size is None else place.size for place in places]
    rows = [(at.offset, size, length[at.file] - at.offset - size) for at, size in zip(places, sizes)]
    return tf.constant(rows, tf.int64)


def _read(file: tf.Tensor, part: tf.Tensor) -> tf.Tensor:
    """Read a part of a file; TensorFlow has no operator for it, but its records of a fixed length are such parts."""
    before, size, behind = part[0], part[1], part[2]
    return tf.data.FixedLengthRecordDataset(file, size, before, behind, buffer_size=size).get_single_element()


def _check_formats(dataset: Dataset, places: list[ImageBytes]) -> None:
    faults = list(_other_formats(dataset, places))
    if faults:
        shown = [printable(f"{dataset.examples[i].path}: {fault}") for i, fault in faults[:_MAX_SHOWN]]
        more = f", for example of the first {_MAX_SHOWN}" if len(faults) > _MAX_SHOWN else ""
        raise InputError(
            f"{dataset.source}: expected JPEG, PNG, BMP or GIF images, which feeders decode, found {len(faults):,} of "
            f"{len(dataset):,} others{more}:\n  " + "\n  ".join(shown)
        )


def _other_formats(dataset: Dataset, places: list[ImageBytes]) -> Iterator[tuple[int, str]]:
    """Yield the position of each image that TensorFlow may not decode, and what it is."""
    for index, place in enumerate(places):
        try:
            with open(place.file, "rb") as file:
                file.seek(place.offset)
                start = file.read(4)
        except OSError as error:
            yield index, error.strerror or type(error).__name__
            continue
        if not start.startswith(_STARTS):
            yield index, f"it starts with {start!r}"
