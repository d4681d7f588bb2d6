"""One writer per run folder in a bucket: an object that names the process, which writes it again every few seconds.

S3 and Google Cloud Storage make the object for one process only (a conditional write). A process on another machine
cannot be seen, so its lock is watched: if nobody writes it for `WATCH` seconds, the process has ended, and its lock is
taken. No clocks are compared.

Two processes that take the lock of an ended one in the same moment may both hold it for one epoch: the one whose object
was replaced sees it before it sends again, and stops.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from tfrcnn.data.remote_files import Remote
from tfrcnn.errors import InputError
from tfrcnn.locks import LOCK, is_stale, name_of, parsed, taker, this_process

BEAT = 20.0  # seconds between two writes of the holder
WATCH = 120.0  # seconds without a write after which the holder has ended
_POLL = 2.0
_UNKNOWN = {"host": "unknown", "pid": 0, "since": "unknown", "boot": None, "key": ""}


class BucketLock:
    """The lock of a run folder in a bucket.

    Attributes:
        path: of the object.
    """

    def __init__(self, remote: Remote) -> None:
        self.path = f"{remote.path}/{LOCK}"
        self._remote = remote
        self._holder = this_process()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)

    def acquire(self) -> None:
        """Take the lock, and wait for at most `WATCH` seconds to see whether the process that holds it has ended.

        Raises:
            InputError: another process holds it, or the bucket cannot be written.
        """
        while not self._create():
            holder = self._read()
            if holder is None:  # it was released in between
                continue
            is_here = holder["host"] == self._holder["host"]  # else its number may be of another container
            if not (is_here and is_stale(holder, by_kernel=False)) and self._is_alive(holder):
                raise InputError(
                    f"{self._remote.address} is in use by {name_of(holder)}: wait until it ends, stop it, or choose "
                    "another folder"
                )
            with self._remote.errors("written"), suppress(FileNotFoundError):
                self._remote.filesystem.rm_file(self.path)
        self._thread.start()

    def check(self) -> None:
        """Check that this process still holds the lock.

        Raises:
            InputError: another process took it, or someone removed it; or the bucket cannot be read.
        """
        holder = self._read()
        if holder is None or holder["key"] != self._holder["key"]:
            raise TakenOverError(
                f"{self._remote.address} was taken over by {taker(holder)}: this process stops writing to it"
            )

    def release(self) -> None:
        """Remove the object, if it is still this process's."""
        self._is_over.set()
        self._thread.join()
        with suppress(InputError):  # the others see that nobody writes it
            self.check()
            with self._remote.errors("written"):
                self._remote.filesystem.rm_file(self.path)

    def _create(self) -> bool:
        """Make the object; return False if there is one."""
        with self._remote.errors("written"):
            try:
                self._remote.filesystem.pipe_file(self.path, self._content(), mode="create")
            except OSError:  # FileExistsError, or another one of S3 servers that are not Amazon's
                if self._read() is None:
                    raise
                return False
        return True

    def _keep(self) -> None:
        while not self._is_over.wait(BEAT):
            with suppress(InputError):  # no connection: the next write may succeed
                self.check()
                with self._remote.errors("written"):
                    self._remote.filesystem.pipe_file(self.path, self._content())

    def _content(self) -> bytes:
        return json.dumps({**self._holder, "beat": time.time()}).encode()

    def _read(self) -> dict[str, Any] | None:
        """Return who holds the lock; None if there is no object."""
        with self._remote.errors():
            try:
                return {**_UNKNOWN, **(parsed(self._remote.filesystem.cat_file(self.path)) or {})}
            except FileNotFoundError:
                return None

    def _is_alive(self, holder: dict[str, Any]) -> bool:
        """Watch a lock until its process writes it, or for `WATCH` seconds."""
        print(f"{self._remote.address}: waiting to see whether {name_of(holder)} is alive ...", file=sys.stderr)
        end = time.monotonic() + WATCH
        while time.monotonic() < end:
            time.sleep(_POLL)
            current = self._read()
            if current != holder:
                return current is not None
        return False


class TakenOverError(InputError):
    """Another process writes to the run folder."""
