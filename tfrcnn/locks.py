"""One writer per folder: a lock file that names the process that holds it.

The holder keeps the file locked (flock), so the kernel frees the lock of a process that was killed. Network folders may
lock for one host only. So the file also says which host and process hold it, and a lock of another host is respected
until someone removes the file.

A container that restarts numbers its processes from 1 again. So the file also says how long the machine was up when the
lock was taken: a process of the holder's number that started later is another one.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tfrcnn.errors import InputError
from tfrcnn.printable import shorten

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # a platform without the module

LOCK = ".lock.tmp"  # `is_free` ignores this name, so the lock of a killed process does not block a new run
_BOOT = Path("/proc/sys/kernel/random/boot_id")  # the same in all containers of one machine
POLL = 1.0  # seconds between two looks at the lock of another download
MAX_NAME = 100  # characters of a host in a message
_PATIENCE = 1.0  # seconds that the holder may take to write its name into a file that it made


class FolderLock:
    """The lock of a folder, see `locked`.

    Attributes:
        folder: the folder.
        path: the lock file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / LOCK
        self._descriptor = -1
        self._holder: dict[str, Any] = {}

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            InputError: another process holds it.
        """
        while True:
            try:
                descriptor, is_new = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL), True
            except FileExistsError:
                with suppress(FileNotFoundError):  # it was released in between
                    descriptor, is_new = os.open(self.path, os.O_RDWR), False
                    if self._take(descriptor, is_new):
                        return
                continue
            if self._take(descriptor, is_new):
                return

    def _take(self, descriptor: int, is_new: bool) -> bool:
        """Lock an open file and write this process into it; return False if the file was removed meanwhile."""
        try:
            is_free = _flock(descriptor)
            holder = None if is_new else _read(self.path, wait=True)
            if is_free is False or (holder and not is_stale(holder, by_kernel=is_free is True)):
                raise InputError(_refusal(self.folder, holder))
            self._holder = this_process()
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, json.dumps(self._holder).encode(), 0)
            os.fsync(descriptor)
            if _read(self.path) == self._holder:
                self._descriptor = descriptor
                return True
        except OSError as error:  # for example of a full disk
            error.filename = error.filename or str(self.path)
            if is_new:
                self.path.unlink(missing_ok=True)
            raise
        finally:
            if self._descriptor != descriptor:
                os.close(descriptor)
        return False

    def check(self) -> None:
        """Check that the folder is still there and still locked by this process.

        Raises:
            InputError: it was removed or moved, or another process took the lock.
        """
        if not self.folder.is_dir():
            raise InputError(
                f"{self.folder} was removed or moved while this process was writing to it: put it back and resume, or "
                "start again"
            )
        holder = _read(self.path)
        if holder != self._holder:
            raise InputError(f"{self.folder} was taken over by {taker(holder)}: this process stops writing to it")

    def release(self) -> None:
        """Remove the lock file, if it is still this process's."""
        if _read(self.path) == self._holder:
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = -1


@contextmanager
def locked(folder: Path) -> Iterator[FolderLock]:
    """Lock a folder against other processes while the block runs.

    Args:
        folder: made if it does not exist, and removed again if it is empty at the end.

    Raises:
        InputError: another process holds the lock; the message names its host and its number.
    """
    is_new = not folder.is_dir()
    folder.mkdir(parents=True, exist_ok=True)
    lock = FolderLock(folder)
    try:
        lock.acquire()
        try:
            yield lock
        finally:
            lock.release()
    finally:
        if is_new:
            with suppress(OSError):  # it holds something
                folder.rmdir()


def acquire_in_turn(lock: FolderLock, label: str) -> None:
    """Take the lock of a folder of downloads, and wait for another process that holds it.

    Args:
        lock: the lock.
        label: what is downloaded, for the message to the user who waits.
    """
    is_waiting = False
    while True:
        try:
            lock.acquire()
            return
        except InputError as error:  # another process holds it
            if not is_waiting:
                print(f"waiting for another download of {label}: {error}", file=sys.stderr, flush=True)
            is_waiting = True
            time.sleep(POLL)


def check_unlocked(folder: Path) -> None:
    """Check that no other process holds the lock of a folder, which need not exist.

    Raises:
        InputError: as `locked`.
    """
    lock = FolderLock(folder)
    if lock.path.is_file():
        lock.acquire()
        lock.release()


def _flock(descriptor: int) -> bool | None:
    """Return whether the kernel locked the file for this process; None if the file system has no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def this_process() -> dict[str, Any]:
    boot = _BOOT.read_text().strip() if _BOOT.is_file() else None
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    process = {"host": socket.gethostname(), "pid": os.getpid(), "since": now, "uptime": _uptime()}
    return {**process, "boot": boot, "key": os.urandom(8).hex()}


def _uptime() -> float | None:
    """Return the seconds since the machine started; None if the system does not say."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else None


def _started(pid: int) -> float | None:
    """Return after how many seconds of the machine a process started; None if the system does not say."""
    try:
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        return int(ticks) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return None


def _read(path: Path, wait: bool = False) -> dict[str, Any] | None:
    """Read who holds a lock; None if there is no file, or nobody has written into it (after a moment, if `wait`)."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            holder = parsed(path.read_bytes())
        except FileNotFoundError:
            return None
        if holder or not wait or time.monotonic() > end:
            return holder
        time.sleep(0.05)


def parsed(content: bytes) -> dict[str, Any] | None:
    """Return the process that a lock file names; None if it names none."""
    try:
        holder = json.loads(content)
    except (ValueError, RecursionError):
        return None
    is_holder = isinstance(holder, dict) and {"host", "pid", "since", "boot"} <= set(holder) and _is_process(holder)
    return holder if is_holder else None


def name_of(holder: dict[str, Any]) -> str:
    """Name the process that holds a lock, for messages."""
    host, since = (shorten(holder[name], MAX_NAME) for name in ("host", "since"))
    return f"process {holder['pid']} on the host {host}, since {since}"


def taker(holder: dict[str, Any] | None) -> str:
    """Name who took a lock from the process that held it, for messages."""
    return name_of(holder) if holder else "someone who removed the lock"


def is_stale(holder: dict[str, Any], by_kernel: bool) -> bool:
    """Return whether the process that wrote its name into a lock file has ended.

    Args:
        holder: what it wrote.
        by_kernel: whether this process has the kernel's lock on the file.
    """
    here = this_process()
    is_same_boot = bool(here["boot"]) and holder["boot"] == here["boot"]
    if holder["host"] != here["host"]:  # its processes cannot be seen from here; it may be a container of this machine
        return by_kernel and is_same_boot
    return by_kernel or holder["boot"] != here["boot"] or not _is_alive(holder)


def _is_process(holder: dict[str, Any]) -> bool:
    texts = all(isinstance(holder[name], str) for name in ("host", "since"))
    return texts and isinstance(holder["pid"], int) and 0 < holder["pid"] < 2**31


def _is_alive(holder: dict[str, Any]) -> bool:
    """Return whether the process that wrote its name into a lock file of this host runs."""
    if os.name == "nt":
        return True  # os.kill would end the process
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    taken, started = holder.get("uptime"), _started(holder["pid"])
    return not isinstance(taken, float) or started is None or started <= taken


def _refusal(folder: Path, holder: dict[str, Any] | None) -> str:
    if holder is None:
        return f"{folder} is in use by another process: wait until it ends, or choose another folder"
    who = name_of(holder)
    if holder["host"] == socket.gethostname():
        return f"{folder} is in use by {who}: wait until it ends, stop it, or choose another folder"
    return f"{folder} is locked by {who}: if that process has ended, remove {folder / LOCK} and try again"
