"""Downloading a large file: resumed where it was cut, and checked against its published size and checksum.

By urllib alone. pooch and keras.utils.get_file compare checksums too, but neither asks for the rest of a file (HTTP
Range): each begins anew after an interruption, which 19 GB over a slow line do not forgive.

What has arrived is in NAME.part beside the file; it gets its name when it is complete and checked.
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
PAUSES = (1.0, 2.0, 4.0, 8.0)  # seconds before the next attempt, after 1, 2, ... that brought nothing
FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class RemoteFile:
    """A file and what is published of it.

    Attributes:
        url: where it is.
        size: bytes.
        checksum: "md5:..." or "sha256:...", in hexadecimal digits.
    """

    url: str
    size: int
    checksum: str

    @property
    def name(self) -> str:
        """The last part of the URL."""
        return self.url.rpartition("/")[2]

    def missing(self, folder: Path) -> int:
        """Bytes of it that are still to be downloaded into a folder."""
        return 0 if (folder / self.name).is_file() else max(0, self.size - _size(folder / f"{self.name}{PART}"))


def download(file: RemoteFile, folder: Path) -> Path:
    """Download a file into a folder, or go on with what an interrupted download left there.

    A file of that name that is there already is checked and taken, e.g. one that was brought from another machine.

    Returns:
        its path.

    Raises:
        InputError: there is no connection, or it was lost for good; the server has no such file or another one; the
            disk is full, or does not let us write; size or checksum are not the published ones.
    """
    path, part = folder / file.name, folder / f"{file.name}{PART}"
    if path.is_file():
        try:
            check(file, path)
        except InputError as error:  # not ours to remove
            raise InputError(f"{error}; remove it and run the same command again") from error
        return path
    _receive_all(file, part)
    try:
        check(file, part)
    except InputError as error:
        part.unlink()  # the next download must not go on from it
        raise InputError(f"{error}; it is removed: run the same command again") from error
    with file_errors(path):
        os.replace(part, path)
    return path


def check(file: RemoteFile, path: Path) -> None:
    """Compare a file on disk with what is published of it.

    Raises:
        InputError: it has another size or checksum, or cannot be read.
    """
    if _size(path) != file.size:
        raise InputError(f"{path}: expected {file.size:,} bytes, found {_size(path):,}")
    algorithm, _, expected = file.checksum.partition(":")
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with file_errors(path), open(path, "rb") as content, _bar(file, "checking") as bar:
        while chunk := content.read(CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    if digest.hexdigest() != expected:
        raise InputError(f"{path}: expected the {algorithm} {expected}, found {digest.hexdigest()}")


def disk_is_full(path: Path) -> InputError:
    """The error for a disk that is full in spite of what was free at the beginning."""
    return InputError(f"{path}: the disk is full; make room and run the same command again to go on from there")


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Errors of the file system in this block are the user's to mend.

    Raises:
        InputError: in place of an OSError; names the path.
    """
    try:
        yield
    except OSError as error:
        raise disk_is_full(path) if error.errno in FULL else InputError(f"{path}: {error.strerror}") from error


def _receive_all(file: RemoteFile, part: Path) -> None:
    """Receive what is missing, in as many connections as it takes."""
    if _size(part) > file.size:
        with file_errors(part):
            part.unlink()
    failures, is_reached = 0, False
    with _bar(file, "downloading", _size(part)) as bar:
        while (before := _size(part)) < file.size:
            received, reason = _receive(file, part, bar)
            is_reached |= received > 0
            if _size(part) > before:
                failures = 0
                continue
            failures += 1
            if not is_reached:
                raise InputError(
                    f"{urlsplit(file.url).hostname} cannot be reached ({reason}). Where there is no network, put "
                    f"{file.url} into {part.parent} by other means and run the same command again"
                )
            if failures > len(PAUSES):
                raise InputError(
                    f"{file.url}: the connection was lost ({reason}) after {_size(part):,} of {file.size:,} bytes; run "
                    "the same command again to go on from there"
                )
            time.sleep(PAUSES[failures - 1])


def _receive(file: RemoteFile, part: Path, bar: Any) -> tuple[int, str]:
    """Append what one connection brings; returns how many bytes it brought, and why it may have ended too early."""
    have, received = _size(part), 0
    request = Request(file.url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urlopen(request, timeout=TIMEOUT) as response:
            _check_answer(file, response, have)
            known = have if response.status == 200 else 0  # without ranges the file comes from its beginning
            while chunk := response.read(CHUNK):
                new = chunk[max(0, known - received) :]
                received += len(chunk)
                with file_errors(part), open(part, "ab") as target:
                    target.write(new)
                bar.update(len(new))
    except HTTPError as error:
        if error.code < 500:
            raise InputError(f"{file.url}: expected the file, the server says {error.code} {error.reason}") from error
        return received, f"{error.code} {error.reason}"
    except (OSError, HTTPException) as error:  # of the connection: those of the disk are an InputError by now
        return received, str(getattr(error, "reason", error)) or type(error).__name__
    return received, "closed by the server"


def _check_answer(file: RemoteFile, response: Any, have: int) -> None:
    """Before a byte is written: is it this file, and the rest that was asked for?"""
    found = response.headers["Content-Length"]
    if response.status == 206:
        place, _, found = response.headers.get("Content-Range", "no Content-Range").partition("/")
        if not place.startswith(f"bytes {have}-"):
            raise InputError(f"{file.url}: expected the bytes from {have:,} on, the server sends {place}")
    if found and found.isdigit() and int(found) != file.size:
        raise InputError(f"{file.url}: expected {file.size:,} bytes, the server has {int(found):,}")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _bar(file: RemoteFile, what: str, done: int = 0) -> Any:
    units = {"unit": "B", "unit_scale": True, "unit_divisor": 1000}
    return tqdm(desc=f"{what} {file.name}", total=file.size, initial=done, **units)
