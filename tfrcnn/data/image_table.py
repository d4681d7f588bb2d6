"""The annotated images of a data set, in columns, and what their files turned out to be."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfrcnn.data.columns import IdColumn, PathColumn, Table, TextColumn

_AS_PATH = "\0"  # in place of a file that is the image's


class ImageRecord(NamedTuple):
    """An image as annotated.

    Attributes:
        image_id: unique in the data set.
        candidates: paths; the first that exists is the image's file.
        size: annotated (height, width), or None.
        file: the annotation file, for messages.
        name_field: where the file's name is annotated, for messages.
        size_field: where the size is annotated, for messages; "" if the format has none.
    """

    image_id: int | str
    candidates: tuple[Path, ...]
    size: tuple[int, int] | None
    file: str
    name_field: str
    size_field: str


class OpenedImage(NamedTuple):
    """An image whose file can be used.

    Attributes:
        path: the file.
        size: (height, width) after `orientation` is applied.
        orientation: EXIF orientation to apply, 1..8.
    """

    path: Path
    size: tuple[int, int]
    orientation: int


class ImageTable(Table[ImageRecord]):
    """A sequence of `ImageRecord` that can be appended to.

    Args:
        records: the first records.

    Attributes:
        ids: of the images.
        paths: the candidates of all images, one after the other.
    """

    def __init__(self, records: Iterable[ImageRecord] = ()) -> None:
        self.ids, self.paths = IdColumn(), PathColumn()
        self._splits = array("Q", [0])  # of the paths, by image
        self._sizes, self._files = TextColumn(), TextColumn()  # sizes as text: annotated numbers have no limit
        self._name_fields, self._size_fields = TextColumn(), TextColumn()
        for record in records:
            self.append(record)

    def append(self, record: ImageRecord) -> None:
        """Add a record."""
        image_id, candidates, size, file, name_field, size_field = record
        self.ids.append(image_id)
        for path in candidates:
            self.paths.append(path)
        self._splits.append(len(self.paths))
        self._sizes.append("" if size is None else f"{size[0]} {size[1]}")
        self._files.append(_AS_PATH if candidates and file == str(candidates[0]) else file)
        self._name_fields.append(name_field)
        self._size_fields.append(size_field)

    def __len__(self) -> int:
        return len(self.ids)

    def row(self, index: int) -> ImageRecord:
        start, end = self._splits[index : index + 2]
        candidates = tuple(self.paths[i] for i in range(start, end))
        height, _, width = self._sizes[index].partition(" ")
        file = self._files[index]
        return ImageRecord(
            self.ids[index],
            candidates,
            (int(height), int(width)) if width else None,
            str(candidates[0]) if file == _AS_PATH else file,
            self._name_fields[index],
            self._size_fields[index],
        )

    def path_row(self, index: int, path: Path) -> int:
        """Return the position in `paths` of a candidate of an image."""
        start, end = self._splits[index : index + 2]
        return next(row for row in range(start, end) if self.paths[row] == path)


class OpenedTable(Table[OpenedImage | None]):
    """The usable file of each image of a table, or None; a sequence that can be appended to.

    Args:
        images: the table.
    """

    def __init__(self, images: ImageTable) -> None:
        self._images = images
        self._rows, self._sizes, self._orientations = array("q"), array("q"), bytearray()

    def append(self, image: OpenedImage | None) -> None:
        """Add the file of the next image."""
        path, size, orientation = image or (None, (0, 0), 0)
        self._rows.append(-1 if path is None else self._images.path_row(len(self), path))
        self._sizes.extend(size)
        self._orientations.append(orientation)

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, index: int) -> OpenedImage | None:
        if self._rows[index] < 0:
            return None
        height, width = self._sizes[2 * index : 2 * index + 2]
        return OpenedImage(self._images.paths[self._rows[index]], (height, width), self._orientations[index])

    @property
    def usable(self) -> np.ndarray:
        """[n] bool, the images with a file."""
        usable: np.ndarray = self.path_rows >= 0
        return usable

    @property
    def path_rows(self) -> np.ndarray:
        """[n] int64 positions in `ImageTable.paths`; -1 for no file."""
        return np.array(self._rows, np.int64)

    @property
    def sizes(self) -> np.ndarray:
        """[n, 2] int64 (height, width); (0, 0) for no file."""
        return np.array(self._sizes, np.int64).reshape(-1, 2)

    @property
    def orientations(self) -> np.ndarray:
        """[n] uint8; 0 for no file."""
        return np.array(self._orientations, np.uint8)
