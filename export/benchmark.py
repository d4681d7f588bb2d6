"""Latency of artefacts side by side: each in a process of its own, taking turns.

A process holds one artefact, so that load time and peak memory are its own; turns, so that a machine that slows down
slows all alike.
"""

from __future__ import annotations

import csv
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import atomic
from .runtimes import form_of, load

WARM_UP = 2
ANSWER = "ANSWER "


@dataclass(frozen=True)
class Latency:
    """One artefact: milliseconds an image (median, 95th percentile) and to load, megabytes on disk and in memory."""

    model: str
    form: str
    threads: int
    median_ms: float
    p95_ms: float
    load_ms: float
    size_mb: float
    peak_mb: float


class Process:
    """A process that runs one artefact on one thread count."""

    def __init__(self, path: Path, threads: int) -> None:
        self.path, self.threads, self.form = path, threads, form_of(path)
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": str(threads)}
        code = f"from tfrcnn.export.benchmark import serve; serve({str(path)!r}, {threads})"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self.load_ms = float(self._answer()["load_ms"])

    def run(self, picture: Path) -> float:
        """Milliseconds of one detection in an .npy picture."""
        return float(self._ask(str(picture))["ms"])

    def close(self) -> float:
        """Peak resident megabytes."""
        peak = float(self._ask("")["peak_mb"])
        self.process.wait()
        return peak

    def _ask(self, line: str) -> dict[str, Any]:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith(ANSWER):
                return json.loads(line.removeprefix(ANSWER))
        raise InputError(f"{self.path}: its process ended with {self.process.wait()}; tfrcnn predict shows why")


def serve(path: str, threads: int) -> None:
    """The process's side: a line with a picture's path, a line with its time; an empty line ends."""
    if form_of(Path(path)) in ("keras", "saved_model"):
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
    started = time.perf_counter()
    predictor = load(path, threads)
    _say({"load_ms": 1000 * (time.perf_counter() - started)})
    for line in sys.stdin:
        if not line.strip():
            break
        picture = np.load(line.strip())
        started = time.perf_counter()
        predictor.detect(picture)
        _say({"ms": 1000 * (time.perf_counter() - started)})
    _say({"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024})


def _say(answer: dict[str, Any]) -> None:
    print(ANSWER + json.dumps(answer), flush=True)


def benchmark(
    paths: list[Path], pictures: list[Path], threads: tuple[int, ...] = (1, 2), rounds: int = 10
) -> list[Latency]:
    """Run every artefact on every picture, in turns.

    Args:
        paths: artefacts and run folders.
        pictures: .npy files [H, W, 3] uint8.
        threads: thread counts; each artefact is run with each.

    Raises:
        InputError: a path that is no artefact, or an artefact that does not run.
    """
    processes = [Process(path, count) for path in paths for count in threads]
    for process in processes:
        for _ in range(WARM_UP):
            process.run(pictures[0])
    times: list[list[float]] = [[] for _ in processes]
    for _ in range(rounds):
        for picture in pictures:
            for process, own in zip(processes, times):
                own.append(process.run(picture))
    return [
        Latency(
            model=str(process.path),
            form=process.form,
            threads=process.threads,
            median_ms=float(np.median(own)),
            p95_ms=float(np.percentile(own, 95)),
            load_ms=process.load_ms,
            size_mb=_size_mb(process.path),
            peak_mb=process.close(),
        )
        for process, own in zip(processes, times)
    ]


def render(results: list[Latency]) -> str:
    """A Markdown table; the ratio is that of the medians to the first row's of the same thread count."""
    lines = [
        "| model | format | threads | median ms | p95 ms | ratio | load ms | on disk MB | peak MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    first = {r.threads: r.median_ms for r in reversed(results)}
    for r in results:
        lines.append(
            f"| {r.model} | {r.form} | {r.threads} | {r.median_ms:.1f} | {r.p95_ms:.1f} "
            f"| {r.median_ms / first[r.threads]:.2f} | {r.load_ms:.0f} | {r.size_mb:.1f} | {r.peak_mb:.0f} |"
        )
    return "\n".join(lines)


def write_csv(results: list[Latency], path: Path) -> None:
    """The same numbers as a table for programs."""
    with atomic(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(asdict(results[0])))
        writer.writeheader()
        writer.writerows(asdict(result) for result in results)


def plot(results: list[Latency], path: Path) -> None:
    """Bars of the medians, with the 95th percentile."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.5 * len(results) + 1.2), layout="constrained")
    axes = figure.subplots()
    names = [f"{Path(r.model).name}, {r.threads} thread{'s' * (r.threads > 1)}" for r in results]
    medians = [r.median_ms for r in results]
    above = [max(r.p95_ms - r.median_ms, 0.0) for r in results]
    bars = axes.barh(names, medians, xerr=[[0.0] * len(results), above], capsize=3)
    axes.bar_label(bars, fmt="%.0f", label_type="center", color="white")
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds an image: median, and 95th percentile")
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _size_mb(path: Path) -> float:
    """Of a file; of a run folder, its detector alone."""
    if path.is_file():
        return path.stat().st_size / 1e6
    files = [f for f in path.rglob("*") if f.is_file()]
    if form_of(path) == "keras":
        files = [*path.glob("model-*.weights.h5"), path / "config.json"]
    return sum(file.stat().st_size for file in files) / 1e6
