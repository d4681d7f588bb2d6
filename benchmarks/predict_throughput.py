"""Measure `tfrcnn predict` against its runtime alone: pictures per second, processor time and memory over time.

    python benchmarks/predict_throughput.py cells.onnx [--pictures 2000] [--rounds 4] [--draw] [--batch 8]

The runtime gets pictures that are in memory already. The prediction reads as many JPEG files, and writes their lines.
--draw writes annotated copies too. The two take turns. The goals: a ratio of at least 0.95 without --draw, and memory
that does not grow from the first quarter of the pictures to the last. On a busy machine the processor time counts.

The pictures are copies of 20 in random colours, or of the pictures in --folder.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import resident_mb
from PIL import Image

from tfrcnn.data.decode import decode_bytes, read_image
from tfrcnn.predicting.selection import Selection
from tfrcnn.prediction import find_images, predict_stream, search_images

SOURCES = 20  # different pictures
THRESHOLD = 0.5  # as in `tfrcnn predict`


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="run folder or exported file")
    parser.add_argument("--pictures", type=int, default=2000, metavar="N", help="default: 2000")
    parser.add_argument("--rounds", type=int, default=4, metavar="N", help="turns of each; default: 4")
    parser.add_argument("--size", type=int, nargs=2, default=(480, 640), metavar=("H", "W"), help="default: 480 640")
    parser.add_argument("--folder", type=Path, help="take the pictures from here")
    parser.add_argument("--draw", action="store_true", help="write annotated copies")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="pictures per batch; default: 1")
    parser.add_argument("--threads", type=int, metavar="N", help="of the runtime; default: its own choice")
    options = parser.parse_args(arguments)
    from tfrcnn.export import load

    predictor = load(options.model, threads=options.threads)
    contents = make_pictures(options.size, options.folder)
    measure(predictor, contents, options.pictures, options.rounds, options.draw, options.batch)
    return 0


def make_pictures(size: tuple[int, int], folder: Path | None) -> list[bytes]:
    """Return the contents of JPEG files."""
    if folder is not None:
        images = [read_image(path) for path in find_images([folder])[:SOURCES]]
    else:
        rng = np.random.default_rng(0)
        small = [rng.integers(0, 255, (size[0] // 16, size[1] // 16, 3), np.uint8) for _ in range(SOURCES)]
        images = [np.asarray(Image.fromarray(one).resize((size[1], size[0]))) for one in small]
    contents = []
    for image in images:
        content = io.BytesIO()
        Image.fromarray(image).save(content, "JPEG", quality=90)
        contents.append(content.getvalue())
    return contents


def measure(predictor: Any, contents: list[bytes], count: int, rounds: int, draw: bool, batch: int = 1) -> float:
    """Time the runtime and the prediction in turns, print the figures, and return the ratio of their medians."""
    images = [decode_bytes(content, "picture") for content in contents]
    run_alone(predictor, images, min(count, 5))  # warm up
    per_round = max(1, count // rounds)
    alone, predicted, memory, cpu = [], [], [], [0.0, 0.0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        paths = [folder / "in" / f"{i:05d}.jpg" for i in range(per_round)]
        for i, path in enumerate(paths):
            path.write_bytes(contents[i % len(contents)])
        for turn in range(rounds):
            started = time.process_time()
            alone.append(per_round / run_alone(predictor, images, per_round))
            between = time.process_time()
            seconds, resident = run_prediction(predictor, paths, folder / f"out{turn}", draw, batch)
            predicted.append(per_round / seconds)
            cpu = [cpu[0] + between - started, cpu[1] + time.process_time() - between]
            memory += resident
            print(f"round {turn + 1}: runtime {alone[-1]:.2f}/s, predict {predicted[-1]:.2f}/s", flush=True)
    ratio = statistics.median(predicted) / statistics.median(alone)
    print(f"median: runtime {statistics.median(alone):.2f}/s, predict {statistics.median(predicted):.2f}/s")
    print(f"ratio: {ratio:.3f}")
    per_picture = [1000 * seconds / per_round / rounds for seconds in cpu]
    print(f"processor time per picture: runtime {per_picture[0]:.1f} ms, predict {per_picture[1]:.1f} ms")
    print(f"resident memory in MB, at equal distances: {' '.join(f'{mb:.0f}' for mb in memory)}")
    quarter = max(1, len(memory) // 4)
    print(f"growth from the first quarter to the last: {max(memory[-quarter:]) - max(memory[:quarter]):+.0f} MB")
    return ratio


def run_alone(predictor: Any, images: list[np.ndarray], count: int) -> float:
    """Return the seconds that the runtime takes for pictures in memory."""
    runtime = getattr(predictor, "runtime", None)
    started = time.perf_counter()
    for i in range(count):
        image = images[i % len(images)]
        predictor.detect(image) if runtime is None else runtime.run(image[None])
    return time.perf_counter() - started


def run_prediction(predictor: Any, paths: list[Path], out: Path, draw: bool, batch: int) -> tuple[float, list[float]]:
    """Return the seconds that the prediction takes for files, and five measurements of its memory."""
    step, memory = max(1, len(paths) // 5), []
    started = time.perf_counter()
    stream = predict_stream(
        predictor, search_images(paths).sources, out, Selection(THRESHOLD), pictures=draw, batch=batch
    )
    for i, _ in enumerate(stream, 1):
        if i % step == 0:
            memory.append(resident_mb())
    return time.perf_counter() - started, memory


if __name__ == "__main__":
    raise SystemExit(main())
