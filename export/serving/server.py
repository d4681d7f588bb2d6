"""Serve a SavedModel over HTTP with TensorFlow Serving's REST predict protocol, without TensorFlow Serving.

    python server.py MODEL --name detector --port 8501

    POST /v1/models/detector:predict   {"signature_name": "encoded", "instances": [{"b64": "..."}, ...]}
    GET  /v1/models/detector           its status
    GET  /v1/models/detector/metadata  its signatures
    GET  /health/live                  200 while the server runs
    GET  /health/ready, /health        200 while requests are answered; 503 while the model is loaded
    GET  /openapi.json                 all routes

A version can be named: /v1/models/detector/versions/1:predict. The model runs in worker processes (worker.py), which
are replaced when they die. After SIGTERM the server answers the requests in flight, then it ends with its workers.

It needs tensorflow, fastapi and uvicorn, not tfrcnn. https://www.tensorflow.org/tfx/serving/api_rest
"""

# No `from __future__ import annotations` here: FastAPI reads annotations as types.
import argparse
import asyncio
import contextlib
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.requests import ClientDisconnect

if __package__:
    from . import openapi
    from .pool import Pool, worker_command
    from .protocol import Limits, echo, error_body
    from .protocol import parse as parse
else:  # run as a file
    sys.path.insert(0, str(Path(__file__).parent))  # `python -P` leaves it out
    import openapi  # type: ignore[no-redef]
    from pool import Pool, worker_command  # type: ignore[no-redef]
    from protocol import Limits, echo, error_body  # type: ignore[no-redef]
    from protocol import parse as parse  # type: ignore[no-redef]

MAX_HELD = 8  # bodies of the largest size that may be in memory at a time
LINGER = 0.3  # seconds in which requests that are on their way over open connections still arrive


class ModelName(Convertor[str]):
    """A part of a route without a colon, so that GET of :predict is 405 and no model's name."""

    regex = "[^/:]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("model", ModelName())


class Service:
    """One version of one model.

    Attributes:
        pool: The processes that run it.
        name: Its name in the URL.
        version: Its version in the URL.
    """

    def __init__(self, pool: Pool, name: str, version: str) -> None:
        self.pool, self.name, self.version = pool, name, version
        self.waiting = self.held = 0

    def check(self, model: str, version: str | None) -> None:
        """Refuse any other model or version, in TensorFlow Serving's words."""
        if model != self.name or version not in (None, self.version):
            name = echo(model)[1:-1]
            servable = f"Latest({name})" if version is None else f"Specific({name}, {echo(version)[1:-1]})"
            raise HTTPException(404, f"Servable not found for request: {servable}")

    def status(self, model: str, version: str | None = None) -> dict[str, Any]:
        self.check(model, version)
        state = "AVAILABLE" if self.pool.ready else "LOADING"
        status = {"error_code": "OK", "error_message": ""}
        return {"model_version_status": [{"version": self.version, "state": state, "status": status}]}

    def metadata(self, model: str, version: str | None = None) -> dict[str, Any]:
        self.check(model, version)
        if self.pool.signatures is None:
            raise HTTPException(503, "the model is being loaded")
        return {
            "model_spec": {"name": self.name, "signature_name": "", "version": self.version},
            "metadata": {"signature_def": {"signature_def": self.pool.signatures}},
        }

    async def predict(self, request: Request, model: str, version: str | None = None) -> Response:
        self.check(model, version)
        limits = self.pool.limits
        if not self.pool.ready:
            raise HTTPException(503, "the model is being loaded")
        if self.waiting >= limits.waiting:
            raise HTTPException(503, f"{limits.waiting} requests are waiting already")
        deadline = time.monotonic() + limits.seconds
        self.waiting += 1
        body = bytearray()
        try:
            async with asyncio.timeout(limits.seconds):
                async for chunk in request.stream():
                    body += chunk
                    self.held += len(chunk)
                    if len(body) > limits.body:
                        raise HTTPException(413, f"expected a body of at most {limits.body} bytes")
                    if self.held > MAX_HELD * limits.body:
                        raise HTTPException(503, "too many large requests at a time")
            status, answer = await self.pool.predict(bytes(body), deadline)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        except TimeoutError as error:
            raise HTTPException(408, f"expected the whole request within {limits.seconds:g} seconds") from error
        finally:
            self.waiting -= 1
            self.held -= len(body)
        return Response(answer, status, headers_of(status), "application/json")


def headers_of(status: int) -> dict[str, str]:
    """Return the headers of an answer: a client that is refused for the load may try again."""
    return {"Retry-After": "1"} if status == 503 else {}


def make_app(service: Service) -> FastAPI:
    """Make the routes of a service; the app starts and ends its workers."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.pool.start()
        yield
        await service.pool.stop()

    app = FastAPI(title="Detector", version=service.version, lifespan=lifespan, docs_url=None, redoc_url=None)

    def ready() -> dict[str, str]:
        if not service.pool.ready:
            raise HTTPException(503, "the model is being loaded")
        return {"status": "ready"}

    def live() -> dict[str, str]:
        return {"status": "live"}

    app.get("/health/live", summary="Whether the server runs", **openapi.LIVE)(live)
    for path in ("/health/ready", "/health"):
        app.get(path, summary="Whether requests are answered", **openapi.READY)(ready)
    for place in ("/v1/models/{model:model}", "/v1/models/{model:model}/versions/{version:model}"):
        app.get(place, summary="Status of the model", **openapi.STATUS)(service.status)
        app.get(f"{place}/metadata", summary="Signatures of the model", **openapi.METADATA)(service.metadata)
        app.post(f"{place}:predict", summary="Detect", **openapi.PREDICT)(service.predict)

    async def refused(request: Request, error: Exception) -> Response:
        """Write an error in TensorFlow Serving's format."""
        status = error.status_code if isinstance(error, AnyHTTPException) else 500
        message = error.detail if isinstance(error, AnyHTTPException) else "internal error"
        headers = {**headers_of(status), **(getattr(error, "headers", None) or {})}
        return Response(error_body(message), status, headers, "application/json")

    app.add_exception_handler(AnyHTTPException, refused)
    app.add_exception_handler(Exception, refused)
    return app


class Server(uvicorn.Server):
    """Ends without losing a request that was sent."""

    def __init__(self, config: uvicorn.Config, pool: Pool, grace: float) -> None:
        super().__init__(config)
        self.pool, self.grace = pool, grace

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await asyncio.sleep(0.01)  # accept the connections that the system has completed already
        for server in self.servers:
            server.close()
        self.server_state.default_headers.append((b"connection", b"close"))
        asyncio.get_running_loop().call_later(self.grace, self.pool.refuse_rest)
        await asyncio.sleep(LINGER)
        await super().shutdown(sockets)


def newest(path: Path) -> Path:
    """Return the SavedModel at `path`, or the highest numbered version inside it, as TensorFlow Serving does."""
    if (path / "saved_model.pb").is_file():
        return path
    versions = [entry for entry in path.glob("*") if entry.name.isdecimal() and (entry / "saved_model.pb").is_file()]
    if not versions:
        raise SystemExit(f"error: {path}: expected a SavedModel, or a folder of numbered ones")
    return max(versions, key=lambda entry: int(entry.name))


def run(pool: Pool, name: str, version: str, host: str, port: int, grace: float) -> int:
    """Serve a model until SIGTERM or SIGINT.

    Args:
        pool: The processes that run the model.
        name: Its name in the URL.
        version: Its version in the URL.
        host: Address to listen at.
        port: Port to listen at; 0 takes a free one.
        grace: Seconds that requests in flight have after a signal.

    Returns:
        The exit status: 1 if the model cannot be loaded.
    """
    config = uvicorn.Config(
        make_app(Service(pool, name, version)),
        host=host,
        port=port,
        loop="asyncio",  # uvloop goes on listening after its server is closed
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(grace) + 1,
    )
    server = Server(config, pool, grace)

    def stop(*signal_and_frame: object) -> None:
        sys.exit(0)

    def fail() -> None:
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):  # before uvicorn handles them; process 1 has no default for them
        signal.signal(number, stop)
    pool.fail = fail
    listener = config.bind_socket()  # before the workers start: a taken port ends the server at once
    listener.listen(config.backlog)
    print(f"serving {name} on {host}:{listener.getsockname()[1]}", file=sys.stderr, flush=True)
    server.run([listener])
    return 1 if pool.failure else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a SavedModel, or a folder of them whose names are versions")
    parser.add_argument("--name", default="detector", help="name in the URL (default: %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: this machine only)")
    parser.add_argument("--port", type=int, default=8501, help="default: %(default)s, as TensorFlow Serving")
    parser.add_argument("--workers", type=int, default=1, help="number of processes, each with a copy of the model")
    parser.add_argument("--grace", type=float, default=8.0, help="seconds for requests in flight after SIGTERM")
    for field, text in {
        "body": "bytes of a request's body",
        "images": "images per request",
        "pixels": "pixels of one image",
        "seconds": "time for one request",
        "waiting": "requests that wait for an answer",
    }.items():
        default = getattr(Limits, field)
        parser.add_argument(f"--max-{field}", type=type(default), default=default, help=f"{text} (default: {default})")
    options = parser.parse_args()
    limits = Limits(*(getattr(options, f"max_{field}") for field in Limits.__dataclass_fields__))
    path = newest(options.model.resolve())
    pool = Pool(worker_command(path, limits), options.workers, limits)
    version = path.name if path.name.isdecimal() else "1"
    sys.exit(run(pool, options.name, version, options.host, options.port, options.grace))


if __name__ == "__main__":
    main()
