"""The annotations of TFRecord shards, in columns: as one object per record, they would take ten times the memory.

Legend: n records, N boxes of all of them.
"""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfrcnn.data.columns import PathColumn, TextColumn

NO_NUMBER = -(2**63)
NO_TEXT = -1


class Fields(NamedTuple):
    """The annotations of a record.

    Attributes:
        encoded: the image file.
        name: of the image file; "" if there is none.
        source_id: of the image; "" if there is none.
        size: (height, width), or None.
        boxes: [N, 4] float64 shares of the image's sides, yxyx.
        texts: N names of classes, or none.
        numbers: N ids of classes, above -2^63, or none.
        crowd: [N] bool.
        difficult: [N] bool.
        areas: [N] float64 in pixels^2; 0 if unknown.
    """

    encoded: bytes
    name: str
    source_id: str
    size: tuple[int, int] | None
    boxes: np.ndarray
    texts: tuple[str, ...]
    numbers: tuple[int, ...]
    crowd: np.ndarray
    difficult: np.ndarray
    areas: np.ndarray


class RecordTable:
    """Records of a shard, without their images.

    Attributes:
        paths: of the images, see `tfrcnn.data.embedded`.
        ids: of the images, else their names; "" if they have neither.
        texts: the names of classes, in the order of their first use.
    """

    def __init__(self) -> None:
        self.paths, self.ids = PathColumn(), TextColumn()
        self.texts: dict[str, int] = {}
        self._sizes, self._counts = array("q"), array("q")
        self._reals, self._integers = array("d"), array("q")  # five and two per box
        self._crowd, self._difficult = bytearray(), bytearray()

    def append(self, path: Path, fields: Fields) -> None:
        """Add a record whose image is at a path."""
        count = len(fields.boxes)
        self.paths.append(path)
        self.ids.append(fields.source_id or fields.name)
        self._sizes.extend(fields.size or (0, 0))
        self._counts.append(count)
        self._reals.frombytes(np.column_stack([fields.boxes, fields.areas]).tobytes())
        texts = [self.texts.setdefault(text, len(self.texts)) for text in fields.texts] or [NO_TEXT] * count
        for pair in zip(texts, fields.numbers or [NO_NUMBER] * count):
            self._integers.extend(pair)
        self._crowd += fields.crowd.tobytes()
        self._difficult += fields.difficult.tobytes()

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def sizes(self) -> np.ndarray:
        """[n, 2] int64 (height, width); (0, 0) if the record has none."""
        return np.array(self._sizes, np.int64).reshape(-1, 2)

    @property
    def owners(self) -> np.ndarray:
        """[N] int64 the record of each box."""
        return np.repeat(np.arange(len(self)), np.array(self._counts, np.int64))

    @property
    def places(self) -> np.ndarray:
        """[N] int64 the position of each box in its record."""
        counts = np.array(self._counts, np.int64)
        places: np.ndarray = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return places

    @property
    def boxes(self) -> np.ndarray:
        """[N, 4] float64 shares of the image's sides, yxyx."""
        return np.array(self._reals, np.float64).reshape(-1, 5)[:, :4]

    @property
    def areas(self) -> np.ndarray:
        """[N] float64 in pixels^2; 0 if unknown."""
        return np.array(self._reals[4::5], np.float64)

    @property
    def codes(self) -> np.ndarray:
        """[N] int64 positions in `texts`; `NO_TEXT` for a box without a text."""
        return np.array(self._integers[::2], np.int64)

    @property
    def numbers(self) -> np.ndarray:
        """[N] int64 ids of classes; `NO_NUMBER` for a box without one."""
        return np.array(self._integers[1::2], np.int64)

    @property
    def crowd(self) -> np.ndarray:
        """[N] bool."""
        return np.array(self._crowd, bool)

    @property
    def difficult(self) -> np.ndarray:
        """[N] bool."""
        return np.array(self._difficult, bool)
