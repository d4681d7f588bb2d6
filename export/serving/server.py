"""Serve a detector over HTTP with TensorFlow Serving's REST predict protocol, and a page to try it.

    tfrcnn serve --model MODEL --port 8501

    GET  /                             a page to try it
    POST /v1/models/detector:predict   {"signature_name": "encoded", "instances": [{"b64": "..."}, ...]}
    GET  /v1/models/detector           its status
    GET  /v1/models/detector/metadata  its signatures
    GET  /health/live                  200 while the server runs
    GET  /health/ready, /health        200 while requests are answered; 503 while the model is loaded
    GET  /metrics                      for Prometheus
    POST /setup, /predict              Label Studio's ML-backend protocol
    GET  /openapi.json                 all routes

A version can be named: /v1/models/detector/versions/1:predict. The option --follow takes up newer versions of
the folder. The model runs in worker processes (worker.py), which are replaced when they die. After SIGTERM the server
answers the requests in flight, then it ends with its workers.

This file is a program too: `python server.py MODEL` serves a SavedModel with tensorflow, fastapi and uvicorn alone,
without tfrcnn. https://www.tensorflow.org/tfx/serving/api_rest
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import signal
import socket
import sys
import types
from collections.abc import Callable
from pathlib import Path

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

if not __package__:  # run as a file, without tfrcnn: the folder is a package of its own
    __package__ = "serving"
    sys.modules[__package__] = types.ModuleType(__package__)
    sys.modules[__package__].__path__ = [str(Path(__file__).parent)]

from .app import Choices, Service, make_app
from .follow import Follower
from .pool import Pool, worker_command
from .protocol import Limits
from .versions import SAVED_MODEL, newest_model, version_of

PATIENCE = 10.0  # seconds for the headers of a request, and for the rest of a body that is refused
LINGER = 0.3  # seconds in which requests that are on their way over open connections still arrive
LIMITS = {
    "body": "bytes of a request's body",
    "images": "images per request",
    "pixels": "pixels of one image",
    "seconds": "time for one request",
    "waiting": "requests that wait for an answer",
}


class StartError(Exception):
    """The server cannot start; the message says why."""


class Connection(H11Protocol):
    """Closes a connection whose client does not send the headers of a request in time: uvicorn waits for ever.

    Headers are limited to 64 KiB. The other protocol of uvicorn, httptools, has no limit.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self.patience = self.loop.call_later(PATIENCE, self.give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self.patience.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self.patience.cancel()
        self.patience = self.loop.call_later(PATIENCE, self.give_up)

    def give_up(self) -> None:
        """Close the connection if no request is being answered."""
        if self.conn.their_state is h11.IDLE or self.conn.our_state is h11.DONE:
            self.transport.close()


class Server(uvicorn.Server):
    """Ends without losing a request that was sent."""

    def __init__(self, config: uvicorn.Config, service: Service, grace: float) -> None:
        super().__init__(config)
        self.service, self.grace = service, grace

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await asyncio.sleep(0.01)  # accept the connections that the system has completed already
        for server in self.servers:
            server.close()
        self.server_state.default_headers.append((b"connection", b"close"))
        asyncio.get_running_loop().call_later(self.grace, self.service.refuse_rest)
        await asyncio.sleep(LINGER)
        await super().shutdown(sockets)


def newest(path: Path) -> Path:
    """Return the SavedModel at `path`, or the highest numbered version inside it, as TensorFlow Serving does."""
    model = path if (path / SAVED_MODEL).is_file() else newest_model(path)
    if model is None or not model.is_dir():
        raise SystemExit(f"error: {path}: expected a SavedModel, or a folder of numbered ones")
    return model


def run(
    pool: Pool,
    name: str,
    version: str,
    host: str,
    port: int,
    grace: float,
    choices: Choices | None = None,
    follower: Follower | None = None,
) -> int:
    """Serve a model until SIGTERM or SIGINT.

    Args:
        pool: The processes that run the model.
        name: Its name in the URL.
        version: Its version in the URL.
        host: Address to listen at.
        port: Port to listen at; 0 takes a free one.
        grace: Seconds that requests in flight have after a signal.
        choices: Options of the page and of pre-labelling; None takes the defaults.
        follower: Takes up new versions; None stays with this one.

    Returns:
        The exit status: 1 if the model cannot be loaded.

    Raises:
        StartError: The address or the port cannot be used.
    """
    service = Service(pool, name, version, choices or Choices(), follower)
    config = uvicorn.Config(
        make_app(service),
        host=host,
        port=port,
        http=Connection,
        loop="asyncio",  # uvloop goes on listening after its server is closed
        log_config=None,  # uvicorn's closes the handlers of other libraries; warnings go to stderr without it
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(grace) + 1,
    )
    server = Server(config, service, grace)

    def stop(*signal_and_frame: object) -> None:
        sys.exit(0)

    def fail() -> None:
        server.should_exit = True

    listener = listen(host, port, config.backlog)  # before the workers start: a taken port ends the server at once
    for number in (signal.SIGTERM, signal.SIGINT):  # before uvicorn handles them; process 1 has no default for them
        signal.signal(number, stop)
    (follower or pool).fail = fail
    print(f"serving {name} on {host}:{listener.getsockname()[1]}", file=sys.stderr, flush=True)
    server.run([listener])
    return 1 if service.pool.failure else 0


def listen(host: str, port: int, backlog: int) -> socket.socket:
    """Listen at an address.

    Raises:
        StartError: The address or the port cannot be used.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(backlog)
        except OSError:
            listener.close()
            raise
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StartError(f"cannot listen at {host}:{port}: {reason}") from error
    return listener


def between(lowest: float, highest: float = math.inf, kind: Callable[[str], float] = int) -> Callable[[str], float]:
    """Return a type for argparse: a finite number from `lowest` to `highest`."""

    def parse(text: str) -> float:
        with contextlib.suppress(ValueError):
            value = kind(text)
            if lowest <= value <= highest and value < math.inf:
                return value
        limits = f"of at least {lowest:g}" if highest == math.inf else f"from {lowest:g} to {highest:g}"
        raise argparse.ArgumentTypeError(f"expected a number {limits}, found {text!r}")

    return parse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a SavedModel, or a folder of them whose names are versions")
    parser.add_argument("--name", default="detector", help="name in the URL (default: %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: this machine only)")
    parser.add_argument(
        "--port", type=between(0, 65535), default=8501, help="default: %(default)s, as TensorFlow Serving"
    )
    parser.add_argument(
        "--workers", type=between(1), default=1, help="number of processes, each with a copy of the model"
    )
    parser.add_argument(
        "--grace", type=between(0, kind=float), default=8.0, help="seconds for requests in flight after SIGTERM"
    )
    parser.add_argument("--follow", action="store_true", help="take up newer versions of the folder while serving")
    for field, text in LIMITS.items():
        default = getattr(Limits, field)
        kind = between(0.1, kind=float) if isinstance(default, float) else between(1)  # as of tfrcnn serve
        parser.add_argument(f"--max-{field}", type=kind, default=default, help=f"{text} (default: {default})")
    options = parser.parse_args()
    if not options.name or "/" in options.name or ":" in options.name:
        parser.error(f"argument --name: expected a name without / and :, found {options.name!r}")
    limits = Limits(*(getattr(options, f"max_{field}") for field in Limits.__dataclass_fields__))
    path = newest(options.model.resolve())
    pool = Pool(worker_command(path, limits), options.workers, limits)
    if options.follow and path == options.model.resolve():
        sys.exit(f"error: --follow: expected a folder of versions, found the SavedModel {path}")
    follower = Follower(path.parent, lambda model: worker_command(model, limits)) if options.follow else None
    place = options.host, options.port
    try:
        sys.exit(run(pool, options.name, version_of(path), *place, options.grace, follower=follower))
    except StartError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
