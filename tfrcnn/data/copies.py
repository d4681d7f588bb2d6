"""Copies the files of an address to the cache: each once, checked by size and version, and by one process at a time.

`CACHE/data/SCHEME/.copies.jsonl` lists the copies: a line [path, size, version] per file, added when the file is whole.
A killed process leaves a part of a file under a temporary name, which the next one writes again.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tfrcnn.data.download import FULL, file_errors
from tfrcnn.data.remote_files import Entry, Remote
from tfrcnn.errors import InputError
from tfrcnn.files import atomic, cache_folder
from tfrcnn.locks import FolderLock, acquire_in_turn

INDEX = ".copies.jsonl"
_THREADS = 16  # downloads at once; each waits for the network
_PROGRESS_FROM = 10 << 20  # bytes; fewer are copied in seconds

Versions = dict[str, tuple[int, str | None]]


def copy_files(remote: Remote, entries: Sequence[Entry]) -> None:
    """Copy the files that are not in the cache, or there in another version.

    Args:
        remote: the file system.
        entries: its files.

    Raises:
        InputError: access is refused, the connection fails, the disk is full or the cache cannot be written.
    """
    folder = cache_folder("data", remote.scheme)
    if not _outdated(remote, entries):
        return
    with file_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(folder)
        acquire_in_turn(lock, remote.address)
    try:
        _copy(remote, _outdated(remote, entries))  # the process that held the lock may have copied them
    finally:
        lock.release()


def _copy(remote: Remote, entries: Sequence[Entry]) -> None:
    folder = cache_folder("data", remote.scheme)
    size, free = sum(entry.size or 0 for entry in entries), shutil.disk_usage(folder).free
    if size > free:
        raise InputError(
            f"{folder}: expected {size:,} free bytes for the copy of {remote.address}, found {free:,}; set "
            "TFRCNN_CACHE to a folder on a larger disk"
        )
    options: dict[str, Any] = {"unit": "B", "unit_scale": True, "disable": size < _PROGRESS_FROM}
    options["mininterval"] = 0.1 if sys.stderr.isatty() else 30.0
    done, pool = 0, ThreadPoolExecutor(_THREADS)
    try:
        with (
            tqdm(total=size, desc=f"copying {remote.address}", **options) as bar,
            open(folder / INDEX, "a", encoding="utf-8") as index,
        ):
            for entry in pool.map(lambda entry: _copy_file(remote, entry), entries):
                if entry is not None:
                    line = [_key(remote, entry), entry.size, entry.version]
                    index.write(f"\n{json.dumps(line)}")  # the break is first: a cut line does not damage the next
                    index.flush()
                    bar.update(entry.size or 0)
                done += 1
    except InputError as error:
        message = f"{error} ({done:,} of {len(entries):,} files are copied; the same command copies the rest)"
        raise InputError(message) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _copy_file(remote: Remote, entry: Entry) -> Entry | None:
    """Copy a file, and return its entry with its size; None if a web server does not have it."""
    path = remote.local(entry.path)
    with file_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with (
        remote.errors(),
        suppress(*[FileNotFoundError] if entry.size is None else []),
        errors_of_copy(path),
        atomic(path) as temporary,
    ):
        remote.filesystem.get_file(entry.path, str(temporary))
        size = temporary.stat().st_size
        if entry.size not in (None, size):
            raise InputError(f"{entry.path}: expected {entry.size:,} bytes, received {size:,}")
        return entry._replace(size=size)
    return None


@contextmanager
def errors_of_copy(path: Path) -> Iterator[None]:
    """Name a copy in the errors of this machine's disk; a file system of addresses would call them its own.

    Raises:
        InputError: the disk is full, or the copy cannot be written.
    """
    try:
        yield
    except OSError as error:
        # `atomic` names the copy or a folder above it
        is_local = isinstance(error.filename, str) and path.is_relative_to(error.filename)
        with file_errors(path) if is_local or error.errno in FULL else nullcontext():
            raise


def _outdated(remote: Remote, entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries whose copy is missing or of another version."""
    versions = read_index(cache_folder("data", remote.scheme) / INDEX)
    return [entry for entry in entries if not _is_copied(remote, entry, versions)]


def _is_copied(remote: Remote, entry: Entry, versions: Versions) -> bool:
    path = remote.local(entry.path)
    size, version = versions.get(_key(remote, entry), (-1, None))
    is_same = entry.size in (None, size) and entry.version in (None, version)
    return is_same and path.is_file() and path.stat().st_size == size


def _key(remote: Remote, entry: Entry) -> str:
    """Return the path of a copy in the folder of its scheme, so that the cache can move."""
    return remote.local(entry.path).relative_to(cache_folder("data", remote.scheme)).as_posix()


def read_index(path: Path) -> Versions:
    """Return the sizes and versions of the copies; a later line counts. A damaged line is left out: copied again."""
    versions: Versions = {}
    with suppress(FileNotFoundError), open(path, "rb") as lines:
        for line in lines:
            # an empty line, one that a kill cut off, or what a power failure left
            with suppress(ValueError, TypeError, RecursionError):
                key, size, version = json.loads(line)
                versions[key] = size, version
    return versions
