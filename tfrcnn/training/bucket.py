"""Run folders in buckets: training writes a working folder, and sends what changed after each epoch."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras

from tfrcnn.errors import InputError
from tfrcnn.files import address_in

if TYPE_CHECKING:
    from tfrcnn.buckets.runs import BucketRun

_current: ContextVar[BucketRun | None] = ContextVar("_current", default=None)


@contextmanager
def working_folder(out: str | Path, resume: bool) -> Iterator[Path]:
    """Yield the folder to write to: `out` itself, or its working folder if `out` is in a bucket.

    Args:
        out: a path or an address.
        resume: whether there is a run to resume.

    Raises:
        InputError: see `tfrcnn.buckets.runs.bucket_run`.
    """
    address = address_in(out)
    if address is None:
        yield Path(out)
        return
    from tfrcnn.buckets.runs import bucket_run

    with bucket_run(address, resume) as run:
        print(f"{run.address}: its working folder is {run.folder}, sent after each epoch", flush=True)
        token = _current.set(run)
        try:
            yield run.folder
        finally:
            _current.reset(token)


def send_run() -> None:
    """Send the run to its bucket, if it has one.

    Raises:
        InputError: see `tfrcnn.buckets.runs.BucketRun.send`.
    """
    run = _current.get()
    if run is not None:
        run.send()


class SendRun(keras.callbacks.Callback):
    """Sends the run after each epoch. If that fails, training goes on: a later epoch, or the end, sends all again."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        from tfrcnn.buckets.lock import TakenOverError

        try:
            send_run()
        except TakenOverError:
            raise
        except InputError as error:
            print(f"{error}; training goes on, and the next epoch sends it again", file=sys.stderr, flush=True)
