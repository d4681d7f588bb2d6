"""Latency of artefacts side by side: each in a process of its own, taking turns.

A process holds one artefact in one runtime, so that load time and peak memory are its own; turns, so that a machine
that slows down slows all alike. A turn is two detections, the second of which counts. A ledger of the stages (`ledger`)
follows, from the same processes.
"""

from __future__ import annotations

import csv
import importlib.util
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

from ...errors import InputError
from ...files import atomic
from ..runtimes import RUNTIMES, form_of, load
from ..stages import STAGES
from .ledger import stage_milliseconds

WARM_UP = 2
ANSWER = "ANSWER "
EAGER = "Keras, eager"  # `detector(images)` as it stands; "Keras" is a `Predictor`, which compiles it


@dataclass(frozen=True)
class Latency:
    """One artefact: milliseconds an image (median, 95th percentile) and to load, megabytes on disk and in memory, and
    milliseconds of each stage (empty where they were not measured)."""

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
    """A process that runs one artefact in one runtime on one thread count."""

    def __init__(self, path: Path, runtime: str, threads: int) -> None:
        self.path, self.runtime, self.threads = path, runtime, threads
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": str(threads)}
        code = f"from tfrcnn.export.measure.benchmark import serve; serve({str(path)!r}, {runtime!r}, {threads})"
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
        return float(self._ask(picture=str(picture))["ms"])

    def stages(self, picture: Path, rounds: int) -> dict[str, float]:
        """Milliseconds of each stage of a detection in an .npy picture."""
        return dict(self._ask(picture=str(picture), stages=rounds)["stages"])

    def peak_mb(self) -> float:
        """The most resident megabytes so far."""
        return float(self._ask(picture=None)["peak_mb"])

    def close(self) -> None:
        """End the process."""
        self.process.communicate()

    def _ask(self, **question: Any) -> dict[str, Any]:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith(ANSWER):
                return json.loads(line.removeprefix(ANSWER))
        raise InputError(f"{self.path}: its process ended with {self.process.wait()}; tfrcnn predict shows why")


def serve(path: str, runtime: str, threads: int) -> None:
    """The process's side: a line with a question, a line with its answer."""
    if form_of(Path(path)) in ("keras", "saved_model"):
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.run_functions_eagerly(runtime == EAGER)
    started = time.perf_counter()
    predictor = load(path, threads, runtime=runtime)
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


def _say(answer: dict[str, Any]) -> None:
    print(ANSWER + json.dumps(answer), flush=True)


def benchmark(
    paths: list[Path], pictures: list[Path], threads: tuple[int, ...] = (1, 2), rounds: int = 10, stages: bool = True
) -> list[Latency]:
    """Run every artefact on every picture, in turns; an ONNX file in OpenVINO too, where that is installed, and a Keras
    detector both compiled and called as it stands.

    Args:
        paths: artefacts and run folders.
        pictures: .npy files [H, W, 3] uint8.
        threads: thread counts; each artefact is run with each.
        stages: measure the stages too, on the first picture.

    Raises:
        InputError: a path that is no artefact, or an artefact that does not run.
    """
    runtimes = [(path, runtime) for path in paths for runtime in _installed(path)]
    processes = [Process(path, runtime, count) for path, runtime in runtimes for count in threads]
    for process in processes:
        for _ in range(WARM_UP):
            process.run(pictures[0])
    times: list[list[float]] = [[] for _ in processes]
    for _ in range(rounds):
        for picture in pictures:
            for process, own in zip(processes, times):
                process.run(picture)  # not counted: the caches hold what ran before
                own.append(process.run(picture))
    results = [
        Latency(
            model=str(process.path),
            runtime=process.runtime,
            threads=process.threads,
            median_ms=float(np.median(own)),
            p95_ms=float(np.percentile(own, 95)),
            load_ms=process.load_ms,
            size_mb=_size_mb(process.path),
            peak_mb=process.peak_mb(),
            stages=process.stages(pictures[0], rounds) if stages and process.runtime != EAGER else {},
        )
        for process, own in zip(processes, times)
    ]
    for process in processes:
        process.close()
    return results


def _installed(path: Path) -> list[str]:
    """The runtimes that run an artefact here."""
    form = form_of(path)
    if form == "keras":
        return [*RUNTIMES[form], EAGER]
    has_openvino = importlib.util.find_spec("openvino") is not None
    return [runtime for runtime in RUNTIMES[form] if has_openvino or not runtime.startswith("OpenVINO")]


def render(results: list[Latency]) -> str:
    """A Markdown table; the ratio is that of the medians to the first row's of the same thread count."""
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
    """A Markdown table of the stages' milliseconds."""
    measured = [result for result in results if result.stages]
    lines = [f"| model | runtime | threads | {' | '.join(STAGES)} | sum |", "|---" * (len(STAGES) + 4) + "|"]
    for r in measured:
        times = [r.stages[stage] for stage in STAGES]
        cells = " | ".join(f"{value:.1f}" for value in (*times, sum(times)))
        lines.append(f"| {r.model} | {r.runtime} | {r.threads} | {cells} |")
    return "\n".join(lines) if measured else ""


def write_csv(results: list[Latency], path: Path) -> None:
    """The same numbers as a table for programs."""
    with atomic(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        rows = [{**asdict(r), **{f"{stage}_ms": r.stages.get(stage) for stage in STAGES}} for r in results]
        writer = csv.DictWriter(file, [name for name in rows[0] if name != "stages"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def plot(results: list[Latency], path: Path) -> None:
    """Bars of the medians, with the 95th percentile."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.5 * len(results) + 1.2), layout="constrained")
    axes = figure.subplots()
    names = [f"{Path(r.model).name}, {r.runtime}, {r.threads} thread{'s' * (r.threads > 1)}" for r in results]
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
