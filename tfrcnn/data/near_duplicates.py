"""Images that look the same but are other files: resized, compressed again, or neighbouring frames of a video.

An image has a difference hash: it is made grey and scaled to 17 x 16 pixels, and each of 16 x 16 bits says whether a
pixel is darker than its right neighbour (N. Krawetz, "Kind of Like That", 2013; `imagehash.dhash` with hash_size=16).
The distance of two images is the number of bits that differ: 128 are expected of unrelated images.

Legend: Q and E images, D = 256 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from tfrcnn.data.checks import in_threads
from tfrcnn.data.example import Example
from tfrcnn.data.headers import BadImageError, open_image
from tfrcnn.pixels import TURNS, pillow_to_rgb

SIDE = 16
BITS = SIDE * SIDE
# bits of 256. Unrelated photographs differ in 79 or more, the same one resized or compressed again in 35 or fewer.
MAX_DISTANCE = 40
_DRAFT = 4 * SIDE  # pixels; a JPEG is decoded to a fraction of its size that is no smaller
_MAX_DISTANCES = 1 << 25  # computed at once, which takes 3 x 128 MiB


class NearDuplicate(NamedTuple):
    """Two images that look the same.

    Attributes:
        image: of the one set.
        other: the most similar image of the other set, or of the same one.
        distance: bits that differ, in 0..`MAX_DISTANCE`.
    """

    image: Example
    other: Example
    distance: int


def image_hash(example: Example) -> np.ndarray | None:
    """Compute the difference hash of an image.

    Returns:
        [D] bool; None if the image cannot be decoded.
    """
    try:
        with open_image(example.path) as (image, _):
            image.draft("L", (_DRAFT, _DRAFT))
            grey = pillow_to_rgb(image).convert("L")
    except BadImageError:
        return None
    turn = TURNS.get(example.orientation)
    upright = grey if turn is None else grey.transpose(turn)
    pixels = np.asarray(upright.resize((SIDE + 1, SIDE), Image.Resampling.LANCZOS))
    bits: np.ndarray = (pixels[:, 1:] > pixels[:, :-1]).reshape(-1)
    return bits


def image_hashes(examples: Sequence[Example]) -> list[np.ndarray | None]:
    """Compute `image_hash` of each image, in threads; a bar shows the time that is left."""
    return in_threads(image_hash, examples, "looking for near-duplicates")


def near_duplicates(
    examples: Sequence[Example],
    hashes: Sequence[np.ndarray | None],
    others: Sequence[Example] | None = None,
    other_hashes: Sequence[np.ndarray | None] = (),
) -> list[NearDuplicate]:
    """Find the images that look like another image.

    Args:
        examples: images to compare, each of another content.
        hashes: their `image_hashes`.
        others: images to compare them with; None compares `examples` with each other.
        other_hashes: their `image_hashes`.

    Returns:
        One entry per image that has a near-duplicate, with the most similar one; the closest first. A pair within
        one set is listed once.
    """
    rows = [n for n, bits in enumerate(hashes) if bits is not None]
    columns = rows if others is None else [n for n, bits in enumerate(other_hashes) if bits is not None]
    queries, candidates = _signs(hashes, rows), _signs(hashes if others is None else other_hashes, columns)
    if not len(columns):
        return []
    pairs: dict[tuple[int, int], NearDuplicate] = {}
    step = max(1, _MAX_DISTANCES // len(columns))
    for start in range(0, len(rows), step):
        distances = (BITS - queries[start : start + step] @ candidates.T) / 2
        if others is None:
            np.fill_diagonal(distances[:, start:], BITS + 1)
        best = distances.argmin(axis=1)
        for row in np.flatnonzero(distances.min(axis=1) <= MAX_DISTANCE):
            image, other = rows[start + row], columns[best[row]]
            key = (min(image, other), max(image, other)) if others is None else (image, other)
            other_example = (examples if others is None else others)[other]
            pairs.setdefault(key, NearDuplicate(examples[image], other_example, round(distances[row, best[row]])))
    return sorted(pairs.values(), key=lambda pair: pair.distance)


def _signs(hashes: Sequence[np.ndarray | None], rows: Sequence[int]) -> np.ndarray:
    """Return bits as -1 and 1, [len(rows), D] float32: a dot product of two rows is D - 2 times their distance."""
    bits = np.array([hashes[row] for row in rows], np.float32).reshape(-1, BITS)
    return 2 * bits - 1
