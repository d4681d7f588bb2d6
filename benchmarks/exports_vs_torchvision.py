"""Compare exported files of four networks with the fastest ways to run torchvision's, on the same weights and pixels.

    python benchmarks/exports_vs_torchvision.py --torch-python VENV/bin/python [--weights DIR] [--names NAME ...]

VENV has torch, torchvision, onnx and onnxruntime. torchvision runs eagerly, compiled (channels last, torch.compile of
backbone, RPN head and box head, frozen) and as the ONNX file of torch.onnx.export in ONNX Runtime. tfrcnn runs as
SavedModel, as TFLite file in LiteRT, and as ONNX file in ONNX Runtime and OpenVINO.

Each runs in its own process. The processes take turns of two detections, and the second one counts. The picture is
scikit-learn's photograph of 427 x 640, at the network's own size; the times include preprocessing.
The benchmark takes about 20 minutes on 2 otherwise idle cores.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.datasets import load_sample_image
from vs_torchvision import BUSY, MAKE_WEIGHTS, NAMES, Worker

from tfrcnn import images as image_ops
from tfrcnn.export import TARGETS, ExportOptions
from tfrcnn.export.measure.benchmark import Process
from tfrcnn.export.target import Target
from tfrcnn.weights.importing import import_weights

TORCH_BACKENDS = ("eager", "compiled", "onnx")
WAYS = (
    *(f"torchvision {backend}" for backend in TORCH_BACKENDS),
    *(f"tfrcnn {runtime}" for target in TARGETS.values() for runtime in target.runtimes),
)
WARM_UP = 2


def compare(name: str, weights: Path, folder: Path, options: argparse.Namespace) -> None:
    """Run one network in all ways, in turns, and print a row of the table."""
    picture = folder / "picture.npy"
    np.save(picture, load_sample_image("china.jpg"))
    runners, workers = {}, []
    for backend in TORCH_BACKENDS:
        worker = Worker(options.torch_python, "torchvision_worker.py", options.threads)
        case = {"name": name, "weights": str(weights), "threads": options.threads, "image": str(picture)}
        worker.ask("load", **case, train=False, size=0, classes=91, backend=backend)
        workers.append(worker)
        runners["torchvision", backend] = lambda worker=worker: 1000 * worker.ask("run")["seconds"]
    for path, target in export(name, weights, folder).items():
        for runtime in target.runtimes:
            workers.append(Process(path, runtime, options.threads))
            runners["tfrcnn", runtime] = lambda process=workers[-1]: process.run(picture)
    runners = {key: run for key, run in runners.items() if " ".join(key) in options.only}
    rounds = [{key: turn(run) for key, run in runners.items()} for _ in range(WARM_UP + options.rounds)][WARM_UP:]
    medians = {key: statistics.median(one[key] for one in rounds) for key in runners}
    for worker in workers:
        worker.close()
    best, reference = (
        min((key for key in medians if key[0] == side), key=medians.__getitem__) for side in ("tfrcnn", "torchvision")
    )
    ratio = statistics.median(one[best] / one[reference] for one in rounds)  # a machine that slows down affects both
    cells = " | ".join(f"{ms:.0f}" for ms in medians.values())
    if name == options.names[0]:
        print(f"| network | {' | '.join(' '.join(key) for key in medians)} | best / best |")
        print("|---" * (len(medians) + 2) + "|")
    print(f"| {name} | {cells} | **{ratio:.2f}** |", flush=True)


def turn(run: Callable[[], float]) -> float:
    """Return the milliseconds of the second of two detections: the first one fills the caches."""
    run()
    return run()


def export(name: str, weights: Path, folder: Path) -> dict[Path, Target]:
    """Export a network: SavedModel and ONNX for any size, TFLite for the size of the resized photograph."""
    detector = import_weights(weights, name)
    height, width, _ = load_sample_image("china.jpg").shape
    config = detector.config.image
    frame = image_ops.padded_size(image_ops.resized_size(np.array([height, width], np.int32), config), config)
    sizes = {"tflite": tuple(int(side) for side in frame)}
    paths = {folder / f"{name}-{target.name}{target.suffix}": target for target in TARGETS.values()}
    for path, target in paths.items():
        target.write(detector, path, ExportOptions(target.name, image_size=sizes.get(target.name)))
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch-python", required=True, metavar="FILE", help="a Python that has torchvision")
    parser.add_argument("--weights", type=Path, metavar="DIR", help="a folder of NAME.npz")
    parser.add_argument("--names", nargs="+", default=NAMES, choices=NAMES)
    parser.add_argument("--only", nargs="+", default=WAYS, choices=WAYS, metavar="WAY", help="columns of the table")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if os.getloadavg()[0] > BUSY:
        print(f"warning: the load is {os.getloadavg()[0]:.1f}; with other work on the machine times mean little\n")
    for name in options.names:
        with tempfile.TemporaryDirectory() as folder:
            weights = Path(folder) / f"{name}.npz"
            if options.weights:
                weights = options.weights / f"{name}.npz"
            else:
                subprocess.run([options.torch_python, "-c", MAKE_WEIGHTS, name, str(weights)], check=True)
            compare(name, weights, Path(folder), options)


if __name__ == "__main__":
    main()
