"""The examples of a data set, in columns: as one object each, they would take ten times the memory.

Legend: n images, N boxes of all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np

from tfrcnn.data.columns import IdColumn, PathColumn
from tfrcnn.data.example import BOX_FIELDS, FINGERPRINTED, Example


@dataclass(frozen=True, eq=False)
class ExampleColumns:
    """The fields of examples.

    Attributes:
        ids: of the images.
        paths: of the images, and perhaps more.
        path_rows: [n] positions in `paths`.
        sizes: [n, 2] (height, width).
        orientations: [n] EXIF orientations.
        splits: [n + 1] where the boxes of each image begin and end.
        boxes: [N, ...] by name of `BOX_FIELDS`.
    """

    ids: IdColumn
    paths: PathColumn
    path_rows: np.ndarray
    sizes: np.ndarray
    orientations: np.ndarray
    splits: np.ndarray
    boxes: dict[str, np.ndarray]

    def value(self, name: str, row: int) -> Any:
        """Return a field of `Example`."""
        if name in BOX_FIELDS:
            return self.boxes[name][self.splits[row] : self.splits[row + 1]]
        if name == "path":
            return self.paths[self.path_rows[row]]
        if name == "image_id":
            return self.ids[row]
        return int(self.numbers(name)[row])

    def numbers(self, name: str) -> np.ndarray:
        """Return [n] heights, widths or orientations."""
        return self.orientations if name == "orientation" else self.sizes[:, ("height", "width").index(name)]


class ExampleTable(Sequence[Example]):
    """Examples that are made when they are used. A slice is a table, too.

    Args:
        columns: the fields.
        rows: [m] of the columns.
    """

    def __init__(self, columns: ExampleColumns, rows: np.ndarray) -> None:
        self._columns, self._rows = columns, rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> ExampleTable: ...
    def __getitem__(self, index: int | slice) -> Example | ExampleTable:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        return Example.of_row(self._columns, int(self._rows[index]))

    def __iter__(self) -> Iterator[Example]:
        return (Example.of_row(self._columns, int(row)) for row in self._rows)

    def take(self, positions: np.ndarray) -> ExampleTable:
        """Return the examples at positions [m]."""
        return ExampleTable(self._columns, self._rows[positions])

    def column(self, name: str) -> np.ndarray:
        """Return a field of all examples, see `column_of`."""
        if name not in BOX_FIELDS:
            return self._columns.numbers(name).take(self._rows).astype(np.int64)
        values, counts = self._columns.boxes[name], self.counts()
        ends = np.cumsum(counts)
        if (np.diff(self._rows) > 0).all() and counts.sum() == len(values):
            return values
        starts = self._columns.splits[self._rows]
        rows: np.ndarray = np.arange(counts.sum()) + np.repeat(starts - ends + counts, counts)
        return np.take(values, rows, axis=0)

    def counts(self) -> np.ndarray:
        """Return the boxes per example as [m] int64."""
        return np.diff(self._columns.splits).take(self._rows)

    def content(self) -> Iterator[tuple[int | str, str, int, int, bytes]]:
        """Yield id, file name, height and width of each example, and the bytes that `Dataset.fingerprint` takes."""
        columns, rows = self._columns, self._rows.tolist()
        sizes = columns.sizes[self._rows].tolist()
        splits = columns.splits.tolist()
        fields = [columns.boxes[name] for name in FINGERPRINTED]
        buffers = [(np.ascontiguousarray(field).view(np.uint8).reshape(-1).data, field[:1].nbytes) for field in fields]
        for row, (height, width) in zip(rows, sizes):
            start, end = splits[row], splits[row + 1]
            boxes = b"".join(buffer[start * size : end * size] for buffer, size in buffers)
            yield columns.ids[row], columns.paths.name(int(columns.path_rows[row])), height, width, boxes

    def relabelled(self, mapping: np.ndarray) -> ExampleTable:
        """Return the examples with labels mapping[label]; boxes whose label becomes negative are left out."""
        columns = self._columns
        labels = mapping[columns.boxes["labels"]]
        known = labels >= 0
        splits = np.concatenate([[0], np.cumsum(known)])[columns.splits]
        boxes = {name: values[known] for name, values in {**columns.boxes, "labels": labels}.items()}
        return ExampleTable(replace(columns, splits=splits, boxes=boxes), self._rows)


def column_of(examples: Sequence[Example], name: str) -> np.ndarray:
    """Return a field of all examples as one array.

    Args:
        examples: of a data set.
        name: "height", "width" or "orientation", which have a number per image, or one of `BOX_FIELDS`.

    Returns:
        [n] int64, or the rows [N, ...] of all boxes, in the order of the examples.
    """
    if isinstance(examples, ExampleTable):
        return examples.column(name)
    values = [getattr(example, name) for example in examples]
    if name not in BOX_FIELDS:
        return np.array(values, np.int64)
    shape = (0, 4) if name == "boxes" else (0,)
    return np.concatenate(values) if values else np.zeros(shape, BOX_FIELDS[name])


def counts_of(examples: Sequence[Example]) -> np.ndarray:
    """Return the boxes per example as [n] int64."""
    if isinstance(examples, ExampleTable):
        return examples.counts()
    return np.array([len(example.labels) for example in examples], np.int64)


def taken(examples: Sequence[Example], positions: np.ndarray) -> Sequence[Example]:
    """Return the examples at positions [m]."""
    if isinstance(examples, ExampleTable):
        return examples.take(positions)
    return tuple(examples[position] for position in positions)


def owners_of(examples: Sequence[Example]) -> np.ndarray:
    """Return the position of each box's example as [N] int64, for the rows of `column_of`."""
    counts = counts_of(examples)
    return np.repeat(np.arange(len(counts)), counts)


def objects_of(examples: Sequence[Example]) -> np.ndarray:
    """Return which boxes count as objects as [N] bool, for the rows of `column_of`: neither crowds nor difficult."""
    objects: np.ndarray = ~(column_of(examples, "crowd") | column_of(examples, "difficult"))
    return objects


def concatenated(parts: Sequence[Sequence[Example]], ids: IdColumn) -> ExampleTable:
    """Return the examples of several data sets in one table, with other ids, and annotation ids 1, 2, ..."""
    boxes = {name: np.concatenate([column_of(part, name) for part in parts]) for name in BOX_FIELDS}
    boxes["annotation_ids"] = np.arange(1, len(boxes["labels"]) + 1)
    height, width, orientation = (
        np.concatenate([column_of(part, name) for part in parts]) for name in ("height", "width", "orientation")
    )
    counts = np.concatenate([counts_of(part) for part in parts])
    columns = ExampleColumns(
        ids=ids,
        paths=PathColumn(example.path for part in parts for example in part),
        path_rows=np.arange(len(ids)),
        sizes=np.stack([height, width], axis=1),
        orientations=orientation.astype(np.uint8),
        splits=np.concatenate([[0], np.cumsum(counts)]),
        boxes=boxes,
    )
    return ExampleTable(columns, np.arange(len(ids)))
