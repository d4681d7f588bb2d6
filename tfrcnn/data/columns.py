"""Columns of texts, paths and ids: as one object each, they would take several times the memory."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar, overload

_ENCODING = "utf-8", "surrogatepass"  # file names of other encodings have lone surrogates
_IS_NUMBER, _IS_TEXT = "#", "$"

Value = TypeVar("Value")


class Column(ABC, Generic[Value]):
    """Values by position."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Value: ...

    def __iter__(self) -> Iterator[Value]:
        return (self[index] for index in range(len(self)))


class Table(Sequence[Value]):
    """A sequence whose values are made from columns when they are used; a slice is a list of them."""

    @abstractmethod
    def row(self, index: int) -> Value:
        """Make the value at a position, 0 .. len - 1."""

    @overload
    def __getitem__(self, index: int) -> Value: ...
    @overload
    def __getitem__(self, index: slice) -> list[Value]: ...
    def __getitem__(self, index: int | slice) -> Value | list[Value]:
        rows = range(len(self))[index]
        return self.row(rows) if isinstance(rows, int) else [self.row(row) for row in rows]


class TextColumn(Column[str]):
    """Texts by position. A text that repeats the one before it takes no place.

    Args:
        texts: the first texts.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._starts, self._lengths, self._bytes = array("Q"), array("I"), bytearray()
        self._last, self._last_start = "", 0
        for text in texts:
            self.append(text)

    def append(self, text: str) -> None:
        """Add a text."""
        if text != self._last:
            self._last, self._last_start = text, len(self._bytes)
            self._bytes += text.encode(*_ENCODING)
        self._starts.append(self._last_start)
        self._lengths.append(len(self._bytes) - self._last_start if text else 0)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> str:
        start = self._starts[index]
        return self._bytes[start : start + self._lengths[index]].decode(*_ENCODING)


class PathColumn(Column[Path]):
    """Paths by position. Folders, and files that hold images, are kept once.

    Args:
        paths: the first paths.
    """

    def __init__(self, paths: Iterable[Path] = ()) -> None:
        self._folders: list[Path] = []
        self._numbers: dict[str, int] = {}  # of the folders
        self._codes, self._names = array("I"), TextColumn()
        for path in paths:
            self.append(path)

    def append(self, path: Path) -> None:
        """Add a path."""
        folder, name = os.path.split(path)
        parent, part = os.path.split(folder)
        if part.startswith("bytes="):  # see `tfrcnn.data.embedded`
            folder, name = parent, os.path.join(part, name)
        number = self._numbers.setdefault(folder, len(self._folders))
        if number == len(self._folders):
            self._folders.append(Path(folder))
        self._codes.append(number)
        self._names.append(name)

    def __len__(self) -> int:
        return len(self._codes)

    def __getitem__(self, index: int) -> Path:
        return self._folders[self._codes[index]] / self._names[index]

    def name(self, index: int) -> str:
        """Return the last part of a path, which takes a tenth of the time of the path."""
        return os.path.basename(self._names[index])


class IdColumn(Column[int | str]):
    """Ids of images, numbers or texts, by position.

    Args:
        ids: the first ids.
    """

    def __init__(self, ids: Iterable[int | str] = ()) -> None:
        self._texts = TextColumn()
        for image_id in ids:
            self.append(image_id)

    def append(self, image_id: int | str) -> None:
        """Add an id."""
        self._texts.append(f"{_IS_TEXT if isinstance(image_id, str) else _IS_NUMBER}{image_id}")

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, index: int) -> int | str:
        text = self._texts[index]
        return text[1:] if text[0] == _IS_TEXT else int(text[1:])
