"""Load the server with good and bad requests, then stop it amid a load, and count what is lost or wrong.

    nice python benchmarks/robustness/server_load.py [--requests 5000] [--clients 16] [--model MODEL] [--out FILE.json]

Every good answer is compared with the SavedModel's own; one request in ten is bad and has an expected status. In the
second part the server gets SIGTERM when half the requests are sent. Each request is then answered rightly, or its
connection was refused; any other end is lost. The memory is of the server and its worker. Exit status 1: something is
lost or wrong, the memory grew by more than a tenth, or a process is left.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import requests
from PIL import Image

from tfrcnn.config import Category, DetectionConfig
from tfrcnn.export.saved_model import to_saved_model
from tfrcnn.export.saved_model.runtime import SavedModelRuntime
from tfrcnn.export.serving import server
from tfrcnn.models import build_detector, preset

TOLERANCE = 1e-4
MAX_GROWTH = 0.1  # of the memory
PATH = "/v1/models/detector:predict"


@dataclass(frozen=True)
class Body:
    """A request, its expected status, and the expected scores of its image."""

    data: bytes
    status: int = 200
    scores: np.ndarray | None = None


@dataclass
class Outcome:
    """What became of the requests of a load."""

    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    refused: int = 0
    faults: list[str] = field(default_factory=list)


class Running:
    """A server on a free port."""

    def __init__(self, model: Path) -> None:
        script = Path(server.__file__)
        command = [sys.executable, "-P", str(script), str(model), "--port", "0"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        self.url = f"http://{self.process.stderr.readline().split()[-1]}"
        # A pipe that nobody reads fills up.
        threading.Thread(target=self.process.stderr.read, daemon=True).start()
        while requests.get(f"{self.url}/health/ready", timeout=10).status_code != 200:
            time.sleep(0.2)
        self.pids = [self.process.pid, *children(self.process.pid)]

    def memory(self) -> float:
        """Resident MiB of the server and its worker."""
        pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids]
        return sum(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def make_model(folder: Path) -> Path:
    detector = build_detector(
        preset("tiny_fpn", (Category(3, "cat"), Category(90, "dog"))).detector.replace(
            detections=DetectionConfig(score_threshold=0.0, max_detections=10)
        )
    )
    return to_saved_model(detector, folder / "detector/1")


def png(height: int, width: int) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def encoded(*files: bytes) -> bytes:
    instances = [{"b64": base64.b64encode(data).decode()} for data in files]
    return json.dumps({"signature_name": "encoded", "instances": instances}).encode()


def make_bodies(model: Path) -> list[Body]:
    """Return 90 good bodies of 9 sizes, and 10 bad ones among them."""
    runtime, good = SavedModelRuntime(model), []
    for i in range(9):
        file = png(60 + 24 * i, 260 - 16 * i)
        good.append(Body(encoded(file), scores=runtime.run_encoded([file])["detection_scores"][0]))
    large = bytearray(png(30, 40))
    large[16:24] = (20_000).to_bytes(4, "big") * 2
    bad = [
        Body(b"{", 400),
        Body(b"[]", 400),
        Body(b'{"signature_name": ["encoded"]}', 400),
        Body('{"signature_name": "encoded", "instances": [{"b64": "é"}]}'.encode(), 400),
        Body(encoded(b"no image"), 400),
        Body(encoded(png(30, 40)[:200]), 400),
        Body(b'{"instances": [[[[1, 2, NaN]]]]}', 400),
        Body(encoded(*[png(8, 8)] * 65), 413),
        Body(encoded(bytes(large)), 413),
        Body(b'{"inputs": [[[[1, 2, 300]]]]}', 400),
    ]
    return [body for one in bad for body in (*good, one)]


def send(url: str, bodies: list[Body], clients: int, count: int, at_half: Any = None) -> Outcome:
    """Send requests from several clients; call `at_half` when half of them are sent."""
    outcome, lock, numbers = Outcome(), threading.Lock(), iter(range(count))

    def client() -> None:
        with requests.Session() as session:
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                if number == count // 2 and at_half:
                    at_half()
                body, started = bodies[number % len(bodies)], time.perf_counter()
                try:
                    answer = session.post(url + PATH, data=body.data, timeout=120)
                except requests.ConnectionError as error:
                    with lock:
                        if "refused" in str(error):
                            outcome.refused += 1
                        else:
                            outcome.faults.append(f"lost: {error}")
                    continue
                fault = wrong(body, answer)
                with lock:
                    outcome.statuses[answer.status_code] += 1
                    outcome.latencies.append(time.perf_counter() - started)
                    if fault:
                        outcome.faults.append(fault)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcome


def wrong(body: Body, answer: requests.Response) -> str | None:
    """Describe what is wrong with an answer."""
    if answer.status_code != body.status:
        return f"{answer.status_code} for {body.status}: {answer.text[:200]}"
    if body.scores is None:
        return None if list(answer.json()) == ["error"] else f"no error: {answer.text[:200]}"
    difference = np.abs(answer.json()["predictions"][0]["detection_scores"] - body.scores).max()
    return None if difference < TOLERANCE else f"scores differ by {difference}"


def report(outcome: Outcome) -> dict[str, Any]:
    centiles = [round(1000 * value) for value in statistics.quantiles(outcome.latencies, n=100)]
    return {
        "statuses": dict(sorted(outcome.statuses.items())),
        "refused connections": outcome.refused,
        "p50, p95, p99 ms": [centiles[49], centiles[94], centiles[98]],
        "lost or wrong": len(outcome.faults),
        "faults": outcome.faults[:5],
    }


def steady(model: Path, bodies: list[Body], clients: int, count: int) -> dict[str, Any]:
    """Send all requests to one server, and look at its memory."""
    running = Running(model)
    # Every size once: TensorFlow keeps plans of each.
    send(running.url, bodies, clients, 4 * len(bodies))
    before, started = running.memory(), time.perf_counter()
    outcome = send(running.url, bodies, clients, count)
    seconds, after = time.perf_counter() - started, running.memory()
    running.process.send_signal(signal.SIGTERM)
    status = running.process.wait(30)
    return {
        **report(outcome),
        "seconds": round(seconds, 1),
        "MiB before, after": [round(before), round(after)],
        "growth": round(after / before - 1, 3),
        "exit status": status,
    }


def stopped(model: Path, bodies: list[Body], clients: int, count: int) -> dict[str, Any]:
    """Stop a server amid a load by SIGTERM to it alone."""
    running = Running(model)
    outcome = send(running.url, bodies, clients, count, lambda: os.kill(running.process.pid, signal.SIGTERM))
    status = running.process.wait(30)
    left = [pid for pid in running.pids[1:] if Path(f"/proc/{pid}/statm").exists()]
    return {**report(outcome), "exit status": status, "processes left": len(left)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--model", type=Path, help="default: a new tiny_fpn")
    parser.add_argument("--out", type=Path, help="write the result as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or make_model(Path(folder))
        bodies = make_bodies(model)
        load = steady(model, bodies, options.clients, options.requests)
        print(json.dumps({"load": load}, indent=2), flush=True)
        stop = stopped(model, bodies, options.clients, options.requests // 5)
        print(json.dumps({"stop": stop}, indent=2))
    if options.out:
        options.out.write_text(json.dumps({"load": load, "stop": stop}, indent=2) + "\n", encoding="utf-8")
    lost = load["lost or wrong"] + stop["lost or wrong"] + stop["processes left"]
    sys.exit(1 if lost or load["growth"] > MAX_GROWTH or load["exit status"] or stop["exit status"] else 0)


if __name__ == "__main__":
    main()
