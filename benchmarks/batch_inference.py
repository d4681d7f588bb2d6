"""Measure `tfrcnn predict --engine ray` against one process: pictures per second once started, and memory over time.

    python benchmarks/batch_inference.py cells.onnx --folder cells/JPEGImages [--pictures 2000] [--rounds 3]
    python benchmarks/batch_inference.py cells.onnx --folder cells/JPEGImages --pictures 20000 --rounds 0

Two workers of one thread each take turns with one process of two threads, `--pictures` per turn; --workers changes both
numbers. The clock of a turn starts with its first finished block. Then one more run of Ray prints the memory of its
workers. The goals: a ratio of at least 0.9, and memory that does not grow from the second quarter to the last.

With --without-ray, this process does the work of one worker and prints its memory; nothing is compared.

The pictures are links to those in --folder.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tfrcnn.batch import Detect
from tfrcnn.batch.blocks import Block, find_blocks
from tfrcnn.batch.engine import Work, run_blocks, running_ray
from tfrcnn.batch.parts import Parts
from tfrcnn.export import load
from tfrcnn.predicting.selection import Selection
from tfrcnn.prediction import find_images, predict_stream, search_images

BLOCK = 64  # pictures
THRESHOLD = 0.5  # as in `tfrcnn predict`
ACTOR = b"ray::MapWorker"  # the title of a worker's process


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="exported file")
    parser.add_argument("--folder", type=Path, required=True, help="pictures to link to")
    parser.add_argument("--pictures", type=int, default=2000, metavar="N", help="default: 2000")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="turns of each; default: 3")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="default: 2")
    parser.add_argument("--without-ray", action="store_true", help="the memory of one worker's work in this process")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "in")
        link_pictures(options.folder, folder, options.pictures)
        if options.without_ray:
            samples, counts = run_alone(options.model, folder, Path(name, "alone"))
            print(f"{counts[0]:,} pictures, {counts[1]:,} detections")
            print_memory(samples, "block")
            return 0
        started = time.perf_counter()
        with running_ray(options.workers, 1):
            print(f"Ray started in {time.perf_counter() - started:.1f} s", flush=True)
            compare(options.model, folder, Path(name), options.rounds, options.workers)
            with sampled_memory() as samples:
                rate = run_ray(options.model, folder, Path(name, "last"), options.workers)
            print(f"{options.pictures:,} pictures on Ray, {rate:.1f}/s")
            print_memory(samples, "s")
    return 0


def link_pictures(source: Path, folder: Path, count: int) -> None:
    """Fill a folder with links to pictures, in turns."""
    paths = [path.resolve() for path in find_images([source])]
    folder.mkdir()
    for i in range(count):
        path = paths[i % len(paths)]
        (folder / f"{i:06d}{path.suffix}").symlink_to(path)


def compare(model: Path, folder: Path, out: Path, rounds: int, workers: int) -> None:
    """Run one process and Ray in turns, and print their rates and the ratio of the medians."""
    local, remote = [], []
    for turn in range(rounds):
        local.append(run_local(model, folder, out / f"local{turn}", workers))
        remote.append(run_ray(model, folder, out / f"ray{turn}", workers))
        print(f"round {turn + 1}: one process {local[-1]:.1f}/s, {workers} workers {remote[-1]:.1f}/s", flush=True)
    if rounds:
        ratios = sorted(two / one for one, two in zip(local, remote))
        print(f"median: one process {statistics.median(local):.1f}/s, Ray {statistics.median(remote):.1f}/s")
        print(f"ratio of the rounds: median {statistics.median(ratios):.2f}, from {ratios[0]:.2f} to {ratios[-1]:.2f}")


def run_local(model: Path, folder: Path, out: Path, threads: int) -> float:
    """Return the pictures per second of one process after its first block."""
    sources = search_images([folder]).sources
    stream = predict_stream(load(model, threads), sources, out, Selection(THRESHOLD), pictures=False)
    times = [time.perf_counter() for _ in stream]
    return (len(times) - BLOCK) / (times[-1] - times[BLOCK - 1])


def run_ray(model: Path, folder: Path, out: Path, workers: int) -> float:
    """Return the pictures per second of Ray's workers after their first block."""
    work, tasks = make_work(model, folder, out)
    times = [time.perf_counter() for _ in run_blocks(work, tasks, workers, 1)]
    pictures = work.parts.count(len(tasks))[0]
    return (pictures - BLOCK) / (times[-1] - times[0])


def run_alone(model: Path, folder: Path, out: Path) -> tuple[list[list[float]], tuple[int, int]]:
    """Do all blocks in this process, and return its memory after each, and the numbers of pictures and detections."""
    work, tasks = make_work(model, folder, out)
    samples = []
    for number, block in tasks:
        if fault := work.run(number, block).fault:
            raise SystemExit(f"error: block {number}: {fault}")
        samples.append([memory_of("self")])
    return samples, work.parts.count(len(tasks))[:2]


def make_work(model: Path, folder: Path, out: Path) -> tuple[Work, list[tuple[int, Block]]]:
    """Return the work of a worker, and the numbered blocks of a folder."""
    categories = [category.to_dict() for category in load(model).categories]
    blocks = find_blocks([str(folder)], block_size=BLOCK).blocks
    work = Work(Detect(model, THRESHOLD, threads=1, column="content"), Parts(out, categories))
    work.parts.start({}, blocks)
    return work, list(enumerate(blocks))


@contextmanager
def sampled_memory() -> Iterator[list[list[float]]]:
    """Sample the memory of Ray's workers, in MB, every second while the block runs."""
    samples: list[list[float]] = []
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(1):
            samples.append(worker_memory())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()


def worker_memory() -> list[float]:
    """Return the resident memory of each of Ray's workers that this user runs, in MB."""
    memory = []
    for folder in Path("/proc").iterdir():
        try:
            is_mine = folder.name.isdecimal() and folder.stat().st_uid == os.getuid()
            if is_mine and (folder / "cmdline").read_bytes().startswith(ACTOR):
                memory.append(memory_of(folder.name))
        except OSError:  # it has ended
            continue
    return memory


def memory_of(process: str) -> float:
    """Return the resident memory of a process, in MB."""
    return int(Path("/proc", process, "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def print_memory(samples: Sequence[Sequence[float]], unit: str) -> None:
    """Print the memory of all workers at ten times, and its growth."""
    totals = [sum(sample) for sample in samples if sample]
    step = max(1, len(totals) // 10)
    print(f"memory of all workers in MB, every {step} {unit}: {' '.join(f'{total:.0f}' for total in totals[::step])}")
    quarter = max(1, len(totals) // 4)
    first, last = statistics.median(totals[quarter : 2 * quarter]), statistics.median(totals[-quarter:])
    print(f"growth from the second quarter to the last: {last - first:+.0f} MB")


if __name__ == "__main__":
    raise SystemExit(main())
