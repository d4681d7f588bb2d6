"""Compare tfrcnn with torchvision: detection and training steps of four networks, on the same weights and pixels.

    python benchmarks/vs_torchvision.py --torch-python VENV/bin/python [--weights DIR] [--only infer|train] [--pairs 9]

VENV has torch and torchvision; tfrcnn runs in the Python that runs this program. Each case starts one process per
library, and the two take turns, so that a machine that slows down affects both. The ratio is the median over the pairs.
--weights is a folder of NAME.npz, by torchvision's keys; the default is torchvision's random weights.

Detection: scikit-learn's photograph of 427 x 640 at the network's own size. Training: two images, five boxes each, SGD
with momentum, frozen batch norm and frozen first stages (trainable_layers=3), 512 x 512 for ResNet-50 and 320 x 320 for
the MobileNet. The benchmark takes about 15 minutes on 2 otherwise idle cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_sample_image

NAMES = (
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
)
TRAINING_SIZES = {"fasterrcnn_mobilenet_v3_large_320_fpn": 320, "fasterrcnn_resnet50_fpn": 512}
BUSY = 1.5  # times mean nothing if the load is above this at the start
HERE = Path(__file__).resolve().parent
MAKE_WEIGHTS = """
import sys, numpy, torch, torchvision
torch.manual_seed(0)
model = getattr(torchvision.models.detection, sys.argv[1])(weights=None, weights_backbone=None)
numpy.savez(sys.argv[2], **{key: value.numpy() for key, value in model.state_dict().items()})
"""


class Worker:
    """A process that answers the commands load, run, stages and memory."""

    def __init__(self, python: str, script: str, threads: int) -> None:
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            [python, str(HERE / script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if os.environ.get("QUIET", "1") == "0" else subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def ask(self, do: str, **arguments: Any) -> Any:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("ANSWER "):
                return json.loads(line.removeprefix("ANSWER "))
        raise SystemExit(f"{self.process.args} ended with {self.process.wait()}; run it by hand to see why")

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def compare(name: str, train: bool, options: argparse.Namespace, weights: Path, image: Path) -> None:
    """Run one case with both libraries in turns, and print its row."""
    candidate = Worker(sys.executable, "tensorflow_worker.py", options.threads)
    reference = Worker(options.torch_python, "torchvision_worker.py", options.threads)
    case = {
        "name": name,
        "weights": str(weights),
        "threads": options.threads,
        "image": str(image),
        "train": train,
        "size": TRAINING_SIZES.get(name, 0),
        "classes": 91,
    }
    for worker in (candidate, reference):
        worker.ask("load", **case)
        for _ in range(2):
            worker.ask("run")
    pairs = [(candidate.ask("run")["seconds"], reference.ask("run")["seconds"]) for _ in range(options.pairs)]
    ratio = statistics.median(a / b for a, b in pairs)
    milliseconds, reference_ms = (1000 * statistics.median(column) for column in zip(*pairs))
    memory = candidate.ask("memory")["mb"], reference.ask("memory")["mb"]
    task = f"training, {case['size']} px, batch 2" if train else "detection"
    print(
        f"| {name} | {task} | {milliseconds:.0f} ms | {reference_ms:.0f} ms | **{ratio:.2f}** "
        f"| {memory[0]:.0f} MB | {memory[1]:.0f} MB | {memory[0] / memory[1]:.2f} |",
        flush=True,
    )
    if not train:
        ledger = candidate.ask("stages"), reference.ask("stages")
        LEDGERS[name] = ledger
    candidate.close()
    reference.close()


NEITHER = ("transform", "proposals", "RoIAlign", "detections")  # stages without convolutions and fully connected layers
LEDGERS: dict[str, tuple[dict[str, float], dict[str, float]]] = {}


def print_ledgers() -> None:
    """Print the milliseconds per stage, tfrcnn / torchvision, and the share outside convolutions and fc layers."""
    stages = list(next(iter(LEDGERS.values()))[0])
    columns = ["ms, tfrcnn / torchvision", *stages, "neither conv nor fc"]
    print(f"\n| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for name, sides in LEDGERS.items():
        shares = " / ".join(f"{100 * share(side):.0f} %" for side in sides)
        cells = (" / ".join(f"{side[stage]:.{int(side[stage] < 10)}f}" for side in sides) for stage in stages)
        print(f"| {name} | {' | '.join(cells)} | {shares} |")


def share(ledger: dict[str, float]) -> float:
    """Return the share of the stages without convolutions and fully connected layers in the total."""
    return sum(ledger[stage] for stage in NEITHER) / sum(ms for stage, ms in ledger.items() if stage != "all")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch-python", required=True, metavar="FILE", help="a Python that has torchvision")
    parser.add_argument("--weights", type=Path, metavar="DIR", help="a folder of NAME.npz")
    parser.add_argument("--names", nargs="+", default=NAMES, choices=NAMES)
    parser.add_argument("--only", choices=("infer", "train"))
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    if os.getloadavg()[0] > BUSY:
        print(f"warning: the load is {os.getloadavg()[0]:.1f}; with other work on the machine times mean little\n")
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.npy"
        np.save(image, load_sample_image("china.jpg"))
        print("| network | what | tfrcnn | torchvision | ratio | tfrcnn, peak | torchvision, peak | ratio |")
        print("|---|---|---|---|---|---|---|---|")
        for name in options.names:
            weights = Path(folder) / f"{name}.npz"
            if options.weights:
                weights = options.weights / f"{name}.npz"
            else:
                subprocess.run([options.torch_python, "-c", MAKE_WEIGHTS, name, str(weights)], check=True)
            if options.only != "train":
                compare(name, False, options, weights, image)
            if options.only != "infer" and name in TRAINING_SIZES:
                compare(name, True, options, weights, image)
    if LEDGERS:
        print_ledgers()


if __name__ == "__main__":
    main()
