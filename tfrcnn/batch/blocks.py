"""Divides pictures into blocks: files, records of TFRecord shards, rows of Parquet files.

A block is small and holds no picture: a worker reads its pictures where they are. The same sources give the same blocks
each time, so a run that is continued finds them again by their position.
"""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tfrcnn.batch.detect import choose_columns
from tfrcnn.batch.parquet import named
from tfrcnn.batch.records import offsets, read_pictures
from tfrcnn.data.media import Source
from tfrcnn.data.search import ImageSearch, cannot_list, fetched, named_by_address, search_images
from tfrcnn.data.tfrecord import is_tfrecord
from tfrcnn.errors import InputError

PARQUET = (".parquet", ".pq")
_ROWS = 16  # of a Parquet file that are in memory at a time

Row = tuple[str, Any]  # a name, and the content that `Detect` takes


class Block(Protocol):
    """Some pictures."""

    def rows(self) -> Iterator[Row]:
        """Yield the name of each picture, and its path, address, content, or the reason why there is none."""


@dataclass(frozen=True)
class Files:
    """Files and web addresses.

    Attributes:
        names: as they are in the results.
        contents: absolute paths and web addresses.
    """

    names: tuple[str, ...]
    contents: tuple[str, ...]

    def rows(self) -> Iterator[Row]:
        return zip(self.names, self.contents)


@dataclass(frozen=True)
class Records:
    """Records of a TFRecord shard.

    Attributes:
        path: of the shard, absolute.
        offset: first byte of the first record.
        first: number of that record in its shard, from 0.
        count: maximum number of records.
        size: of the shard in bytes, so that a run does not continue with a changed one.
    """

    path: str
    offset: int
    first: int
    count: int
    size: int

    def rows(self) -> Iterator[Row]:
        path = Path(self.path)
        for number, (name, content) in enumerate(read_pictures(path, self.offset, self.count), self.first + 1):
            yield name or f"{path.name}#{number}", content


@dataclass(frozen=True)
class RowGroup:
    """A row group of a Parquet file.

    Attributes:
        path: of the file, absolute.
        group: number of the row group.
        first: number of its first row in the file, from 0.
        count: number of rows.
        size: of the file in bytes, so that a run does not continue with a changed one.
        column: of the pictures.
        name_column: of their names; None numbers them.
    """

    path: str
    group: int
    first: int
    count: int
    size: int
    column: str
    name_column: str | None

    def rows(self) -> Iterator[Row]:
        import pyarrow.parquet

        folder = os.path.dirname(self.path)
        columns = [self.column, *([self.name_column] if self.name_column else [])]
        with pyarrow.parquet.ParquetFile(self.path) as file:
            batches = file.iter_batches(_ROWS, [self.group], columns)
            rows = (row for batch in batches for row in batch.to_pylist())
            for number, row in enumerate(rows, self.first + 1):
                value = row[self.column]
                name = row[self.name_column] if self.name_column else None
                if isinstance(value, dict):
                    name = name or value.get("path")
                    value = value if value.get("bytes") is not None else value.get("path")
                if isinstance(value, str):  # a relative path starts at the file's folder
                    name, value = name or value, value if "://" in value else os.path.join(folder, value)
                yield str(name or f"{os.path.basename(self.path)}#{number}"), value


@dataclass(frozen=True)
class Blocks:
    """The blocks of some sources.

    Attributes:
        blocks: in order.
        errors: one per source that cannot be read.
        left_out: files that are no pictures, in words; "" if there are none.
    """

    blocks: tuple[Block, ...]
    errors: tuple[InputError, ...]
    left_out: str


def find_blocks(
    sources: Sequence[str],
    recursive: bool = False,
    block_size: int = 256,
    column: str | None = None,
    name_column: str | None = None,
) -> Blocks:
    """Divide the pictures of sources into blocks.

    Args:
        sources: as of `search_images`, also in buckets; and TFRecord shards, Parquet files, their folders and patterns.
        recursive: search subfolders too.
        block_size: maximum number of files and records per block. A row group of a Parquet file is a block.
        column: of the pictures in Parquet files, see `Detect`.
        name_column: of their names.

    Returns:
        The blocks, and the sources that cannot be read.

    Raises:
        InputError: a video, a stream or a camera is among the sources, or no source is a Parquet file, which the
            columns are for.
    """
    tables: dict[Path, None] = {}
    others, errors = [], []
    for source in sources:
        try:
            copy = fetched(source)
            inside = _tables(copy, recursive)
        except InputError as error:
            errors.append(error)
            continue
        tables.update(dict.fromkeys(inside))
        # a folder of tables needs no pictures
        if not inside or (Path(copy) not in inside and not search_images([copy], recursive).errors):
            others.append(copy)
    search = search_images(others, recursive)
    pictures = (source for source in search.sources if source.content not in tables)  # a pattern has both
    search.sources = [named_by_address(source) for source in pictures]
    if videos := [source.name for source in search.sources if source.is_video]:
        raise InputError(
            f"{videos[0]}: expected pictures, found a video or a camera: leave it out, or use --engine local"
        )
    if (column or name_column) and not any(_is_parquet(path) for path in tables):
        raise InputError("--column and --name-column are for Parquet files, found none")
    errors += search.errors
    blocks: list[Block] = [_files(group) for group in _groups(search.sources, block_size)]
    for path in tables:
        try:
            new, fault = _row_groups(path, column, name_column) if _is_parquet(path) else _records(path, block_size)
            blocks += new
            errors += [InputError(fault)] if fault else []
        except InputError as error:
            errors.append(error)
        except OSError as error:
            errors.append(InputError(f"{path}: cannot be read: {error.strerror or error}"))
    return Blocks(tuple(blocks), tuple(errors), _left_out(search, tables))


def _tables(source: str, recursive: bool) -> list[Path]:
    """List the TFRecord shards and Parquet files of a source, without hidden ones."""
    if os.path.isfile(source):
        return [Path(source)] if is_table(Path(source)) else []
    paths = _inside(source, recursive) if os.path.isdir(source) else map(Path, glob.iglob(source, recursive=True))
    return sorted(path for path in paths if is_table(path) and path.is_file())


def _inside(folder: str, recursive: bool) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder, onerror=cannot_list):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        yield from (Path(parent, name) for name in files if not name.startswith("."))


def is_table(path: Path) -> bool:
    """Return whether a file holds several pictures, by its name."""
    return _is_parquet(path) or is_tfrecord(path.name)


def _is_parquet(path: Path) -> bool:
    return path.name.lower().endswith(PARQUET)


def _groups(sources: Sequence[Source], size: int) -> Iterator[list[Source]]:
    iterator = iter(sources)
    while group := list(itertools.islice(iterator, size)):
        yield group


def _files(sources: Sequence[Source]) -> Files:
    contents = [os.path.abspath(s.content) if isinstance(s.content, Path) else str(s.content) for s in sources]
    return Files(tuple(source.name for source in sources), tuple(contents))


def _records(path: Path, block_size: int) -> tuple[list[Block], str]:
    places, fault = offsets(path, block_size)
    text = os.path.abspath(path)
    size = path.stat().st_size
    return [Records(text, place, i * block_size, block_size, size) for i, place in enumerate(places)], fault


def _row_groups(path: Path, column: str | None, name_column: str | None) -> tuple[list[Block], str]:
    import pyarrow
    import pyarrow.parquet

    with named(path, "expected a Parquet file"), pyarrow.parquet.ParquetFile(path) as file:
        schema, names = file.schema_arrow, file.schema_arrow.names
        counts = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    try:
        columns = choose_columns(names, column, name_column)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    kind = schema.field(columns[0]).type
    is_struct = pyarrow.types.is_struct(kind)  # of path and bytes, in Hugging Face's data sets
    if pyarrow.types.is_primitive(kind) or (pyarrow.types.is_nested(kind) and not is_struct):
        raise InputError(f"{path}: column {columns[0]!r}: expected paths or contents of pictures, found {kind}")
    firsts = itertools.accumulate(counts, initial=0)
    text = os.path.abspath(path)
    size = path.stat().st_size
    groups = [
        RowGroup(text, i, first, count, size, *columns) for i, (first, count) in enumerate(zip(firsts, counts)) if count
    ]
    return list(groups), "" if groups else f"{path}: expected at least one row, found none"


def _left_out(search: ImageSearch, tables: dict[Path, None]) -> str:
    """Say what was left out, see `ImageSearch.left_out`; tables were not."""
    for path in tables:
        suffix = path.suffix.lower() or "no extension"
        if search.other[suffix] > 0:
            search.other[suffix] -= 1
    search.other = +search.other
    return search.left_out()
