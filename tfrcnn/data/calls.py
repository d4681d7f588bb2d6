"""Python functions that the threads of tf.data call."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Calls:
    """Counts the calls of Python by TensorFlow's threads, and ends them before Python does.

    A thread that needs Python's lock while the interpreter ends never returns, and a pipeline that still exists then
    waits for it for ever. So all calls fail at once from the exit on. The pipelines fill their buffers with errors and
    come to rest within milliseconds.
    """

    REST = 0.1  # seconds without a call that show that all pipelines are at rest
    PATIENCE = 10.0  # seconds; a slow disk may hold up a call

    def __init__(self) -> None:
        self.active, self.last, self.closed = 0, 0.0, False
        self.lock = threading.Lock()

    def counted(self, function: Callable[..., T]) -> Callable[..., T]:
        """Return the function, counted."""

        def call(*arguments: Any) -> T:
            with self.lock:
                self.last = time.monotonic()
                if self.closed:
                    raise RuntimeError("the program ends")
                self.active += 1
            try:
                return function(*arguments)
            finally:
                with self.lock:
                    self.active -= 1

        return call

    def close(self) -> None:
        """Let all calls fail, and wait for those that are running and until no more come."""
        end = time.monotonic() + self.PATIENCE
        with self.lock:
            self.closed = True
            if self.last:  # a program that never read an image needs no rest
                self.last = time.monotonic()
        while time.monotonic() < end and (self.active or time.monotonic() - self.last < self.REST):
            time.sleep(0.01)


_CALLS = Calls()
counted = _CALLS.counted
atexit.register(_CALLS.close)
