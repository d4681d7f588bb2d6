"""Notices that a process was forked from one in which TensorFlow has run. Imports no TensorFlow."""

from __future__ import annotations

import os

from tfrcnn.errors import InputError

_pid: int | None = None  # the process in which TensorFlow ran first


def check_not_forked() -> None:
    """Check that TensorFlow can run in this process; call it before TensorFlow runs.

    A forked child inherits TensorFlow's state but not its threads, so that the child would wait for ever.

    Raises:
        InputError: the process was forked after TensorFlow ran.
    """
    global _pid
    _pid = _pid or os.getpid()
    if _pid != os.getpid():
        raise InputError(
            f"TensorFlow cannot run in process {os.getpid()}, which was forked from process {_pid} after TensorFlow "
            "ran there: start it with multiprocessing.get_context('spawn'), or load detectors only after the fork"
        )
