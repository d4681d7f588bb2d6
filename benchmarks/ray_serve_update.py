"""Update a model that Ray Serve serves under load, then kill a replica, and count the requests that are lost.

    python benchmarks/ray_serve_update.py first.onnx second.onnx picture.jpg [--seconds 5] [--clients 4]

Two replicas of the first model answer `--clients` clients, each of which sends its next request when it has an answer.
Then the second model is deployed under the same name, and a replica is killed with SIGKILL. Each answer must be the
first or the second model's answer in this process, without Ray, to the last digit. The exit code is 1 if a request was
lost before the replica was killed, or got another answer at any time.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import requests
from ray import serve

from tfrcnn.batch.engine import running_ray
from tfrcnn.export.serving.protocol import Limits
from tfrcnn.export.serving.ray_serve import build
from tfrcnn.export.serving.worker import Model, load_backend

REPLICAS = 2
PATIENCE = 300  # seconds for a replica to start on a busy machine
REPLICA = b"ray::ServeReplica"  # the title of a replica's process
ROUTE = "v1/models/detector:predict"


class Load:
    """Clients that send requests until `stop`.

    Attributes:
        answers: of the current phase: the texts of good answers and the statuses of others, with their counts.
    """

    def __init__(self, url: str, body: str, clients: int) -> None:
        self.answers: Counter[str] = Counter()
        self._url, self._body = url, body
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        with requests.Session() as session:
            while not self._ended.is_set():
                try:
                    answer = session.post(f"{self._url}/{ROUTE}", data=self._body, timeout=60)
                    text = answer.text if answer.status_code == 200 else f"status {answer.status_code}"
                except requests.RequestException as error:
                    text = type(error).__name__
                self.answers[text] += 1

    def phase(self, name: str, wait: Callable[[], None], known: Sequence[str]) -> tuple[int, int]:
        """Wait, and print what the clients got meanwhile.

        Returns:
            lost: The number of requests without an answer of a known model.
            wrong: The number of those with status 200.
        """
        self.answers.clear()
        started = time.perf_counter()
        wait()
        seconds = time.perf_counter() - started
        answers = Counter(self.answers)
        counts = [answers.pop(text, 0) for text in known]
        models = ", ".join(f"{count} by model {i}" for i, count in enumerate(counts, 1))
        lost = ", ".join(f"{count} {text[:60]}" for text, count in answers.items()) or "none"
        print(f"{name}: {seconds:.1f} s, {sum(counts)} answers ({models}), lost: {lost}", flush=True)
        wrong = sum(count for text, count in answers.items() if text.startswith("{"))
        return sum(answers.values()), wrong

    def stop(self) -> None:
        """End the clients after their last answer."""
        self._ended.set()
        for thread in self._threads:
            thread.join()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs=2, help="exported files")
    parser.add_argument("picture", type=Path)
    parser.add_argument(
        "--seconds", type=float, default=5, metavar="S", help="of each phase of steady load; default: 5"
    )
    parser.add_argument("--clients", type=int, default=4, metavar="N", help="default: 4")
    options = parser.parse_args(arguments)
    row = {"b64": base64.b64encode(options.picture.read_bytes()).decode("ascii")}
    body = json.dumps({"signature_name": "encoded", "instances": [row]})
    known = [answer_of(Path(model), body) for model in options.models]
    if known[0] == known[1]:
        raise SystemExit("error: expected two models that detect differently in the picture, found equal answers")
    with running_ray(2 * REPLICAS + 1, 1):
        try:
            return measure(options, body, known)
        finally:
            serve.shutdown()


def measure(options: argparse.Namespace, body: str, known: Sequence[str]) -> int:
    """Deploy, update and kill under load, print each phase, and return the exit code; Ray must run."""
    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port})

    def deploy(version: int) -> None:
        serve.run(build({"model": options.models[version - 1], "version": version, "replicas": REPLICAS}), name="cells")

    deploy(1)
    load = Load(f"http://127.0.0.1:{port}", body, options.clients)
    try:
        phases = [
            load.phase("first model", lambda: time.sleep(options.seconds), known[:1]),
            load.phase("update", lambda: deploy(2), known),
            load.phase("second model", lambda: time.sleep(options.seconds), known),
        ]
        lost = sum(count for count, _ in phases)
        phases += [
            load.phase("a replica is killed", kill_replica, known),
            load.phase("after that", lambda: time.sleep(options.seconds), known),
        ]
    finally:
        load.stop()
    return int(lost > 0 or any(wrong for _, wrong in phases))


def answer_of(model: Path, body: str) -> str:
    """Return a model's answer to a request, without a server."""
    limits = Limits()
    answer, _ = Model(load_backend(model, limits.pixels, 1), limits).answer(body.encode(), time.monotonic() + 60)
    return answer.decode()


def kill_replica() -> None:
    """Kill a replica, and wait until another has taken its place."""
    before = replicas()
    os.kill(min(before), signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE
    while len(replicas() - {min(before)}) < REPLICAS:
        if time.monotonic() > deadline:
            raise SystemExit(f"error: no replica took the place of the one that was killed within {PATIENCE} s")
        time.sleep(0.05)


def replicas() -> set[int]:
    """Return the processes of replicas on this machine."""
    pids = set()
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdecimal() and (folder / "cmdline").read_bytes().startswith(REPLICA):
                pids.add(int(folder.name))
        except OSError:  # it has ended
            continue
    return pids


def free_port() -> int:
    """Return a port that no program listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


if __name__ == "__main__":
    raise SystemExit(main())
