"""The annotated boxes of a data set, in columns: as one object each, they would take four times the memory."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from tfrcnn.data.columns import Table

_NO_ID = -(2**63)


class BoxRecord(NamedTuple):
    """A box as annotated.

    Attributes:
        image: index into the images.
        place: position in the file, for messages.
        yxyx: y1, x1, y2, x2, continuous; in the unit that `Parsed.normalised` says.
        label: index into the categories.
        crowd: COCO's iscrowd.
        difficult: Pascal VOC's difficult.
        area: in pixels^2, or None.
        annotation_id: above -2^63, or None.
    """

    image: int
    place: int
    yxyx: tuple[float, float, float, float]
    label: int
    crowd: bool = False
    difficult: bool = False
    area: float | None = None
    annotation_id: int | None = None


class BoxTable(Table[BoxRecord]):
    """A sequence of `BoxRecord` that can be appended to.

    Args:
        records: the first records.
    """

    def __init__(self, records: Iterable[BoxRecord] = ()) -> None:
        self._integers, self._reals = array("q"), array("d")  # four and five per box
        self._crowd, self._difficult = bytearray(), bytearray()
        for record in records:
            self.append(record)

    def append(self, record: BoxRecord, annotation_id: int | None = None) -> None:
        """Add a record.

        Args:
            record: the record.
            annotation_id: if the record has none.
        """
        image, place, (y1, x1, y2, x2), label, crowd, difficult, area, number = record
        number = annotation_id if number is None else number
        self._integers.extend((image, place, label, _NO_ID if number is None else number))
        self._reals.extend((y1, x1, y2, x2, math.nan if area is None else area))
        self._crowd.append(crowd)
        self._difficult.append(difficult)

    def extend(
        self,
        images: np.ndarray,
        places: np.ndarray,
        yxyx: np.ndarray,
        labels: np.ndarray,
        crowd: np.ndarray,
        difficult: np.ndarray,
        areas: np.ndarray,
    ) -> None:
        """Add boxes that have no ids, by the fields of their records.

        Args:
            images: [n] indices into the images.
            places: [n] positions in the file.
            yxyx: [n, 4] as annotated.
            labels: [n] indices into the categories.
            crowd: [n] bool.
            difficult: [n] bool.
            areas: [n] in pixels^2; NaN for none.
        """
        integers = np.stack([images, places, labels, np.full(len(labels), _NO_ID)], axis=1)
        self._integers.frombytes(integers.astype(np.int64).tobytes())
        self._reals.frombytes(np.column_stack([yxyx, areas]).astype(np.float64).tobytes())
        self._crowd += crowd.astype(bool).tobytes()
        self._difficult += difficult.astype(bool).tobytes()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __len__(self) -> int:
        return len(self._crowd)

    def row(self, index: int) -> BoxRecord:
        image, place, label, annotation_id = self._integers[4 * index : 4 * index + 4]
        y1, x1, y2, x2, area = self._reals[5 * index : 5 * index + 5]
        flags = bool(self._crowd[index]), bool(self._difficult[index])
        size = None if area != area else area  # NaN
        return BoxRecord(
            image, place, (y1, x1, y2, x2), label, *flags, size, None if annotation_id == _NO_ID else annotation_id
        )

    @property
    def images(self) -> np.ndarray:
        """[N] int64 indices into the images."""
        return self._column(0)

    @property
    def labels(self) -> np.ndarray:
        """[N] int64 indices into the categories."""
        return self._column(2)

    def annotation_ids(self, rows: np.ndarray) -> np.ndarray | None:
        """Return the ids of rows [n] as [n] int64; None if one of them has none."""
        ids = self._column(3)[rows]
        return None if (ids == _NO_ID).any() else ids

    @property
    def yxyx(self) -> np.ndarray:
        """[N, 4] float64 as annotated."""
        return self.yxyx_of(slice(0, len(self)))

    def yxyx_of(self, rows: slice) -> np.ndarray:
        """Return consecutive boxes as [n, 4] float64, as annotated."""
        return np.frombuffer(self._reals[5 * rows.start : 5 * rows.stop], np.float64).reshape(-1, 5)[:, :4].copy()

    @property
    def areas(self) -> np.ndarray:
        """[N] float64 in pixels^2; NaN for a box that has none."""
        return np.array(self._reals[4::5], np.float64)

    @property
    def crowd(self) -> np.ndarray:
        """[N] bool."""
        return np.array(self._crowd, bool)

    @property
    def difficult(self) -> np.ndarray:
        """[N] bool."""
        return np.array(self._difficult, bool)

    def _column(self, place: int) -> np.ndarray:
        return np.array(self._integers[place::4], np.int64)
