"""Latency of detectors side by side: each in a separate process, taking turns.

A process runs one detector in one runtime, so that its load time and peak memory are separate. They take turns, so
that a machine that slows down slows all of them. A turn is two detections; the second counts. The same processes then
measure the stages (`ledger`).
"""

from __future__ import annotations

import csv
import json
import os
import resource
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ...files import atomic
from ...run_description import CONFIG
from .. import TARGETS
from ..artefact import size_bytes
from ..runtimes import KERAS, format_of, load
from ..stage_names import STAGES
from .ledger import WARM_UP, profile_tensorflow

ANSWER = "ANSWER "
COMPILED, EAGER = "Keras", "Keras, eager"  # a `Predictor`, which compiles the detector; `detector(images)` as it is
TENSORFLOW = ("TensorFlow", COMPILED, EAGER)  # runtimes that take their threads from TensorFlow's configuration


@dataclass(frozen=True)
class Latency:
    """The timings of one detector in one runtime.

    Attributes:
        model: Its path.
        runtime: The runtime's name.
        threads: Number of threads.
        median_ms: Milliseconds per image, median.
        p95_ms: Milliseconds per image, 95th percentile.
        load_ms: Milliseconds to load.
        size_mb: Megabytes on disk.
        peak_mb: Megabytes of memory at the peak.
        stages: Milliseconds by stage; empty if they were not measured.
    """

    model: str
    runtime: str
    threads: int
    median_ms: float
    p95_ms: float
    load_ms: float
    size_mb: float
    peak_mb: float
    stages: dict[str, float]


class Process:
    """A process that runs one detector in one runtime with one number of threads."""

    def __init__(self, path: Path, runtime: str, threads: int) -> None:
        self.path, self.runtime, self.threads = path, runtime, threads
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": str(threads)}
        code = f"from tfrcnn.export.measure.benchmark import serve; serve({str(path)!r}, {runtime!r}, {threads})"
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", code],  # a file of the current folder may be called like a module
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self.load_ms = float(self._answer()["load_ms"])

    def run(self, picture: Path) -> float:
        """Return the milliseconds of one detection in an .npy picture."""
        return float(self._ask(picture=str(picture))["ms"])

    def stages(self, picture: Path, rounds: int) -> dict[str, float]:
        """Return the milliseconds of each stage of a detection in an .npy picture."""
        return dict(self._ask(picture=str(picture), stages=rounds)["stages"])

    def peak_mb(self) -> float:
        """Return the peak of its resident memory in megabytes."""
        return float(self._ask(picture=None)["peak_mb"])

    def close(self) -> None:
        """Stop the process."""
        self.process.communicate()

    def _ask(self, **question: Any) -> dict[str, Any]:
        assert self.process.stdin
        with suppress(BrokenPipeError):  # the process has ended, which `_answer` reports
            self.process.stdin.write(json.dumps(question) + "\n")
            self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith(ANSWER):
                return dict(json.loads(line.removeprefix(ANSWER)))
        self.close()
        status = self.process.returncode
        raise InputError(f"{self.path}: its process ended with {status}; tfrcnn predict shows why")


def serve(path: str, runtime: str, threads: int) -> None:
    """Run in the process: read a line with a question, print a line with its answer."""
    if runtime in TENSORFLOW:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.run_functions_eagerly(runtime == EAGER)
    started = time.perf_counter()
    predictor = load(path, threads, runtime=None if format_of(Path(path)) == KERAS else runtime)
    _say({"load_ms": 1000 * (time.perf_counter() - started)})
    for line in sys.stdin:
        question = json.loads(line)
        if question["picture"] is None:
            _say({"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024})
            continue
        picture = np.load(question["picture"])
        if "stages" in question:
            _say({"stages": stage_milliseconds(Path(path), runtime, threads, picture, question["stages"])})
            continue
        started = time.perf_counter()
        predictor.detect(picture)
        _say({"ms": 1000 * (time.perf_counter() - started)})


def stage_milliseconds(
    path: Path, runtime: str, threads: int, picture: np.ndarray, rounds: int = 5
) -> dict[str, float]:
    """Measure the stages of a detection, see `Target.profile`."""
    format = format_of(path)
    if format == KERAS:
        predictor = load(path)
        return profile_tensorflow(lambda: predictor.detect(picture), rounds)
    return TARGETS[format].profile(path, runtime, threads, picture, rounds)


def _say(answer: dict[str, Any]) -> None:
    print(ANSWER + json.dumps(answer), flush=True)


def benchmark(
    paths: list[Path], pictures: list[Path], threads: tuple[int, ...] = (1, 2), rounds: int = 10, stages: bool = True
) -> list[Latency]:
    """Time detectors on the same pictures, in all runtimes that are installed.

    Args:
        paths: Run folders and exported files. A run folder is timed compiled and eager.
        pictures: .npy files [H, W, 3] uint8.
        threads: Numbers of threads; each detector runs with each.
        rounds: Detections per picture that count.
        stages: Measure the stages too, on the first picture.

    Returns:
        The timings, by path, runtime and threads.

    Raises:
        InputError: A path is not a detector, or a detector does not run.
    """
    runtimes = [(path, runtime) for path in paths for runtime in _runtimes(path)]
    processes = [Process(path, runtime, count) for path, runtime in runtimes for count in threads]
    for process in processes:
        for _ in range(WARM_UP):
            process.run(pictures[0])
    times: list[list[float]] = [[] for _ in processes]
    for _ in range(rounds):
        for picture in pictures:
            for process, milliseconds in zip(processes, times):
                process.run(picture)  # not counted: the caches hold what ran before
                milliseconds.append(process.run(picture))
    results = [
        Latency(
            model=str(process.path),
            runtime=process.runtime,
            threads=process.threads,
            median_ms=float(np.median(milliseconds)),
            p95_ms=float(np.percentile(milliseconds, 95)),
            load_ms=process.load_ms,
            size_mb=_size_mb(process.path),
            peak_mb=process.peak_mb(),
            stages=process.stages(pictures[0], rounds) if stages and process.runtime != EAGER else {},
        )
        for process, milliseconds in zip(processes, times)
    ]
    for process in processes:
        process.close()
    return results


def _runtimes(path: Path) -> tuple[str, ...]:
    format = format_of(path)
    return (COMPILED, EAGER) if format == KERAS else TARGETS[format].installed_runtimes()


def render(results: list[Latency]) -> str:
    """Render a Markdown table; `ratio` compares medians with the first row of the same number of threads."""
    lines = [
        "| model | runtime | threads | median ms | p95 ms | ratio | load ms | on disk MB | peak MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    first = {r.threads: r.median_ms for r in reversed(results)}
    for r in results:
        lines.append(
            f"| {r.model} | {r.runtime} | {r.threads} | {r.median_ms:.1f} | {r.p95_ms:.1f} "
            f"| {r.median_ms / first[r.threads]:.2f} | {r.load_ms:.0f} | {r.size_mb:.1f} | {r.peak_mb:.0f} |"
        )
    return "\n".join(lines)


def render_stages(results: list[Latency]) -> str:
    """Render a Markdown table of the milliseconds by stage; empty if none were measured."""
    measured = [result for result in results if result.stages]
    lines = [f"| model | runtime | threads | {' | '.join(STAGES)} | sum |", "|---" * (len(STAGES) + 4) + "|"]
    for r in measured:
        times = [r.stages[stage] for stage in STAGES]
        cells = " | ".join(f"{value:.1f}" for value in (*times, sum(times)))
        lines.append(f"| {r.model} | {r.runtime} | {r.threads} | {cells} |")
    return "\n".join(lines) if measured else ""


def write_csv(results: list[Latency], path: Path) -> None:
    """Write the results as CSV."""
    with atomic(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        rows = [{**asdict(r), **{f"{stage}_ms": r.stages.get(stage) for stage in STAGES}} for r in results]
        writer = csv.DictWriter(file, [name for name in rows[0] if name != "stages"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def plot(results: list[Latency], path: Path) -> None:
    """Draw bars of the medians, with the 95th percentile."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.5 * len(results) + 1.2), layout="constrained")
    axes = figure.subplots()
    names = [f"{Path(r.model).name}, {r.runtime}, {r.threads} thread{'s' * (r.threads > 1)}" for r in results]
    medians = [r.median_ms for r in results]
    above = [max(r.p95_ms - r.median_ms, 0.0) for r in results]
    bars = axes.barh(names, medians, xerr=[[0.0] * len(results), above], capsize=3)
    axes.bar_label(bars, fmt="%.0f", label_type="center", color="white")
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds per image: median, and 95th percentile")
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _size_mb(path: Path) -> float:
    """Return the size of a file or folder; for a run folder, of its detector alone."""
    if format_of(path) != KERAS:
        return size_bytes(path) / 1e6
    return sum(map(size_bytes, [*path.glob("model-*.weights.h5"), path / CONFIG])) / 1e6
