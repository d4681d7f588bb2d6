"""The machines of a `tf.distribute.MultiWorkerMirroredStrategy`: one of them writes, all of them exchange bytes.

Every worker runs the same program. Worker 0, the chief, owns the run folder; the disks of the others need not hold it.
Call each function in the strategy's scope, on all workers in the same order.
"""

from __future__ import annotations

import io
import os
import pickle
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, TypeVar

import numpy as np
import tensorflow as tf

from tfrcnn.data.pipeline import Share, TrainingData
from tfrcnn.errors import InputError
from tfrcnn.files import check_path
from tfrcnn.training.bucket import working_folder

_CHUNK = 2**24  # numbers of 4 bytes per exchange
_MEGA = 2**20
_LOGS = ("tensorboard", "wandb", "mlruns", "mlflow")  # nothing is resumed from them
_is_entered: ContextVar[bool] = ContextVar("_is_entered", default=False)

T = TypeVar("T")
R = TypeVar("R")


class Position(NamedTuple):
    """Which worker of how many this process is.

    Attributes:
        worker: 0 is the chief.
        workers: how many; 1 without a strategy of several workers.
    """

    worker: int
    workers: int


def position() -> Position:
    """Return the position of this process among the workers of the current strategy."""
    resolver = getattr(tf.distribute.get_strategy(), "cluster_resolver", None)
    tasks = resolver.cluster_spec().as_dict() if resolver else {}
    chiefs, workers = (len(tasks.get(name, ())) for name in ("chief", "worker"))
    if chiefs + workers < 2:
        return Position(0, 1)
    assert resolver is not None
    return Position(resolver.task_id + (chiefs if resolver.task_type == "worker" else 0), chiefs + workers)


def gather(content: bytes) -> list[bytes]:
    """Return the bytes that each worker passes, in their order."""
    index, count = position()
    if count == 1:
        return [content]
    parts = np.zeros((count, 2), np.int32)
    parts[index] = divmod(len(content), _MEGA)  # a size of 2 GB or more is no int32
    sizes = _sum(parts.reshape(-1)).reshape(-1, 2).astype(np.int64) @ (_MEGA, 1)
    lengths = -(-sizes // 4)
    ends = np.cumsum(lengths)
    padded = np.frombuffer(content.ljust(4 * int(lengths[index]), b"\0"), np.int32)
    start = int(ends[index]) - len(padded)
    total = np.empty(int(ends[-1]), np.int32)
    for first in range(0, len(total), _CHUNK):
        part = np.zeros(min(_CHUNK, len(total) - first), np.int32)
        low, high = max(start, first), min(start + len(padded), first + len(part))
        if low < high:
            part[low - first : high - first] = padded[low - start : high - start]
        total[first : first + len(part)] = _sum(part)
    return [total[end - length : end].tobytes()[:size] for end, length, size in zip(ends, lengths, sizes)]


def divide(work: Callable[[Sequence[T]], list[R]], items: Sequence[T]) -> list[R]:
    """Do a part of the work on each worker, and return the results of all, one per item, in their order."""
    index, count = position()
    if count == 1:
        return work(items)
    part = items[index::count]
    parts = [pickle.loads(part) for part in gather(pickle.dumps(work(part) if part else []))]
    return [parts[i % count][i // count] for i in range(len(items))]


def batches_of_worker(data: TrainingData, start_step: int) -> Any:
    """Return the batches for `fit`, from a step on; each of several workers reads and decodes only its part of them."""
    if position().workers == 1:
        return data.batches(start_step)

    def batches(context: tf.distribute.InputContext) -> tf.data.Dataset:
        share = Share(context.input_pipeline_id, context.num_input_pipelines, context.num_replicas_in_sync)
        return data.batches(start_step, share)

    return tf.distribute.get_strategy().distribute_datasets_from_function(batches)


@contextmanager
def run_folder(out: str | Path, resume: bool) -> Iterator[Path]:
    """Yield the folder that this worker writes to: the run folder on the chief, a temporary copy of it elsewhere.

    The chief sends the content of a run that is resumed, and writes to the bucket if the run folder is in one. Only the
    chief prints.

    Args:
        out: the run folder, or its address.
        resume: whether the run goes on.

    Raises:
        InputError: another worker ended, or see `working_folder`.
    """
    check_path(out, "out")
    if _is_entered.get():
        yield Path(out)
        return
    index, count = position()
    token = _is_entered.set(True)
    try:
        with working_folder(out, resume) if index == 0 else nullcontext(Path(out)) as folder:
            if count == 1:
                yield folder
                return
            with _folder_of_worker(folder, resume, index, count) as own_folder:
                yield own_folder
    finally:
        _is_entered.reset(token)


@contextmanager
def _folder_of_worker(out: Path, resume: bool, index: int, count: int) -> Iterator[Path]:
    try:
        content = gather(_packed(out) if resume and index == 0 else b"")[0]
        if index == 0:
            yield out
            return
        with TemporaryDirectory() as folder, open(os.devnull, "w") as nothing, redirect_stdout(nothing):
            if content:
                with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                    archive.extractall(Path(folder) / out.name, filter="data")
            yield Path(folder) / out.name
    except tf.errors.OpError as error:
        raise InputError(
            f"worker {index} of {count} cannot go on, since another worker ended or cannot be reached. What it says is "
            "the cause. Start all workers again with resume=True: the run goes on after its last complete epoch"
        ) from error


def _packed(folder: Path) -> bytes:
    """Return what a run is resumed from as an archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path in sorted(folder.iterdir() if folder.is_dir() else ()):
            if path.name not in _LOGS and ".tmp" not in path.name:
                archive.add(path, path.name)
    return buffer.getvalue()


def _sum(values: np.ndarray) -> np.ndarray:
    """Add up the int32 [n] of all workers."""
    strategy = tf.distribute.get_strategy()
    result: np.ndarray = strategy.experimental_local_results(_adder(strategy)(values))[0].numpy()
    return result


@lru_cache(maxsize=1)
def _adder(strategy: tf.distribute.Strategy) -> Callable[[np.ndarray], Any]:
    """Make the function of `_sum`, which is traced once."""
    replicas = strategy.num_replicas_in_sync // position().workers

    def of_replica(values: tf.Tensor) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        is_first = tf.equal(context.replica_id_in_sync_group % replicas, 0)  # one replica speaks for its worker
        return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.where(is_first, values, 0))

    def add(values: tf.Tensor) -> Any:
        return strategy.run(of_replica, [values])

    added: Callable[[np.ndarray], Any] = tf.function(add, [tf.TensorSpec([None], tf.int32)], autograph=False)
    return added
