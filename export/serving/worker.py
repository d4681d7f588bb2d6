"""Run a model in a process for the server, which writes requests to its stdin and reads answers from its stdout.

    python worker.py MODEL LIMITS [THREADS]        LIMITS is the JSON of `protocol.Limits`

Answers of number 0 are about the worker: `DESCRIBED` with the model's description, 200 with its signatures once it is
loaded, or 500 with the reason why it cannot be; later `COUNTED` with what each answer holds. The process ends when
stdin ends, so it never outlives the server, even if the server is killed.

Requests take turns at the model after every image, so a request of many images delays another by one image.
"""

from __future__ import annotations

import base64
import gc
import itertools
import json
import os
import queue
import re
import signal
import sys
import threading
import time
import traceback
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from fastapi import HTTPException

if not __package__:  # run as a file, without tfrcnn: the folder is a package of its own
    __package__ = "serving"
    sys.modules[__package__] = types.ModuleType(__package__)
    sys.modules[__package__].__path__ = [str(Path(__file__).parent)]

from .backends import Backend, RefusedError, load
from .image_file import CostlyError, check_cost
from .protocol import (
    ANSWER,
    COUNTED,
    DESCRIBED,
    EXPLAIN,
    REQUEST,
    Limits,
    error_body,
    parse,
    parse_choice,
    read_json,
)

REQUESTS_PER_COLLECTION = 100  # of garbage in cycles, such as the tracebacks of errors
# A PNG of 8 x 8 pixels
_BLACK = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAADElEQVR4nGNgGB4AAADIAAGtQHYiAAAAAElFTkSuQmCC"


class Model:
    """A model whose users take turns.

    Attributes:
        limits: Limits on a request.
        backend: The model, loaded.
    """

    def __init__(self, backend: Backend, limits: Limits) -> None:
        self.backend, self.limits = backend, limits
        self.turns = ThreadPoolExecutor(1)  # its queue is first in, first out
        # The first call of a graph takes a second: spare the first client.
        backend.run("serving_default", np.zeros((1, 64, 64, 3), np.uint8))
        backend.run("encoded", [base64.b64decode(_BLACK)])

    def answer(self, body: bytes, deadline: float) -> tuple[bytes, dict[str, Any]]:
        """Answer the body of a request.

        Args:
            body: JSON.
            deadline: When to give up, on the clock of `time.monotonic`.

        Returns:
            answer: JSON.
            counts: "images", and "detections" by category id.

        Raises:
            HTTPException: The request is refused, or its time is over.
        """
        content = read_json(body)
        signature, value, rows = parse(content, self.limits)
        if signature != "serving_default":
            for position, file in enumerate(value):
                try:
                    check_cost(file, self.limits.pixels)
                except CostlyError as error:
                    raise HTTPException(413, f"encoded_images: {error}, at position [{position}]") from error
        if signature == EXPLAIN:
            return self._explain(content, value, deadline), {"images": 1, "detections": {}}
        slices = [
            self.turns.submit(self._turn, signature, value, start, deadline).result()
            for start in range(0, len(value), self.backend.batch)
        ]
        outputs = {name: np.concatenate([part[name] for part in slices]) for name in slices[0]}
        counts = {"images": len(value), "detections": _count(outputs)}
        columns = {name: array.tolist() for name, array in outputs.items()}
        if rows:
            predictions = [dict(zip(columns, row)) for row in zip(*columns.values())]
            return json.dumps({"predictions": predictions}).encode(), counts
        return json.dumps({"outputs": columns}).encode(), counts

    def _explain(self, content: dict[str, Any], files: list[bytes], deadline: float) -> bytes:
        """Answer a request of the signature "explain"."""
        explain = getattr(self.backend, EXPLAIN, None)
        if explain is None:
            raise HTTPException(
                400, "signature_name: this model has no gradients to explain a detection by; serve its run folder"
            )
        choice = parse_choice(content, len(files))
        prediction = self.turns.submit(self._in_turn, deadline, 0, explain, files[0], *choice).result()
        return json.dumps({"predictions": [prediction]}).encode()

    def _turn(self, signature: str, value: Any, start: int, deadline: float) -> dict[str, np.ndarray]:
        """Detect in the images from position `start` on, as many as one turn takes."""
        images = value[start : start + self.backend.batch]
        outputs: dict[str, np.ndarray] = self._in_turn(deadline, start, self.backend.run, signature, images)
        return outputs

    def _in_turn(self, deadline: float, start: int, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call the model for images from position `start` on, and turn its errors into answers."""
        if time.monotonic() > deadline:
            raise HTTPException(504, f"no answer within {self.limits.seconds:g} seconds")
        try:
            return function(*arguments)
        except RefusedError as error:
            reason = re.sub(r"\[(\d+)\]$", lambda position: f"[{int(position[1]) + start}]", str(error))
            raise HTTPException(400, reason) from error
        except CostlyError as error:
            raise HTTPException(413, f"encoded_images: {error}, at position [{start}]") from error
        except MemoryError as error:
            raise HTTPException(503, "not enough memory for this request") from error


def _count(outputs: dict[str, np.ndarray]) -> dict[str, int]:
    """Count the detections of each category id."""
    classes, numbers = outputs.get("detection_classes"), outputs.get("num_detections")
    if classes is None or numbers is None:  # a SavedModel of another program
        return {}
    present = classes[np.arange(classes.shape[1]) < numbers[:, None]]
    ids, counts = np.unique(present, return_counts=True)
    return {f"{int(number)}": int(count) for number, count in zip(ids, counts)}


def _receive(stream: BinaryIO, requests: queue.SimpleQueue[tuple[int, float, bytes]]) -> None:
    """Queue every request; end the process with the stream."""
    while len(header := stream.read(REQUEST.size)) == REQUEST.size:
        number, deadline, length = REQUEST.unpack(header)
        requests.put((number, deadline, stream.read(length)))
    os._exit(0)  # no thread has an answer that anyone waits for


class Answers:
    """The stream of answers, for several threads."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.lock = stream, threading.Lock()

    def send(self, number: int, status: int, body: bytes) -> None:
        with self.lock:
            self.stream.write(ANSWER.pack(number, status, len(body)) + body)
            self.stream.flush()


def _serve(model: Model, answers: Answers, number: int, deadline: float, body: bytes) -> None:
    try:
        answer, counts = model.answer(body, deadline)
        answers.send(0, COUNTED, json.dumps(counts).encode())
        status = 200
    except HTTPException as error:
        status, answer = error.status_code, error_body(error.detail)
    except Exception:  # a fault of this program: the reason is for the log
        traceback.print_exc()
        status, answer = 500, error_body("internal error")
    answers.send(number, status, answer)


def load_backend(path: Path, max_pixels: int, threads: int | None) -> Backend:
    """Load a model; see `backends.load`. A run folder is one too."""
    if (path / "config.json").is_file() and not (path / "saved_model.pb").is_file():
        from .run_folder import RunBackend  # here, because it needs tfrcnn

        return RunBackend(path, max_pixels, threads)
    return load(path, max_pixels, threads)


def main() -> None:
    # The server ends its workers. A service manager sends these signals to every process of a service.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    path, limits = Path(sys.argv[1]), Limits(**json.loads(sys.argv[2]))
    count_of_threads = int(sys.argv[3]) if len(sys.argv) > 3 else None
    answers = Answers(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)  # what a library prints must not be among the answers
    requests: queue.SimpleQueue[tuple[int, float, bytes]] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(sys.stdin.buffer, requests), daemon=True).start()
    try:
        backend = load_backend(path, limits.pixels, count_of_threads)
        model = Model(backend, limits)
    except Exception as error:  # runtimes and the file system raise several kinds
        reason = (str(error) or type(error).__name__).splitlines()[0]
        answers.send(0, 500, error_body(reason if str(path) in reason else f"{path}: cannot be loaded: {reason}"))
        sys.exit(1)
    answers.send(0, DESCRIBED, json.dumps(backend.description).encode())
    answers.send(0, 200, json.dumps(backend.signatures).encode())
    # Python would look for cycles again and again while the millions of lists of one request are read.
    gc.freeze()
    gc.disable()
    with ThreadPoolExecutor(limits.waiting) as threads:
        for count in itertools.count(1):
            threads.submit(_serve, model, answers, *requests.get())
            if count % REQUESTS_PER_COLLECTION == 0:
                gc.collect()


if __name__ == "__main__":
    main()
