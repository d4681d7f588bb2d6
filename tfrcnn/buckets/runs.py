"""A run folder in a bucket: training writes a working folder on this machine, and what changed is sent to the bucket.

The working folder is `CACHE/runs/SCHEME/BUCKET/PATH`. Files go in an order that leaves the bucket resumable after each:

1. training.json, by which a folder is a run
2. everything else, weights before the `config.json` that names them
3. training_state.npz, which makes the new epoch the one to resume from
4. what is gone from the working folder is removed

An object is whole or not there. So a kill between any two costs the epoch whose state was not sent.

`.sent.tmp.json` in the working folder lists what the bucket holds: [size, mtime, version] by path. The version is null
while a file is sent. If the bucket is as it says, the working folder has all of the run, and perhaps epochs that could
not be sent. Otherwise the bucket counts.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Container, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tfrcnn.buckets.lock import BucketLock, TakenOverError
from tfrcnn.buckets.transfers import files_in, send_file, writable
from tfrcnn.data.copies import errors_of_copy
from tfrcnn.data.remote_files import Entry, Remote
from tfrcnn.errors import InputError
from tfrcnn.files import atomic, cache_folder, is_temporary, read_object, write_json
from tfrcnn.run_description import CONFIG, SETUP, STATE

SENT = ".sent.tmp.json"
_THREADS = 8
_OTHERS = 1  # rank of a file that training may remove
_NOT_ATOMIC = ("hdfs",)  # a file is visible while it is written


class BucketRun:
    """A run folder in a bucket and its working folder.

    Attributes:
        address: of the run folder.
        folder: the working folder.
    """

    def __init__(self, remote: Remote, lock: BucketLock) -> None:
        self.address, self._remote, self._lock = remote.address, remote, lock
        self.folder = cache_folder("runs") / remote.copy.relative_to(cache_folder("data"))
        self._sent: dict[str, list[Any]] = {}

    def begin(self, resume: bool) -> None:
        """Make the working folder: empty for a new run, else with the run to resume.

        Raises:
            InputError: the run is new but the bucket has files of it; or there is no run to resume.
        """
        names = self._remote.find()
        entries = {name: entry for name, entry in names.items() if not any(map(is_temporary, name.split("/")))}
        self._sent = read_sent(self.folder / SENT)
        if not resume:
            if entries:
                raise InputError(
                    f"{self.address} exists and is not an empty folder: choose another, or resume=True for the run in "
                    "it"
                )
            self._clear()
            return
        if SETUP not in entries:
            raise InputError(f"{self.address}: expected a run, found no {SETUP} in the folder")
        sent = {name: version for name, (*_, version) in self._sent.items() if version is not None}
        known = {name: entry.version for name, entry in entries.items() if name in sent or name not in self._sent}
        is_whole = all((self.folder / name).is_file() for name in self._sent if _rank(name)[0] != _OTHERS)
        if sent != known or not is_whole:
            self._fetch(entries)

    def send(self) -> None:
        """Send what changed since the last time.

        Raises:
            TakenOverError: another process writes to the bucket.
            InputError: access is refused, or the connection fails.
        """
        self._lock.check()
        files = {path.relative_to(self.folder).as_posix(): path for path in files_in(self.folder)}
        for name in sorted(files, key=_rank):
            target = self._target(name)
            if not self._is_sent(name) and (stamp := _stamp(files[name])):
                self._note(name, [*stamp, None])
                send_file(self._remote, files[name], target)
                self._note(name, [*stamp, self._remote.version(target)])
        for name in sorted(self._sent.keys() - files.keys()):
            with self._remote.errors("written"), suppress(FileNotFoundError):
                self._remote.filesystem.rm_file(self._target(name))
            self._note(name, None)

    def _fetch(self, entries: dict[str, Entry]) -> None:
        """Make the working folder what the bucket holds."""
        self._clear(entries)

        def get(name: str) -> None:
            path, entry = self.folder / name, entries[name]
            if self._is_sent(name) and self._sent[name][2] == entry.version:
                return
            with self._remote.errors(), errors_of_copy(path), atomic(path) as temporary:
                self._remote.filesystem.get_file(entry.path, str(temporary))
                if temporary.stat().st_size != entry.size:
                    raise InputError(f"{entry.path}: expected {entry.size:,} bytes, received another number")

        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(get, entries))
        self._sent = {name: [*_stamp(self.folder / name), entry.version] for name, entry in entries.items()}
        write_json(self.folder / SENT, self._sent)

    def _clear(self, kept: Container[str] = ()) -> None:
        """Remove an earlier run from the working folder; one with files that are in no bucket is moved aside."""
        files = {path.relative_to(self.folder).as_posix(): path for path in files_in(self.folder)}
        if all(map(self._is_sent, files)):
            for path in (path for name, path in files.items() if name not in kept):
                path.unlink()
        else:
            aside = Path(tempfile.mkdtemp(prefix=f"{self.folder.name}.", dir=self.folder.parent))
            os.replace(self.folder, aside)
            print(f"{self.address}: an earlier run, which is not in the bucket, is kept in {aside}", file=sys.stderr)
        self._sent = {name: sent for name, sent in self._sent.items() if (self.folder / name).is_file()}
        write_json(self.folder / SENT, self._sent)

    def _is_sent(self, name: str) -> bool:
        """Return whether a file of the working folder is in the bucket as it is."""
        path, sent = self.folder / name, self._sent.get(name)
        return sent is not None and sent[2] is not None and sent[:2] == _stamp(path)

    def _note(self, name: str, sent: list[Any] | None) -> None:
        """Record what the bucket holds of a file; None is nothing."""
        self._sent.pop(name, None)
        if sent is not None:
            self._sent[name] = sent
        write_json(self.folder / SENT, self._sent)

    def _target(self, name: str) -> str:
        return f"{self._remote.path}/{name}"


@contextmanager
def bucket_run(address: str, resume: bool) -> Iterator[BucketRun]:
    """Lock a run folder in a bucket, make its working folder, and send what is left to send at the end.

    Args:
        address: of the run folder.
        resume: whether there is a run to resume.

    Raises:
        InputError: another process writes to the run folder; it is not empty but `resume` is False; or it cannot be
            read or written.
    """
    remote = writable(address)
    if remote.scheme in _NOT_ATOMIC:
        raise InputError(
            f"{remote.address}: expected a run folder on this machine or in an object store, because a kill while "
            "hdfs writes a file would cut it; copy the folder when the run has ended, with hdfs dfs -put"
        )
    lock = BucketLock(remote)
    lock.acquire()
    try:
        run = BucketRun(remote, lock)
        run.begin(resume)
        yield run
        try:
            run.send()
        except TakenOverError:
            raise
        except InputError as error:
            raise InputError(
                f"{error}; the whole run is in {run.folder}: the same command with resume=True sends it"
            ) from error
    finally:
        lock.release()


def read_sent(path: Path) -> dict[str, list[Any]]:
    """Return what the bucket holds of a working folder; nothing if that is not known: the bucket counts then."""
    try:
        sent = read_object(path)
    except InputError:  # there is no file, or it is damaged
        return {}
    is_known = all(isinstance(entry, list) and len(entry) == 3 for entry in sent.values())
    return sent if is_known else {}


def _rank(name: str) -> tuple[int, str]:
    last = name.rpartition("/")[2]
    return (0 if name == SETUP else 3 if name == STATE else 2 if last == CONFIG else _OTHERS), name


def _stamp(path: Path) -> list[int]:
    """Return the size and the time of the last change of a file; nothing if a logger has just removed it."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return []
    return [status.st_size, status.st_mtime_ns]
