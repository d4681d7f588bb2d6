"""Notices that a process was forked from one in which a runtime has run. Imports no runtime."""

from __future__ import annotations

import os

from tfrcnn.errors import InputError

_first: dict[str, int] = {}  # by runtime, the process in which it ran first


def check_not_forked(runtime: str = "TensorFlow") -> None:
    """Check that a runtime can run in this process; call it before the runtime runs.

    A forked child inherits the runtime's state but not its threads, so that the child may wait for ever.

    Args:
        runtime: its name, "TensorFlow" or "OpenVINO".

    Raises:
        InputError: the process was forked after the runtime ran.
    """
    first = _first.setdefault(runtime, os.getpid())
    if first != os.getpid():
        raise InputError(
            f"{runtime} cannot run in process {os.getpid()}, which was forked from process {first} after {runtime} "
            "ran there: start it with multiprocessing.get_context('spawn'), or load detectors only after the fork"
        )
