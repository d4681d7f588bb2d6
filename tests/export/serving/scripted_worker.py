"""Workers without a model whose behaviour is a few lines of Python, folders of versions for them, and a client."""

import sys
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from tfrcnn.export.serving.protocol import ANSWER, REQUEST

with warnings.catch_warnings(action="ignore"):  # it wants a package of another name from some release on
    TestClient = pytest.importorskip("starlette.testclient", exc_type=RuntimeError).TestClient


def program(start: str, answer: str) -> str:
    """Return the program of a worker.

    Args:
        start: runs before the worker is ready. `sys.argv[1]` is the path of its model, if it has one.
        answer: runs per request, whose number is `number`. `send(number, status, value)` sends an answer or a report.
    """
    return f"""
import json, struct, sys, time
REQUEST = struct.Struct({REQUEST.format!r})
def send(number, status, value):
    body = json.dumps(value).encode()
    sys.stdout.buffer.write(struct.pack({ANSWER.format!r}, number, status, len(body)) + body)
    sys.stdout.buffer.flush()
{textwrap.dedent(start)}
send(0, 200, {{}})
while header := sys.stdin.buffer.read(REQUEST.size):
    number, deadline, length = REQUEST.unpack(header)
    sys.stdin.buffer.read(length)
{textwrap.indent(textwrap.dedent(answer), "    ")}
"""


def command_of(worker: str) -> Callable[[Path], list[str]]:
    """Return what a server calls for the command of a worker of a model."""
    return lambda model: [sys.executable, "-c", worker, str(model)]


def add(folder: Path, version: int, content: str = "") -> None:
    """Write a version whose model file has a content; without one, its number."""
    (folder / ".new").mkdir(parents=True)
    (folder / ".new" / "model.onnx").write_text(content or str(version))
    (folder / ".new").rename(folder / str(version))
