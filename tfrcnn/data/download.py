"""Downloads large files: resumes after an interruption, and checks the published size and checksum.

pooch and keras.utils.get_file check files too, but neither can resume (HTTP Range): each would download 19 GB again.

Incomplete files are called NAME.part. A file gets its name when it is complete and checked.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from tqdm import tqdm

from tfrcnn.errors import InputError

PART = ".part"
CHUNK = 1 << 20
TIMEOUT = 30.0  # seconds without a byte
PAUSES = (1.0, 2.0, 4.0, 8.0)  # seconds to wait after 1, 2, ... attempts in a row that received nothing
RANGE_NOT_SATISFIABLE = 416
FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class RemoteFile:
    """A file to download.

    Attributes:
        url: HTTP address.
        size: published size in bytes; None if it is not published: the server's counts then.
        checksum: published checksum, "md5:..." or "sha256:..." in hexadecimal digits, or its first digits.
    """

    url: str
    size: int | None
    checksum: str

    @property
    def name(self) -> str:
        """File name: the last part of the URL."""
        return self.url.rpartition("/")[2]

    def missing(self, folder: Path) -> int:
        """Return the number of bytes that a folder still lacks; 0 if the size is not published."""
        part = folder / f"{self.name}{PART}"
        return 0 if self.size is None or (folder / self.name).is_file() else max(0, self.size - _size(part))


def download(file: RemoteFile, folder: Path) -> Path:
    """Download a file into a folder, or continue an interrupted download.

    An existing file of the same name is checked and used, for example one copied from another machine.

    Args:
        file: address, size and checksum.
        folder: existing folder to download to.

    Returns:
        Path of the complete, checked file.

    Raises:
        InputError: the connection fails, the server has no such file or another one, the disk is full or read-only,
            or the size or checksum is wrong.
    """
    path, part = folder / file.name, folder / f"{file.name}{PART}"
    if path.is_file():
        try:
            check(file, path)
        except InputError as error:  # the user's file: do not remove it
            raise InputError(f"{error}; remove it and run the same command again") from error
        return path
    _receive_all(file, part)
    try:
        check(file, part)
    except InputError as error:
        part.unlink()  # the next download must not continue it
        raise InputError(f"{error}; the file was removed, run the same command again") from error
    with file_errors(path):
        os.replace(part, path)
    return path


def check(file: RemoteFile, path: Path) -> None:
    """Compare a file on disk with its published size and checksum.

    Raises:
        InputError: the size or checksum differs, or the file cannot be read.
    """
    if file.size is not None and _size(path) != file.size:
        raise InputError(f"{path}: expected {file.size:,} bytes, found {_size(path):,}")
    algorithm, _, expected = file.checksum.partition(":")
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with file_errors(path), open(path, "rb") as content, _bar(file, "checking") as bar:
        while chunk := content.read(CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    if not digest.hexdigest().startswith(expected):
        raise InputError(f"{path}: expected the {algorithm} {expected}, found {digest.hexdigest()}")


def disk_is_full(path: Path) -> InputError:
    """Make the error for a disk that is full."""
    return InputError(f"{path}: the disk is full; free some space and run the same command again to continue")


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Turn errors of the file system in this block into errors that a user can fix.

    Raises:
        InputError: instead of an OSError; names the path.
    """
    try:
        yield
    except OSError as error:
        raise disk_is_full(path) if error.errno in FULL else InputError(f"{path}: {error.strerror}") from error


def _receive_all(file: RemoteFile, part: Path) -> None:
    """Receive the missing bytes, over several connections if necessary."""
    if file.size is not None and _size(part) > file.size:
        with file_errors(part):
            part.unlink()
    failures, is_reached, size = 0, False, file.size
    with _bar(file, "downloading", _size(part)) as bar:
        while size is None or _size(part) < size:
            before = _size(part)
            received, reason, size = _receive(file, part, bar, size)
            is_reached |= received > 0
            if _size(part) > before or size == before:
                failures = 0
                continue
            failures += 1
            if not is_reached:
                raise InputError(
                    f"{urlsplit(file.url).hostname} cannot be reached ({reason}). Without a network, copy "
                    f"{file.url} into {part.parent} by other means and run the same command again"
                )
            if failures > len(PAUSES):
                raise InputError(
                    f"{file.url}: the connection was lost ({reason}) after {_size(part):,} of {size or 0:,} bytes; run "
                    "the same command again to continue"
                )
            time.sleep(PAUSES[failures - 1])


def _receive(file: RemoteFile, part: Path, bar: Any, size: int | None) -> tuple[int, str, int | None]:
    """Append the bytes of one connection; return their number, the reason for an early end and the file's size.

    `size` is None until a server says it.
    """
    have, received = _size(part), 0
    request = Request(file.url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urlopen(request, timeout=TIMEOUT) as response:
            size = bar.total = _check_answer(file, response, have, size)
            known = have if response.status == 200 else 0  # a server without ranges sends the whole file
            while chunk := response.read(CHUNK):
                new = chunk[max(0, known - received) :]
                received += len(chunk)
                with file_errors(part), open(part, "ab") as target:
                    target.write(new)
                bar.update(len(new))
            size = _size(part) if size is None else size
    except HTTPError as error:
        if error.code == RANGE_NOT_SATISFIABLE and size is None:  # all is there; the checksum decides
            return 0, "", have
        if error.code < 500:
            raise InputError(
                f"{file.url}: expected the file, the server answers {error.code} {error.reason}"
            ) from error
        return received, f"{error.code} {error.reason}", size
    except (OSError, HTTPException) as error:  # the connection failed; errors of the disk are InputError here
        return received, str(getattr(error, "reason", error)) or type(error).__name__, size
    return received, "closed by the server", size


def _check_answer(file: RemoteFile, response: Any, have: int, size: int | None) -> int | None:
    """Check before writing that the server sends this file, from the requested byte on; return the file's size."""
    length = response.headers["Content-Length"]
    if response.status == 206:
        place, _, length = response.headers.get("Content-Range", "no Content-Range").partition("/")
        if not place.startswith(f"bytes {have}-"):
            raise InputError(f"{file.url}: expected the bytes from {have:,} on, the server sends {place}")
    if not length or not length.isdigit():
        return size
    if size is not None and int(length) != size:
        raise InputError(f"{file.url}: expected {size:,} bytes, the server has {int(length):,}")
    return int(length)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _bar(file: RemoteFile, what: str, done: int = 0) -> Any:
    units = {"unit": "B", "unit_scale": True, "unit_divisor": 1000}
    return tqdm(desc=f"{what} {file.name}", total=file.size, initial=done, **units)
