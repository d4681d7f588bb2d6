"""RoIAlign of TFLite files: all boxes at once, and a few at a time, as `tfrcnn export` writes it.

    python benchmarks/litert_roi_align.py [--model runs/cells --picture cell.jpg] [--precision float32] [--stages]

Writes a detector in float32 and int8, with each of the two forms of RoIAlign: a run folder's, or one of random weights.
The files take turns in one process. The table has the medians of wall-clock time and of CPU time, and their ratios.
--stages adds the CPU time of each stage with one thread. The picture is noise by default.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from ai_edge_litert.interpreter import Interpreter

import tfrcnn
from tfrcnn.data.decode import read_image
from tfrcnn.export.tflite import to_tflite, writer
from tfrcnn.export.tflite.kernels import LITERT
from tfrcnn.export.tflite.profile import profile
from tfrcnn.export.tflite.runtime import letterbox
from tfrcnn.kernels import PORTABLE

FORMS = {"all at once": PORTABLE, "a few at a time": LITERT}
PRECISIONS = ("float32", "int8")
WARM_UP = 2


def write(
    folder: Path, detector: tfrcnn.FasterRCNN, picture: np.ndarray, size: tuple[int, int], precisions: Sequence[str]
) -> dict[tuple[str, str], Path]:
    """Write the files; the keys are precision and form."""
    paths = {}
    for precision in precisions:
        for form, kernels in FORMS.items():
            path = folder / f"{len(paths)}.tflite"
            with mock.patch.object(writer, "_kernels", lambda *_, kernels=kernels: kernels):
                to_tflite(detector, path, size, precision=precision, representative=[picture])
            paths[precision, form] = path
    return paths


def random_detector(preset: str) -> tfrcnn.FasterRCNN:
    categories = tuple(tfrcnn.Category(i, str(i)) for i in (1, 2, 3))
    return tfrcnn.build_detector(tfrcnn.preset(preset, categories).detector)


def load(path: Path, threads: int, picture: np.ndarray) -> Any:
    interpreter: Any = Interpreter(str(path), num_threads=threads)
    interpreter.allocate_tensors()
    (image,) = interpreter.get_input_details()
    interpreter.set_tensor(image["index"], letterbox(picture, tuple(image["shape"][1:3]))[None])
    return interpreter


def turn(interpreter: Any) -> tuple[float, float]:
    """Return the milliseconds of wall-clock and of CPU time of the second of two runs: the first fills the caches."""
    interpreter.invoke()
    started = time.perf_counter(), time.process_time()
    interpreter.invoke()
    return 1000 * (time.perf_counter() - started[0]), 1000 * (time.process_time() - started[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="mobilenet_v2_fpn", help="network of random weights")
    parser.add_argument("--model", help="run folder in place of random weights")
    parser.add_argument("--picture", type=Path, help="default: noise")
    parser.add_argument("--image-size", nargs=2, type=int, default=(320, 448), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--precision", choices=PRECISIONS, help="default: both")
    parser.add_argument("--stages", action="store_true", help="also measure the stages")
    options = parser.parse_args()
    precisions = [options.precision] if options.precision else PRECISIONS
    size = tuple(options.image_size)
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    picture = read_image(options.picture) if options.picture else noise
    detector = tfrcnn.load_detector(options.model) if options.model else random_detector(options.preset)
    with tempfile.TemporaryDirectory() as folder:
        paths = write(Path(folder), detector, picture, size, precisions)
        files = {key: load(path, options.threads, picture) for key, path in paths.items()}
        compare(files, options.rounds)
        if options.stages:
            show_stages(paths, picture, options.rounds)


def compare(files: dict[tuple[str, str], Any], count: int) -> None:
    """Run the files in turns, and print their times."""
    rounds = [{key: turn(file) for key, file in files.items()} for _ in range(WARM_UP + count)][WARM_UP:]
    print("| precision | time | all at once, ms | a few at a time, ms | ratio |\n|---|---|---|---|---|")
    for precision in dict.fromkeys(precision for precision, _ in files):
        for i, kind in enumerate(("wall-clock", "CPU")):
            old, new = (statistics.median(one[precision, form][i] for one in rounds) for form in FORMS)
            print(f"| {precision} | {kind} | {old:.1f} | {new:.1f} | {new / old:.2f} |")


def show_stages(paths: dict[tuple[str, str], Path], picture: np.ndarray, rounds: int) -> None:
    """Print the CPU time of each stage of each file, with one thread."""
    for number, ((precision, form), path) in enumerate(paths.items()):
        stages = profile(path, 1, picture, rounds, time.process_time)
        if not number:
            print(f"\n| CPU time, ms | {' | '.join(stages)} | sum |\n|---|{'---|' * (len(stages) + 1)}")
        times = [*stages.values(), sum(stages.values())]
        print(f"| {precision}, {form} | {' | '.join(f'{one:.1f}' for one in times)} |")


if __name__ == "__main__":
    main()
