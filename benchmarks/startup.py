"""Cost of a whole command: CPU seconds, wall-clock seconds and peak memory of `tfrcnn predict` on one picture.

    python benchmarks/startup.py --model cells.onnx --model cells.tflite --picture cell.jpg \\
        --program before/.venv/bin/tfrcnn --program .venv/bin/tfrcnn

The programs and models take turns, so that a busy machine slows all of them. The medians are printed. The CPU seconds
depend least on what else runs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple


class Cost(NamedTuple):
    """The cost of one process: user and system seconds of CPU, wall-clock seconds, MB of memory at the peak."""

    cpu: float
    wall: float
    peak: float


def measure(program: str, model: str, picture: str) -> Cost:
    """Detect in one picture in a new process."""
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "predict", picture, "--model", model, "--out", str(Path(folder) / "out")]
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        assert process.stderr is not None
        if status:
            raise SystemExit(f"{' '.join(command)}: {process.stderr.read().decode()}")
        process.stderr.close()
    return Cost(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", required=True, help="a run folder or an exported file; repeat it")
    parser.add_argument("--program", action="append", required=True, help="a program tfrcnn; repeat it")
    parser.add_argument("--picture", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    costs: dict[tuple[str, str], list[Cost]] = {}
    for _ in range(options.rounds):
        for program in options.program:
            for model in options.model:
                cost = measure(program, model, options.picture)
                costs.setdefault((program, model), []).append(cost)
    print("| program | model | CPU s | wall s | peak MB |\n|---|---|---|---|---|")
    for (program, model), rows in costs.items():
        cpu, wall, peak = (statistics.median(values) for values in zip(*rows))
        print(f"| {program} | {Path(model).name} | {cpu:.2f} | {wall:.2f} | {peak:.0f} |")


if __name__ == "__main__":
    main()
