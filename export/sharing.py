"""Lets threads and processes share the runtimes of exported files."""

from __future__ import annotations

import os
import threading
import weakref
from pathlib import Path
from typing import Any

_adding = threading.RLock()
_locks: weakref.WeakSet[Any] = weakref.WeakSet()
_held: list[Any] = []  # of `_locks`; read and written by the thread that holds `_adding`


class LoadedFile:
    """The base of a runtime. It is pickled as the arguments of its constructor: another process loads the file again.

    Attributes:
        path: The file, absolute.
    """

    def __init__(self, path: Path, *arguments: Any) -> None:
        """
        Args:
            path: The first argument of the constructor, absolute.
            arguments: The others.
        """
        self.path = path
        self._arguments = arguments

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return type(self), (self.path, *self._arguments)


def make_lock() -> Any:
    """Make a lock for a runtime that runs one detection at a time.

    `os.fork` waits until no thread holds such a lock, so that the child does not inherit half a detection.
    """
    lock = threading.RLock()
    with _adding:
        _locks.add(lock)
    return lock


def _acquire_all() -> None:
    _adding.acquire()
    for lock in list(_locks):
        lock.acquire()
        _held.append(lock)


def _release_all() -> None:
    while _held:
        _held.pop().release()
    _adding.release()  # last: then another thread may fork


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(before=_acquire_all, after_in_parent=_release_all, after_in_child=_release_all)
