"""The inputs of every detector, in Keras and in the runtimes of exported files. Imports no TensorFlow."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tfrcnn.config_base import check_whole_number
from tfrcnn.data.decode import read_image
from tfrcnn.data.example import Dataset, check_dataset
from tfrcnn.data.media import is_address
from tfrcnn.errors import InputError
from tfrcnn.pixels import to_rgb

MAX_BATCH = 1024  # images; far above any use, and twice as many are in memory


def read_input(image: Any, image_id: int | str) -> tuple[np.ndarray, int | str]:
    """Return the RGB pixels of a file, an array or a PIL image, and the image's id.

    The id is the file's name without its suffix, unless one is set.
    """
    if isinstance(image, str) and is_address(image):
        raise InputError(f"{image}: expected an image file, found an address, which tfrcnn predict reads")
    if isinstance(image, str | os.PathLike):
        path = Path(image)
        return read_image(path), path.stem if image_id in ("", None) else image_id
    return to_rgb(image), image_id


def check_ids(images: Sequence[Any], image_ids: Sequence[Any]) -> None:
    """Raise InputError unless there is an id for each image."""
    if len(images) != len(image_ids):
        raise InputError(f"image_ids must be as many as the images, {len(images)}, found {len(image_ids)}")


def check_batch(value: Any) -> int:
    """Return the number of images that are detected in together; raise InputError if it is none."""
    return check_whole_number(value, "batch", high=MAX_BATCH)


def source_of(image: Any, pixels: np.ndarray) -> np.ndarray | Callable[[], np.ndarray]:
    """Return what the result of an image keeps to draw on: a function that reads its file again, or its pixels.

    Args:
        image: the image that a caller passed.
        pixels: its RGB pixels.
    """
    return partial(read_image, Path(image).absolute()) if isinstance(image, str | os.PathLike) else pixels


def each_image(dataset: Dataset, progress: bool) -> Iterator[tuple[Callable[[], np.ndarray], int | str]]:
    """Yield a function that reads each image's pixels, and the image's id.

    Args:
        dataset: the images.
        progress: whether a bar counts them, on a terminal.

    Raises:
        InputError: `dataset` is no `Dataset`.
    """
    check_dataset(dataset)
    disable = None if progress else True
    for example in tqdm(dataset.examples, desc="detecting", unit="image", disable=disable, leave=False):
        yield partial(read_image, example.path, example.orientation), example.image_id
