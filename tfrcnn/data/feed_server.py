"""`tfrcnn feed`: a process that makes batches for a training elsewhere, see `tfrcnn.data.feeders`."""

from __future__ import annotations

import re
import socket
from typing import NamedTuple

import tensorflow as tf

from tfrcnn.errors import InputError


class Feeder(NamedTuple):
    """A running feeder: TensorFlow's dispatcher and its only worker; `stop` ends both.

    Attributes:
        address: "HOST:PORT", for `--feeders`.
        worker_address: "HOST:PORT" of the worker, which the training must reach too.
    """

    address: str
    worker_address: str
    dispatcher: tf.data.experimental.service.DispatchServer
    worker: tf.data.experimental.service.WorkerServer

    def stop(self) -> None:
        """Stop both servers."""
        self.worker.stop()
        self.dispatcher.stop()


def start_feeder(host: str, port: int) -> Feeder:
    """Start a feeder in the background of this process.

    Args:
        host: the name or address by which the training reaches this machine.
        port: of the dispatcher, 1..65534; the worker takes the next one.

    Raises:
        InputError: a port is taken, or no port; the host is no name.

    Example:
        feeder = start_feeder("10.0.0.7", 5050)
    """
    if not re.fullmatch(r"[^\s:,/]+|\[[^\s,/]+\]", host):
        raise InputError(f"host: expected a name or an address without a port, found {host!r}; IPv6 in brackets")
    if not 1 <= port < 2**16 - 1:
        raise InputError(f"port: expected 1 to 65534, found {port}")
    for each in (port, port + 1):
        _check_free(each)
    service = tf.data.experimental.service
    address, worker_address = f"{host}:{port}", f"{host}:{port + 1}"
    dispatcher = service.DispatchServer(service.DispatcherConfig(port=port))
    worker = service.WorkerServer(
        service.WorkerConfig(dispatcher_address=f"localhost:{port}", worker_address=worker_address, port=port + 1)
    )
    return Feeder(address, worker_address, dispatcher, worker)


def _check_free(port: int) -> None:
    """Refuse a port that another process listens at: gRPC would share it, and lose half of the calls."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # ports of closed connections are free
        try:
            probe.bind(("", port))
        except OSError as error:
            raise InputError(f"port: expected {port} to be free, found that {error.strerror}") from error
