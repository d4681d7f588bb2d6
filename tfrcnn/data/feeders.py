"""Lets other machines read, decode and augment the training images, over TensorFlow's tf.data service.

Each feeder is a service of its own (`tfrcnn feed`): a dispatcher with one worker. Feeder i of n makes the steps i,
i + n, i + 2n, ..., and the batches are taken in turns. So their order is the order of one machine, whoever is faster.
A run can be repeated, and resumed with other feeders or with none.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import cancellation  # TensorFlow has no public way to end a step that waits for data

from tfrcnn.errors import InputError, InputErrors, LostFeederError
from tfrcnn.printable import shorten

_ADDRESS = re.compile(r"(?P<host>[^\s,/]+):(?P<port>\d{1,5})")
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # of HTTP/2, with no settings
# TensorFlow 2.15 names the worker before the error, later releases also the steps of the pipeline
_UNDECODED = re.compile(
    r"(?:ParallelMapV2|worker \S+): ((?!assertion failed|Failed).*(?:[Dd]ecode|image|Input is empty).*)"
)
_SECONDS_TO_ANSWER = 5.0
_SECONDS_TO_FEED = 30.0
_SECONDS_BETWEEN = 5.0  # two looks at a feeder
PATIENCE = 30.0  # seconds without an answer that end a run; TensorFlow would wait for an hour
_PYTHON = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}
_ADVICE = "The run goes on after its last complete epoch with resume=True, with other feeders or without"


def check_feeders(feeders: Sequence[str], cache: bool = False) -> tuple[str, ...]:
    """Check the addresses of feeders, and that each makes batches.

    Args:
        feeders: "HOST:PORT" of each.
        cache: whether the training keeps images in its own memory, which feeders cannot use.

    Returns:
        The addresses.

    Raises:
        InputError: one is no address, is there twice, or does not answer; or there is a cache.
    """
    if feeders and cache:
        raise InputError("feeders: expected no cache, since the feeders decode the images")
    if isinstance(feeders, str) or not all(isinstance(feeder, str) for feeder in feeders):
        raise InputError(f"feeders: expected a list of HOST:PORT, found {shorten(repr(feeders), 100)}")
    errors = InputErrors()
    for feeder in feeders:
        with errors.collect():
            _check_feeder(feeder, list(feeders).count(feeder))
    errors.check()
    return tuple(feeders)


def _check_feeder(feeder: str, count: int) -> None:
    match = _ADDRESS.fullmatch(feeder)
    if not match or not 0 < int(match["port"]) < 2**16:
        raise InputError(f"feeders: expected HOST:PORT, for example 10.0.0.7:5050, found {feeder!r}")
    if count > 1:
        raise InputError(f"feeders: expected each feeder once, found {feeder} {count} times")
    if not _answers(feeder):
        raise InputError(f"feeders: expected `tfrcnn feed` at {feeder}, found that nothing answers there")
    if not _feeds(feeder):
        raise InputError(
            f"feeders: expected a batch from {feeder}, found none within {_SECONDS_TO_FEED:.0f} s. It must be "
            "`tfrcnn feed` of the same release of TensorFlow, and its --host must be a name that this machine knows"
        )


def _answers(feeder: str) -> bool:
    """Return whether a server of HTTP/2 greets: the system accepts connections for a process that hangs, too."""
    host, port = feeder.rsplit(":", 1)
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_ANSWER) as connection:
            connection.sendall(_GREETING)
            return bool(connection.recv(1))
    except OSError:
        return False


def _feeds(feeder: str) -> bool:
    """Return whether a number makes its way through the dispatcher and back from the worker.

    A thread waits for it: TensorFlow asks a server that does not understand it again for an hour.
    """
    numbers: list[int] = []

    def ask() -> None:
        with suppress(tf.errors.OpError):
            numbers.extend(int(number) for number in _sent(tf.data.Dataset.range(7, 8), feeder))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_SECONDS_TO_FEED)
    return numbers == [7]


def _sent(batches: tf.data.Dataset, feeder: str) -> tf.data.Dataset:
    # no compression: it would take the processors of both sides more time than a fast network takes
    service = tf.data.experimental.service.distribute(
        tf.data.experimental.service.ShardingPolicy.OFF, f"grpc://{feeder}", compression=None
    )
    return batches.apply(service)


def fed(
    feeders: Sequence[str],
    order: np.ndarray,
    first_step: int,
    make: Callable[[tf.data.Dataset], tf.data.Dataset],
    batches_per_step: int,
) -> tf.data.Dataset:
    """Let feeders make the batches of steps.

    Args:
        feeders: their addresses, as `check_feeders` returns them.
        order: [S, B] int32, the images of each step.
        first_step: the number of the first one.
        make: makes batches of a data set of (images [B] int32, step int64), in ops alone.
        batches_per_step: how many it makes of each.
    """
    count = len(feeders)
    numbers = np.arange(first_step, first_step + len(order), dtype=np.int64)
    parts = []
    for i, feeder in enumerate(feeders):
        steps = tf.data.Dataset.from_tensor_slices((order[i::count], numbers[i::count]))
        parts.append(_sent(make(steps), feeder))
    turns = np.repeat(np.arange(len(order)) % count, batches_per_step)
    fed_batches = tf.data.Dataset.choose_from_datasets(parts, tf.data.Dataset.from_tensor_slices(turns), False)
    return fed_batches.apply(tf.data.experimental.assert_cardinality(len(turns)))


def check_without_python(batches: tf.data.Dataset) -> None:
    """Check that batches can be made in another process.

    Raises:
        InputError: their graph calls Python.
    """
    content = tf.raw_ops.DatasetToGraphV2(
        input_dataset=tf.data.experimental.to_variant(batches), external_state_policy=1, strip_device_assignment=True
    )
    graph = tf.Graph().as_graph_def()
    graph.ParseFromString(content.numpy())
    functions = [node.op for function in graph.library.function for node in function.node_def]
    if _PYTHON & {*functions, *(node.op for node in graph.node)}:
        raise InputError(
            "feeders: expected an augmentation of TensorFlow ops alone, found one that calls Python (Albumentations, "
            "tf.numpy_function or tf.py_function): it cannot be sent to another process"
        )


@contextmanager
def watched(feeders: Sequence[str]) -> Iterator[None]:
    """Raise an `InputError` if a feeder fails while the block takes batches from it.

    TensorFlow waits for a feeder that has gone; this ends the step that waits.

    Args:
        feeders: their addresses; none does nothing.

    Raises:
        InputError: a feeder does not answer for `PATIENCE` seconds, was started again, or cannot read an image.
        LostFeederError: the first of these under a strategy.
    """
    if not feeders:
        yield
        return
    manager, ended, lost = cancellation.CancellationManager(), threading.Event(), list[str]()

    def watch() -> None:
        seen = dict.fromkeys(feeders, time.monotonic())
        while not ended.wait(_SECONDS_BETWEEN):
            start = time.monotonic()  # looks at feeders that do not answer take time
            seen |= {feeder: start for feeder in feeders if _answers(feeder)}
            lost.extend(feeder for feeder, at in seen.items() if start - at > PATIENCE)
            if lost:
                manager.start_cancel()
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        with cancellation.CancellationManagerContext(manager):
            yield
    except tf.errors.OpError as error:
        if lost:
            kind = LostFeederError if tf.distribute.has_strategy() else InputError
            raise kind(f"the feeder {lost[0]} has not answered for {PATIENCE:.0f} s. {_ADVICE}") from error
        if fault := _fault(str(error.message)):
            raise InputError(fault) from error
        raise
    finally:
        ended.set()
        watcher.join()


def _fault(message: str) -> str:
    """Say in one line what of a feeder failed; "" if it is something else."""
    if "iteration client id" in message:
        return f"a feeder was started again while it fed this run. {_ADVICE}"
    if "element" not in message:  # an error of this machine, for example of a disk that is full
        return ""
    same = "all machines must see the same images at the same path"
    if match := re.search(r"(?:^|: )(/.*?); No such file or directory", message):
        return f"a feeder found nothing at {match[1]}: {same}"
    if match := re.search(r"(?:^|: )(/.*?); (\w.*)", message):
        return f"a feeder cannot read {match[1]}: {match[2]}; {same}"
    if match := re.search(r'input file "(.*?)" has body length', message):
        return f"a feeder found another length of {match[1]} than this machine: {same}"
    if match := _UNDECODED.search(message):
        return f"a feeder cannot decode an image: {match[1]} The run goes on without feeders, which read it by Pillow"
    return ""
