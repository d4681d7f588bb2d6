"""The description, inputs and outputs of exported files, readable without TensorFlow.

The runtimes of all formats share these checks, so that they accept the same images and fail with the same messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..config_base import check_whole_number
from ..errors import InputError
from ..files import parse_json
from ..pixels import to_rgb, to_rgb_batch
from ..pixels import to_uint8 as to_uint8

OUTPUTS = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")
VERSION = 1  # of the description
DESCRIPTION = "tfrcnn.json"  # the description's name inside a SavedModel or a TFLite file
LABELS = "labels.txt"
MAX_THREADS = 1024  # far above any use: a runtime would start them all


def check_exists(path: Path) -> None:
    """Raise InputError if there is nothing to load."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")


def size_bytes(path: Path) -> int:
    """Return the size of a file, or of all files in a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def parse_description(path: Path, text: str | bytes | None) -> dict[str, Any]:
    """Read the description of an exported file (`contract.describe`).

    Args:
        path: The file, for error messages.
        text: The description in JSON; None if the file holds none.

    Raises:
        InputError: tfrcnn did not export the file, or another version did.
    """
    if text is None:
        raise InputError(f"{path}: not exported by tfrcnn, or truncated: it holds no description")
    try:
        description = parse_json(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: its description is not JSON: {error}") from error
    version = description.get("tfrcnn_export") if isinstance(description, dict) else None
    if version != VERSION:
        raise InputError(f"{path}: expected tfrcnn_export {VERSION} in its description, found {version!r}")
    return dict(description)


def check_images(images: Any) -> np.ndarray:
    """Convert images to [B, H, W, 3] uint8, see `to_rgb_batch`; floating point is rounded.

    Raises:
        InputError: Another shape, type or range.
    """
    return to_uint8(to_rgb_batch(images))


def representative_images(images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield representative images, of which some may be batches, as [H, W, 3] uint8.

    Raises:
        InputError: There are none; or see `to_rgb`, the message has the position.
    """
    count = 0
    for count, image in enumerate(images, start=1):
        name = f"representative[{count - 1}]"
        if getattr(image, "ndim", 3) == 4:
            yield from to_uint8(to_rgb_batch(image, name))
        else:
            yield to_uint8(to_rgb(image, name))
    if not count:
        raise InputError("precision int8 needs representative images, found none")


def check_threads(threads: int | None) -> None:
    """Raise InputError unless the number is at least 1, or None for the runtime's default."""
    if threads is not None:
        check_whole_number(threads, "threads", high=MAX_THREADS)
