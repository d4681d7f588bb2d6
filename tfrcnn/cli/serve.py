"""`tfrcnn serve`: detect over HTTP, with a page to try it."""

from __future__ import annotations

import importlib.util
import math
import os
from pathlib import Path
from typing import Annotated

import typer

from tfrcnn.errors import InputError

NEEDED = ("fastapi", "uvicorn")


def serve(
    model: Annotated[
        Path,
        typer.Option(
            metavar="MODEL",
            help="A file that tfrcnn export wrote, a run folder, a folder of versions, or the address of one.",
        ),
    ],
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to listen at. 0.0.0.0 is every address of this machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="Port to listen at; 0: a free one.")] = 8501,
    workers: Annotated[
        int, typer.Option(metavar="N", min=1, help="Number of processes, each with a copy of the model.")
    ] = 1,
    threads: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Threads of each process's runtime. Default: the runtime's choice."),
    ] = None,
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the model in the URL.")] = "detector",
    follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            help="Take up the newest version of the folder MODEL while requests go on, also after a rollback. Two "
            "versions are in memory for a while.",
        ),
    ] = False,
    score_threshold: Annotated[
        float,
        typer.Option(metavar="X", min=0, max=1, help="Where the page starts, and the lowest score of a pre-label."),
    ] = 0.5,
    label_studio: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="Label Studio's address, for pictures that it keeps itself; its token is read from the environment "
            "variable LABEL_STUDIO_API_KEY.",
        ),
    ] = "",
    image_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A private host that Label Studio's tasks may take pictures from."),
    ] = None,
    grace: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="Time for requests in flight after SIGTERM.")
    ] = 8.0,
    max_body: Annotated[int, typer.Option(metavar="BYTES", min=1, help="Bytes of a request's body.")] = 32 * 2**20,
    max_images: Annotated[int, typer.Option(metavar="N", min=1, help="Images per request.")] = 64,
    max_pixels: Annotated[int, typer.Option(metavar="N", min=1, help="Pixels of one image.")] = 50_000_000,
    max_seconds: Annotated[float, typer.Option(metavar="S", min=0.1, help="Time for one request.")] = 60.0,
    max_waiting: Annotated[int, typer.Option(metavar="N", min=1, help="Requests that wait for an answer.")] = 128,
) -> None:
    """Serve a detector over HTTP, until Ctrl-C or SIGTERM.

    \b
    GET  /                           a page to try it: drop pictures, see boxes
    POST /v1/models/detector:predict TensorFlow Serving's REST protocol
    GET  /health/live, /health/ready for probes
    GET  /metrics                    for Prometheus
    POST /setup, /predict            Label Studio's ML-backend protocol, for pre-labels
    GET  /openapi.json               all routes

    \b
    Example:
      tfrcnn export --model runs/cells --format onnx --out cells.onnx
      tfrcnn serve --model cells.onnx
      tfrcnn serve --model models/cells --follow
    """
    missing = [package for package in NEEDED if importlib.util.find_spec(package) is None]
    if missing:
        raise InputError(f"the server needs {' and '.join(missing)}: pip install {' '.join(missing)}")
    from tfrcnn.export.serving.app import Choices
    from tfrcnn.export.serving.follow import Follower
    from tfrcnn.export.serving.pool import Pool, worker_command
    from tfrcnn.export.serving.protocol import Limits
    from tfrcnn.export.serving.server import StartError, run
    from tfrcnn.export.serving.versions import version_of
    from tfrcnn.files import address_in

    for option, value in (("--grace", grace), ("--max-seconds", max_seconds)):
        if not math.isfinite(value):
            raise InputError(f"{option}: expected a number, found {value}")
    if not name or "/" in name or ":" in name:
        raise InputError(f"--name: expected a name without / and :, found {name!r}")
    if label_studio and not label_studio.startswith(("http://", "https://")):
        raise InputError(f"--label-studio: expected a URL, for example http://localhost:8080, found {label_studio!r}")
    token = read_token() if label_studio else ""
    choices = Choices(score_threshold, label_studio, token, tuple(image_host or ()))
    path, folder = check_model(model, follow)
    if follow and folder is None:
        expected = "a folder of versions on this machine as --model"
        raise InputError(f"--follow: expected {expected}, found {address_in(model) or model}")
    limits = Limits(max_body, max_images, max_pixels, max_seconds, max_waiting)
    pool = Pool(worker_command(path, limits, threads), workers, limits)
    follower = Follower(folder, lambda path: worker_command(path, limits, threads)) if follow and folder else None
    try:
        failed = run(pool, name, version_of(path), host, port, grace, choices, follower)
    except StartError as error:
        raise InputError(f"{error}: choose another with --host and --port") from error
    if failed:
        raise typer.Exit(2)


def read_token() -> str:
    """Read Label Studio's token; secrets that are files often end with a line break.

    Raises:
        InputError: It has characters that no token has. The message does not repeat it.
    """
    token = os.environ.get("LABEL_STUDIO_API_KEY", "").strip()
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise InputError("LABEL_STUDIO_API_KEY: expected a token in ASCII without spaces, found other characters")
    return token


def check_model(model: Path, follow: bool = False) -> tuple[Path, Path | None]:
    """Return the model to serve, and the folder of versions that it is the newest of, if it is one.

    Args:
        model: The option --model.
        follow: The option --follow: a version that is no detector is left out.

    Raises:
        InputError: It is no detector, or it needs TensorFlow, which is not installed.
    """
    from tfrcnn.buckets.models import local_model, newest_version
    from tfrcnn.export.runtimes import is_detector, needs_tensorflow
    from tfrcnn.export.serving.versions import models_in
    from tfrcnn.files import address_in
    from tfrcnn.installed import check_tensorflow

    versions: list[Path] = []
    if (address := address_in(model)) is not None:
        path = local_model(newest_version(address) or address)
    else:
        versions = list(models_in(model))
        candidates = [*filter(is_detector, versions)] if follow else []
        path = next(iter(candidates or versions), model)
    if needs_tensorflow(path):
        check_tensorflow(f"{path}: it")
    return path.resolve(), model.resolve() if versions else None
