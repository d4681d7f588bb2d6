"""Detects in blocks of pictures with Ray Data.

Each worker is an actor that holds the detector. It reads the pictures of a block itself, so none passes through Ray.
The results of a block are written whole before the block counts as done. Ray starts another actor in place of one that
dies, and gives it the block again, without end: so a worker counts the starts of its block on the disk.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import logging
import os
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from tfrcnn.batch.blocks import Block, Row
from tfrcnn.batch.detect import Detect
from tfrcnn.batch.parts import Parts
from tfrcnn.errors import InputError, reason_of

MAX_STARTS = 4  # of a block whose worker dies each time; then it is left out
MAX_ATTEMPTS = 4  # to start Ray: it gives up after 30 seconds, which is short on a busy machine
_PICTURES = 16  # per call of `Detect`


class Done(NamedTuple):
    """The outcome of a block.

    Attributes:
        number: of the block.
        fault: why it has no results; "" if it has.
    """

    number: int
    fault: str = ""


@dataclass
class Work:
    """Detects in a block and writes the results; each worker has a copy.

    Attributes:
        detect: the detector.
        parts: where the results are.
    """

    detect: Detect
    parts: Parts

    def run(self, number: int, block: Block) -> Done:
        """Do a block, unless its results are there. Faults become the result, so that others go on."""
        if self.parts.is_done(number):
            return Done(number)
        try:
            if self.parts.begin(number) > MAX_STARTS:
                return Done(number, f"its worker died {MAX_STARTS} times")
            self.parts.write(number, map(self.detect, _batches(block.rows())))
        except Exception as error:  # a shard that is gone, a full disk, too little memory
            return Done(number, f"{type(error).__name__}: {reason_of(error)}")
        return Done(number)


class _Worker:
    """An actor of Ray Data."""

    def __init__(self, work: Work) -> None:
        self._work = work
        work.detect.load()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        done = [self._work.run(*pickle.loads(task)) for task in batch["task"]]
        return {"done": [pickle.dumps(one) for one in done]}


def check_engine() -> None:
    """Check that Ray Data is installed.

    Raises:
        InputError: it is not.
    """
    if missing := [name for name in ("ray", "pyarrow", "pandas") if importlib.util.find_spec(name) is None]:
        raise InputError(f"--engine ray needs {missing[0]}, which is not installed: pip install 'tfrcnn[ray]'")


@contextmanager
def running_ray(workers: int | None, threads: int) -> Iterator[int]:
    """Run Ray on this machine while the block runs, or use the cluster that RAY_ADDRESS names.

    Args:
        workers: number of workers; None takes as many as there are processors for.
        threads: of each worker.

    Yields:
        The number of workers.

    Raises:
        InputError: Ray cannot be started, or the cluster has too few processors.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # sends nothing to anyone
    ray: Any = importlib.import_module("ray")  # untyped in parts
    was_running = ray.is_initialized()
    if not was_running:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if not os.environ.get("RAY_ADDRESS"):
            workers = workers or max(1, (os.cpu_count() or 1) // threads)
            # "local": not a cluster that runs on this machine
            options |= {"address": "local", "num_cpus": workers * threads, "include_dashboard": False}
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                ray.init(**options)
                break
            except Exception as error:  # a cluster that is not there, a machine that is too busy or too small
                ray.shutdown()  # what has started
                reason = reason_of(error)
                if attempt == MAX_ATTEMPTS or "timed out" not in reason:
                    raise InputError(f"--engine ray: Ray cannot be started: {reason}") from error
    try:
        processors = int(ray.cluster_resources().get("CPU", 0))
        workers = workers or max(1, processors // threads)
        if workers * threads > processors:
            raise InputError(
                f"--workers {workers}: expected at most {processors // threads} with {threads} threads each, because "
                f"the Ray cluster has {processors} processors"
            )
        yield workers
    finally:
        if not was_running:
            ray.shutdown()


def run_blocks(work: Work, tasks: Sequence[tuple[int, Block]], workers: int, threads: int) -> Iterator[Done]:
    """Do blocks on Ray, which must run; see `running_ray`.

    Args:
        work: what to do with a block.
        tasks: numbers of blocks, and the blocks.
        workers: number of actors.
        threads: processors of each.

    Yields:
        The result of each block as soon as it is done, in any order.
    """
    data: Any = importlib.import_module("ray.data")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = data.DataContext.get_current()
    context.max_errored_blocks = -1  # the caller sees which blocks have no results
    context.enable_progress_bars = False
    rows = data.from_items([{"task": pickle.dumps(task)} for task in tasks], override_num_blocks=len(tasks))
    results = rows.map_batches(
        _Worker,
        fn_constructor_args=(work,),
        batch_size=1,
        compute=data.ActorPoolStrategy(size=workers),
        num_cpus=threads,
    )
    for row in results.iter_rows():
        yield pickle.loads(row["done"])


def _batches(rows: Iterator[Row]) -> Iterator[dict[str, list[Any]]]:
    while group := list(itertools.islice(rows, _PICTURES)):
        yield {"path": [name for name, _ in group], "content": [content for _, content in group]}
