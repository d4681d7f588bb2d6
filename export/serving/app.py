"""The routes of the server: TensorFlow Serving's, health, the page, metrics and Label Studio's."""

# No `from __future__ import annotations` here: FastAPI reads annotations as types.
import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fastapi import FastAPI, HTTPException, Request, Response
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.requests import ClientDisconnect

from . import openapi, page
from .label_studio import LabelStudio
from .metrics import Measured, Metrics
from .middleware import BodyLimits, HeadAsGet
from .pool import Pool
from .protocol import echo, error_body
from .remote import Remote

if TYPE_CHECKING:
    from .follow import Follower

MAX_HELD = 8  # bodies of the largest size that may be in memory at a time


class ModelName(Convertor[str]):
    """A part of a route without a colon, so that GET of :predict is 405 and no model's name."""

    regex = "[^/:]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("model", ModelName())


@dataclasses.dataclass(frozen=True)
class Choices:
    """What the page and pre-labelling do unless a user chooses something else.

    Attributes:
        score_threshold: The page starts with it; Label Studio gets detections of scores above it.
        label_studio: The URL of Label Studio, for pictures that it keeps itself; "" if there are none.
        token: Label Studio's access token, for these pictures.
        image_hosts: Names of private hosts that Label Studio's tasks may take pictures from.
    """

    score_threshold: float = 0.5
    label_studio: str = ""
    token: str = ""
    image_hosts: tuple[str, ...] = ()


class Service:
    """A model, one version of it at a time.

    Attributes:
        pool: The processes that run the version.
        name: The model's name in the URL.
        version: The version in the URL.
        choices: Options of the page and of pre-labelling.
        follower: Takes up new versions; None stays with the first.
        retired: The processes of the version before, while they answer their last requests.
        refused: Newer versions that cannot be loaded, and are not served.
        waiting: Requests that are accepted and not answered.
    """

    def __init__(
        self, pool: Pool, name: str, version: str, choices: Choices = Choices(), follower: "Follower | None" = None
    ) -> None:
        self.pool, self.name, self.version, self.choices, self.follower = pool, name, version, choices, follower
        self.retired: Pool | None = None
        self.refused: tuple[str, ...] = ()
        self.waiting = self.held = 0

    def replace(self, pool: Pool, version: str) -> Pool:
        """Serve another version from now on, and return the processes of the one before."""
        self.retired, pool.counts = self.pool, self.pool.counts
        self.pool, self.version = pool, version
        return self.retired

    def refuse_rest(self) -> None:
        """Answer all requests that wait with 503."""
        for pool in (self.pool, self.retired):
            if pool is not None:
                pool.refuse_rest()

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

    def describe(self) -> dict[str, Any]:
        """Describe the model for the page."""
        description = self.pool.description
        return {
            "name": self.name,
            "version": self.version,
            "format": description.get("format", ""),
            "precision": description.get("precision", ""),
            "ready": self.pool.ready,
            "explains": description.get("explains", False),
            "classes": [{"id": c["id"], "name": c["name"]} for c in description.get("categories", [])],
            "score_threshold": self.choices.score_threshold,
            "max_body": self.pool.limits.body,
        }

    async def predict(self, request: Request, model: str, version: str | None = None) -> Response:
        self.check(model, version)
        async with self.accept(request) as (body, deadline):
            self.check(model, version)  # another version may be served by now
            served = {"Model-Version": quote(self.version)}  # for the page, which knows the classes of one version
            status, answer = await self.pool.predict(body, deadline)
        return Response(answer, status, {**headers_of(status), **served}, "application/json")

    @contextlib.asynccontextmanager
    async def accept(self, request: Request) -> AsyncIterator[tuple[bytes, float]]:
        """Count a request as waiting, and read its body.

        Yields:
            body: The request's body.
            deadline: When its answer is late, on the clock of `time.monotonic`.

        Raises:
            HTTPException: The model is not loaded, or the request is beyond a limit.
        """
        limits = self.pool.limits
        if not self.pool.ready:
            raise HTTPException(503, "the model is being loaded")
        if self.waiting >= limits.waiting:
            raise HTTPException(503, f"{limits.waiting} requests are waiting already")
        deadline = time.monotonic() + limits.seconds
        self.waiting += 1
        body = bytearray()
        try:
            try:
                async with asyncio.timeout(limits.seconds):
                    async for chunk in request.stream():
                        body += chunk
                        self.held += len(chunk)
                        if len(body) > limits.body:
                            raise HTTPException(413, f"expected a body of at most {limits.body} bytes")
                        if self.held > MAX_HELD * limits.body:
                            raise HTTPException(503, "too many large requests at a time")
            except ClientDisconnect as error:
                raise HTTPException(400, "the client has gone") from error  # nobody reads it
            except TimeoutError as error:
                raise HTTPException(408, f"expected the whole request within {limits.seconds:g} seconds") from error
            yield bytes(body), deadline
        finally:
            self.waiting -= 1
            self.held -= len(body)


class App(FastAPI):
    """The app of a service, whose OpenAPI document has the version that is served at the moment."""

    service: Service

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        if self.version != self.service.version:
            self.version, self.openapi_schema = self.service.version, None
        return super().openapi()


def headers_of(status: int) -> dict[str, str]:
    """Return the headers of an answer: a client that is refused for the load may try again."""
    return {"Retry-After": "1"} if status == 503 else {}


def make_app(service: Service) -> FastAPI:
    """Make the routes of a service; the app starts and ends its workers."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.pool.start()
        following = asyncio.create_task(service.follower.run(service)) if service.follower else None
        yield
        if following:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        await service.pool.stop()

    app = App(title="Detector", version=service.version, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.service = service

    def ready() -> dict[str, Any]:
        if not service.pool.ready:
            raise HTTPException(503, "the model is being loaded")
        return {"status": "ready", **({"refused": service.refused} if service.refused else {})}

    def live() -> dict[str, str]:
        return {"status": "live"}

    app.get("/health/live", summary="Whether the server runs", **openapi.LIVE)(live)
    for path in ("/health/ready", "/health"):
        app.get(path, summary="Whether requests are answered", **openapi.READY)(ready)
    for place in ("/v1/models/{model:model}", "/v1/models/{model:model}/versions/{version:model}"):
        app.get(place, summary="Status of the model", **openapi.STATUS)(service.status)
        app.get(f"{place}/metadata", summary="Signatures of the model", **openapi.METADATA)(service.metadata)
        app.post(f"{place}:predict", summary="Detect", **openapi.PREDICT)(service.predict)
    app.get("/", summary="A page to try the model", **openapi.PAGE)(page.answer)
    app.get("/model", summary="What the page knows of the model", **openapi.MODEL)(service.describe)
    choices, limits = service.choices, service.pool.limits
    hosts = frozenset(host.lower() for host in choices.image_hosts)
    remote = Remote(limits.body, limits.seconds / 3, hosts, choices.label_studio, choices.token)
    label_studio = LabelStudio(service, remote)
    app.post("/setup", summary="Connect Label Studio", **openapi.SETUP)(label_studio.setup)
    app.post("/predict", summary="Pre-label for Label Studio", **openapi.PRELABEL)(label_studio.predict)
    metrics = Metrics(service)
    app.get("/metrics", summary="Metrics for Prometheus", **openapi.METRICS)(metrics.answer)
    app.add_middleware(BodyLimits, max_bytes=limits.body)
    app.add_middleware(Measured, metrics=metrics)
    app.add_middleware(HeadAsGet)
    app.add_exception_handler(AnyHTTPException, refused)
    app.add_exception_handler(Exception, refused)
    return app


async def refused(request: Request, error: Exception) -> Response:
    """Write an error in TensorFlow Serving's format."""
    status = error.status_code if isinstance(error, AnyHTTPException) else 500
    message = error.detail if isinstance(error, AnyHTTPException) else "internal error"
    headers = {**headers_of(status), **(getattr(error, "headers", None) or {})}
    return Response(error_body(message), status, headers, "application/json")
