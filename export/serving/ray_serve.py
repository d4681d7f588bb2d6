"""A deployment of Ray Serve: the routes and answers of `tfrcnn serve`, in replicas on one machine or a cluster.

    serve run tfrcnn.export.serving.ray_serve:build model=/models/cells/1.onnx version=1 replicas=2

    from ray import serve
    from tfrcnn.export.serving.ray_serve import build

    serve.run(build({"model": "/models/cells/1.onnx", "version": "1", "replicas": 2}), name="cells")

Each replica holds the model in its own process, where `tfrcnn serve` has worker processes behind one server. Ray Serve
sends requests to replicas, replaces one that dies, and scales their number. To update, deploy again with another
`model`: a replica is replaced when its successor has loaded it, and it answers its requests before it ends.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from numbers import Integral
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException

from ...errors import InputError, reason_of
from .app import Service, make_app
from .pool import Answer, Counts
from .protocol import Limits, error_body
from .versions import models_in, version_of
from .worker import Model, load_backend

MAX_ONGOING = 4  # requests in a replica: one detects, others are read; a replica that dies loses them


@dataclass(frozen=True)
class Options:
    """How a model is deployed.

    Attributes:
        model: A file that tfrcnn exported, a SavedModel, a run folder, or a folder of versions, whose newest one that
            loads is served; readable on each machine.
        name: The model's name in the URL, and the deployment's.
        version: In the URL; "" takes the name of the model's folder if it is a number, else 1. It chooses one of a
            folder of versions.
        replicas: Their number.
        threads: Number of threads of each replica's runtime, and of Ray's processors for it.
    """

    model: str
    name: str = "detector"
    version: str = ""
    replicas: int = 1
    threads: int = 1


class LocalPool:
    """A model in this process, in place of the worker processes of `pool.Pool`.

    Attributes:
        limits: Limits on requests.
        ready: True while requests are answered.
        workers: This process alone.
        signatures: The model's signatures.
        description: The description that tfrcnn wrote into the model; empty if there is none.
        count: Number of processes.
        counts: The work of this process; Ray Serve counts the replicas that end.
    """

    ready, count = True, 1

    def __init__(self, path: Path, limits: Limits, threads: int) -> None:
        """Load a model.

        Args:
            path: The model.
            limits: Limits on requests.
            threads: Threads of its runtime.
        """
        backend = load_backend(path, limits.pixels, threads)
        self.limits, self.workers = limits, [self]
        self.signatures, self.description = backend.signatures, backend.description
        self.counts = Counts()
        self._model = Model(backend, limits)
        self._threads = ThreadPoolExecutor(limits.waiting)

    def start(self) -> None:
        """Do nothing: the model is loaded."""

    async def stop(self) -> None:
        """End the threads, which have no request when Ray Serve ends a replica."""
        self._threads.shutdown(wait=False)

    async def predict(self, body: bytes, deadline: float) -> Answer:
        """Answer a request, see `Pool.predict`."""
        try:
            answer, counts = await asyncio.get_running_loop().run_in_executor(
                self._threads, self._model.answer, body, deadline
            )
        except HTTPException as error:
            return error.status_code, error_body(error.detail)
        except Exception:  # a fault of this program: the reason is for the log
            traceback.print_exc()
            return 500, error_body("internal error")
        self.counts.add(counts, self.description)
        return 200, answer


class Replica:
    """Gives the class of the replicas its name; Ray Serve adds the routes."""


def build(arguments: Mapping[str, Any]) -> Any:
    """Make an application of Ray Serve.

    Args:
        arguments: The fields of `Options`; numbers may be texts, as `serve run` passes them.

    Returns:
        A `ray.serve.Application`.

    Raises:
        InputError: A field is unknown or has another type, or there is no model.

    Example:
        serve.run(build({"model": "cells.onnx", "replicas": 2}), name="cells")
    """
    serve: Any = importlib.import_module("ray.serve")  # untyped in parts
    options = read_options(arguments)
    models = find_models(options)  # of this moment: a replica that starts later serves the same version

    def make() -> FastAPI:
        return make_replica(options, models)

    deploy = serve.deployment(
        name=options.name,
        num_replicas=options.replicas,
        max_ongoing_requests=MAX_ONGOING,
        ray_actor_options={"num_cpus": options.threads},
    )
    return deploy(serve.ingress(make)(Replica)).bind()


def find_models(options: Options) -> list[Path]:
    """Return the models to try, one after the other."""
    path = Path(options.model)
    return [path] if options.version else list(models_in(path)) or [path]


def make_replica(options: Options, models: Sequence[Path] | None = None) -> FastAPI:
    """Load a model, and make the routes of a replica.

    Args:
        options: How it is deployed.
        models: The first of them that loads is served; None takes those of `options`.
    """
    first, *older = models or find_models(options)
    refused: list[str] = []
    while True:
        try:
            pool: Any = LocalPool(first, Limits(), options.threads)
            break
        except Exception as error:  # runtimes and the file system raise several kinds
            if not older:
                raise
            refused.append(version_of(first))
            first, *older = older
            back = f"going back to version {version_of(first)}: {reason_of(error)}"
            print(f"error: version {refused[-1]} cannot be loaded; {back}", file=sys.stderr)
    service = Service(pool, options.name, options.version or version_of(first))
    service.refused = tuple(refused)
    return make_app(service)


def read_options(arguments: Mapping[str, Any]) -> Options:
    """Read the arguments of `build`.

    Raises:
        InputError: See `build`.
    """
    from ..runtimes import format_of

    kinds: dict[str, Callable[[Any], Any]] = {f.name: int if f.type == "int" else str for f in fields(Options)}
    values: dict[str, Any] = {}
    for name, value in arguments.items():
        if name not in kinds:
            raise InputError(f"{name}: expected one of {', '.join(kinds)}")
        try:
            if isinstance(value, bool) or not isinstance(value, str | Integral | Path):  # int() would cut 2.7
                raise TypeError(value)
            values[name] = kinds[name](str(value))
        except (ValueError, TypeError) as error:
            expected = "a whole number" if kinds[name] is int else "a text"
            raise InputError(f"{name}: expected {expected}, found {value!r}") from error
        if kinds[name] is int and values[name] < 1:
            raise InputError(f"{name}: expected at least 1, found {value!r}")
    if not (called := values.get("name", Options.name)) or "/" in called or ":" in called:
        raise InputError(f"name: expected a name without / and :, found {called!r}")
    if "model" not in values:
        raise InputError("model: expected the path of an exported file, found none")
    path, version = Path(values["model"]).absolute(), values.get("version", "")
    models = {version_of(model): model for model in models_in(path)}
    if not models:
        format_of(path)
        version = version or version_of(path)
    elif version:
        if version not in models:
            raise InputError(f"version: expected one of {', '.join(models)} in {path}, found {version!r}")
        path = models[version]
    return Options(**{**values, "model": str(path), "version": version})
