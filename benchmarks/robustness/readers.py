"""Counts what a reader of data sets does with many damaged inputs: it must read, or refuse with an `InputError`.

Anything else is an escape: another exception, a box outside its image, or an input that takes too long.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from tfrcnn.data.read import read_dataset
from tfrcnn.errors import InputError

MAX_SECONDS = 5.0  # of the processor, per input: a whole one takes milliseconds, and a busy machine does not count
WIDTH, HEIGHT = 40, 30


def fuzz(count: int, seed: int, write: Callable[[Path, random.Random], str], show: int = 5) -> Counter[str]:
    """Read `count` damaged inputs and count the outcomes; print the first escapes.

    Args:
        count: the number of inputs.
        seed: of the damage.
        write: writes one damaged input into a folder with images a.png and b.png, and returns its DATA argument.
        show: how many escapes to print.

    Returns:
        Number of inputs by outcome: "read", "refused", "error" (an `InputError`), "escaped".
    """
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        for image in ("a.png", "b.png"):
            Image.new("RGB", (WIDTH, HEIGHT)).save(Path(name) / image)
        for number in range(count):
            data = write(Path(name), random.Random(f"{seed}/{number}"))
            start = time.thread_time()
            try:
                outcome = _outcome(data)
            except InputError:
                outcome = "error"
            except Exception as error:  # this is what the program looks for
                outcome = f"escaped: {type(error).__name__}: {str(error)[:200]}"
            if (seconds := time.thread_time() - start) > MAX_SECONDS:
                outcome = f"escaped: {seconds:.0f} s"
            if outcome.startswith("escaped"):
                if outcomes["escaped"] < show:
                    print(f"seed {seed}, input {number}: {outcome}", flush=True)
                outcome = "escaped"
            outcomes[outcome] += 1
    return outcomes


def run(description: str, write: Callable[[Path, random.Random], str]) -> None:
    """Parse the command line, read the damaged inputs and print the counts; exit with 1 if one escaped."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--count", type=int, default=50_000, help="number of inputs")
    parser.add_argument("--seed", type=int, default=0, help="of the damage")
    options = parser.parse_args()
    start = time.perf_counter()
    outcomes = fuzz(options.count, options.seed, write)
    counts = ", ".join(f"{outcomes[name]:,} {name}" for name in ("read", "refused", "error", "escaped"))
    print(f"{options.count:,} inputs in {time.perf_counter() - start:.0f} s: {counts}")
    raise SystemExit(1 if outcomes["escaped"] else 0)


def _outcome(data: str) -> str:
    dataset, report = read_dataset(data)
    report.render()
    report.to_dict()
    for example in dataset.examples:
        inside = (example.boxes >= 0).all() and (example.boxes[:, 2:] <= [example.height, example.width]).all()
        if not (inside and np.isfinite(example.area).all() and (example.labels < len(dataset.categories)).all()):
            return f"escaped: boxes {example.boxes.tolist()} of areas {example.area.tolist()}"
    return "refused" if report.refused else "read"
