"""Run a SavedModel in a process for the server, which writes requests to its stdin and reads answers from its stdout.

    python worker.py MODEL LIMITS          LIMITS is the JSON of `protocol.Limits`

The first answer has the number 0: status 200 with the model's signatures once it is loaded, or 500 with the reason. The
process ends when stdin ends, so it never outlives the server, even if the server is killed.

Requests take turns at the model after every image, so a request of many images delays another by one image.
"""

from __future__ import annotations

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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from fastapi import HTTPException

if __package__:
    from .image_file import CostlyError, check_cost, png_orientation, turn_upright
    from .protocol import ANSWER, INPUTS, REQUEST, Limits, error_body, parse, read_json
else:  # run as a file
    sys.path.insert(0, str(Path(__file__).parent))  # `python -P` leaves it out
    from image_file import CostlyError, check_cost, png_orientation, turn_upright  # type: ignore[no-redef]
    from protocol import ANSWER, INPUTS, REQUEST, Limits, error_body, parse, read_json  # type: ignore[no-redef]

REQUESTS_PER_COLLECTION = 100  # of garbage in cycles, such as the tracebacks of errors
MAX_GPU_BATCH = 8  # images per turn on a GPU; a CPU gains nothing from a batch


class Model:
    """A SavedModel whose users take turns.

    Attributes:
        limits: Limits on a request.
        signatures: The signatures by name, as TensorFlow Serving's metadata has them.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        import tensorflow as tf  # takes seconds; the process must see meanwhile that its server ended

        self.limits, self.tf = limits, tf
        self.model = tf.saved_model.load(str(path))
        self.signatures = _signatures(path)
        self.batch = MAX_GPU_BATCH if tf.config.list_physical_devices("GPU") else 1
        self.turns = ThreadPoolExecutor(1)  # its queue is first in, first out
        # the first call of a graph takes a second: spare the first client
        image = np.zeros((1, 64, 64, 3), np.uint8)
        self._call("serving_default", image)
        self._call("encoded", [tf.io.encode_png(image[0]).numpy()])

    def answer(self, body: bytes, deadline: float) -> bytes:
        """Answer the body of a request.

        Args:
            body: JSON.
            deadline: When to give up, on the clock of `time.monotonic`.

        Returns:
            JSON.

        Raises:
            HTTPException: The request is refused, or its time is over.
        """
        signature, value, rows = parse(read_json(body), self.limits)
        if signature == "encoded":
            for position, file in enumerate(value):
                try:
                    check_cost(file, self.limits.pixels)
                except CostlyError as error:
                    raise HTTPException(413, f"encoded_images: {error}, at position [{position}]") from error
        slices = [
            self.turns.submit(self._turn, signature, value, start, deadline).result()
            for start in range(0, len(value), self.batch)
        ]
        columns = {name: np.concatenate([outputs[name] for outputs in slices]).tolist() for name in slices[0]}
        if rows:
            return json.dumps({"predictions": [dict(zip(columns, row)) for row in zip(*columns.values())]}).encode()
        return json.dumps({"outputs": columns}).encode()

    def _turn(self, signature: str, value: Any, start: int, deadline: float) -> dict[str, np.ndarray]:
        """Detect in the images from position `start` on, as many as one turn takes."""
        if time.monotonic() > deadline:
            raise HTTPException(504, f"no answer within {self.limits.seconds:g} seconds")
        part = value[start : start + self.batch]
        if signature == "encoded":
            part = [self._upright(file) for file in part]
        try:
            return self._call(signature, part)
        except self.tf.errors.InvalidArgumentError as error:
            failed = re.search(r"assertion failed: (.*)", error.message)
            # Other messages have names of the graph, which are of no use to a client.
            reason = failed[1] if failed else f"{INPUTS[signature]}: cannot detect in the images from position [0]"
            reason = re.sub(r"\[(\d+)\]$", lambda position: f"[{int(position[1]) + start}]", reason)
            raise HTTPException(400, reason) from error
        except (MemoryError, self.tf.errors.ResourceExhaustedError) as error:
            raise HTTPException(503, "not enough memory for this request") from error

    def _call(self, signature: str, value: Any) -> dict[str, np.ndarray]:
        outputs = self.model.signatures[signature](**{INPUTS[signature]: self.tf.constant(value)})
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    def _upright(self, data: bytes) -> bytes:
        """Turn a PNG with an EXIF orientation, which the graph reads in JPEG files only."""
        orientation = png_orientation(data)
        if orientation == 1:
            return data
        try:
            pixels = self.tf.io.decode_png(data, channels=3).numpy()
        except self.tf.errors.InvalidArgumentError:
            return data  # the graph refuses it, with its position
        png: bytes = self.tf.io.encode_png(turn_upright(pixels, orientation), compression=0).numpy()
        return png


def _signatures(path: Path) -> dict[str, Any]:
    from google.protobuf.json_format import MessageToDict
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    signatures = model.meta_graphs[0].signature_def
    return {name: MessageToDict(signatures[name], preserving_proto_field_name=True) for name in signatures}


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
        status, answer = 200, model.answer(body, deadline)
    except HTTPException as error:
        status, answer = error.status_code, error_body(error.detail)
    except Exception:  # a fault of this program: the reason is for the log
        traceback.print_exc()
        status, answer = 500, error_body("internal error")
    answers.send(number, status, answer)


def main() -> None:
    # The server ends its workers. A service manager sends these signals to every process of a service.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    path, limits = Path(sys.argv[1]), Limits(**json.loads(sys.argv[2]))
    answers = Answers(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)  # what a library prints must not be among the answers
    requests: queue.SimpleQueue[tuple[int, float, bytes]] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(sys.stdin.buffer, requests), daemon=True).start()
    try:
        model = Model(path, limits)
    except Exception as error:  # protobuf, TensorFlow and the file system raise several kinds
        answers.send(0, 500, error_body(f"{path}: the SavedModel cannot be loaded: {str(error).splitlines()[0]}"))
        sys.exit(1)
    answers.send(0, 200, json.dumps(model.signatures).encode())
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
