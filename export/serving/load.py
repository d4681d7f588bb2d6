"""Load-test a model server.

    python load.py pictures/*.jpg --url http://localhost:8501/v1/models/detector --clients 8 --requests 500

Works with TensorFlow Serving and with server.py. Needs only requests.
"""

from __future__ import annotations

import argparse
import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

if __package__:
    from .rest_client import request_body
else:  # run as a file
    from rest_client import request_body  # type: ignore[no-redef]


@dataclass(frozen=True)
class Request:
    """A body to send and the HTTP status that is expected."""

    body: bytes
    status: int = 200


@dataclass
class Load:
    """The result of a load test.

    Attributes:
        seconds: Duration of the test.
        latencies: Seconds of each good answer.
        statuses: Number of answers per HTTP status.
        lost: Number of requests with no answer or a wrong one.
        faults: Messages of the first few lost requests.
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    lost: int = 0
    faults: list[str] = field(default_factory=list)

    def percentile(self, percent: int) -> float:
        """Return a percentile of the latencies by nearest rank, in seconds; NaN if there are none."""
        ordered = sorted(self.latencies)
        return ordered[math.ceil(percent / 100 * len(ordered)) - 1] if ordered else math.nan

    def __str__(self) -> str:
        p50, p95, p99 = (self.percentile(percent) * 1e3 for percent in (50, 95, 99))
        statuses = ", ".join(f"{count} of {status}" for status, count in sorted(self.statuses.items()))
        rate = len(self.latencies) / self.seconds
        return f"{rate:.1f} answers/s; p50 {p50:.0f}, p95 {p95:.0f}, p99 {p99:.0f} ms; {statuses}; {self.lost} lost"


def run_load(
    url: str,
    bodies: Sequence[Request],
    clients: int,
    count: int,
    check: Callable[[int, Any], str | None] = lambda index, answer: None,
    timeout: float = 120.0,
) -> Load:
    """Send requests from several clients at once.

    Args:
        url: The model, http://HOST:PORT/v1/models/NAME.
        bodies: Requests to send in turn.
        clients: Number of threads, each with a separate connection.
        count: Number of requests.
        check: Takes the index of a body and the JSON of its answer; returns a message if the answer is wrong.
        timeout: Seconds to wait for an answer.

    Returns:
        The result.
    """
    load, lock, numbers = Load(), threading.Lock(), iter(range(count))

    def client() -> None:
        with requests.Session() as session:
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                index = number % len(bodies)
                started, status, fault = time.perf_counter(), None, None
                try:
                    answer = session.post(f"{url}:predict", data=bodies[index].body, timeout=timeout)
                    status = answer.status_code
                    if status != bodies[index].status:
                        fault = f"body {index}: {status}: {answer.text[:200]}"
                    elif status == 200:
                        fault = check(index, answer.json())
                except (requests.RequestException, ValueError) as error:
                    fault = f"body {index}: {error}"
                elapsed = time.perf_counter() - started
                with lock:
                    if status is not None:
                        load.statuses[status] += 1
                    if fault:
                        load.lost += 1
                        load.faults = [*load.faults, fault][:5]
                    elif status == 200:
                        load.latencies.append(elapsed)

    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        for future in [pool.submit(client) for _ in range(clients)]:
            future.result()
    load.seconds = time.perf_counter() - started
    return load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--url", default="http://localhost:8501/v1/models/detector")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=200)
    options = parser.parse_args()
    bodies = [Request(json.dumps(request_body([path.read_bytes()])).encode()) for path in options.images]
    load = run_load(options.url, bodies, options.clients, options.requests)
    print(load)
    for fault in load.faults:
        print(fault)


if __name__ == "__main__":
    main()
