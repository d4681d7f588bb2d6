"""`tfrcnn feed`: read and augment the training images for another machine."""

from __future__ import annotations

import signal
import socket
import threading
from typing import Annotated

import typer

from tfrcnn.cli.startup import load_tensorflow


def feed(
    host: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The name or address by which the training reaches this machine. Default: its host name.",
        ),
    ] = None,
    port: Annotated[
        int,
        typer.Option(metavar="N", min=1, max=65534, help="First of the two ports to listen at; N + 1 is the other."),
    ] = 5050,
) -> None:
    """Read, decode and augment images for a training elsewhere, until Ctrl-C or SIGTERM.

    The images must be at the same path on both machines, for example on a shared disk. Whoever reaches the ports can
    read the files of this user: use a closed network.

    \b
    Example:
      tfrcnn feed --host 10.0.0.7
      tfrcnn train --train cells/VOC@train --val cells/VOC@val --out runs/cells --feeders 10.0.0.7:5050
    """
    load_tensorflow()
    import tensorflow as tf

    from tfrcnn.data.feed_server import start_feeder

    tf.config.set_visible_devices([], "GPU")  # a feeder uses none, and would take the memory of all
    ended = threading.Event()
    feeder = start_feeder(host or socket.gethostname(), port)
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    print(f"Feeds at {feeder.address} and {feeder.worker_address}. Train with --feeders {feeder.address}", flush=True)
    try:
        ended.wait()
    finally:
        feeder.stop()
