"""Compare this version of tfrcnn with an older one: detection and training steps, in turns.

    python benchmarks/between_versions.py --older-python older/.venv/bin/python [--names NAME ...] [--pairs 9]

The older version saves a detector with random weights. Both versions load it and run the same work in turns, each in a
process of its Python. The ratio is the median over pairs of turns; below 1, this version is faster. The last column
compares what they detect.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

NAMES = ("mobilenet_v2_fpn", "fasterrcnn_mobilenet_v3_large_320_fpn", "fasterrcnn_resnet50_fpn", "vgg16")
TRAINING_SIZE, BATCH, WARM_UP = 320, 2, 2
SAVE = """
import sys, keras, tfrcnn
keras.utils.set_random_seed(0)
config = tfrcnn.preset(sys.argv[1], (tfrcnn.Category(1, "a"), tfrcnn.Category(2, "b"))).detector
config = config.replace(detections=config.detections.replace(score_threshold=0.0))
tfrcnn.save_detector(tfrcnn.build_detector(config), sys.argv[2])
"""


class Worker:
    """A process that runs one version; see `work`."""

    def __init__(self, python: str, folder: Path, name: str) -> None:
        self.process = subprocess.Popen(
            [python, __file__, "--work", str(folder), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run(self, task: str) -> dict[str, Any]:
        """Run "detect" or "train" once and return its seconds, and what it computed."""
        assert self.process.stdin
        assert self.process.stdout
        print(task, file=self.process.stdin, flush=True)
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise SystemExit(f"{self.process.args} ended with {self.process.wait()}; run it by hand to see why")


def work(folder: str, name: str) -> None:
    """Answer the tasks on standard input, with calls that every version has."""
    import tensorflow as tf

    import tfrcnn

    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3)).astype(np.uint8)
    predictor = tfrcnn.Predictor(tfrcnn.load_detector(folder))
    trained = tfrcnn.load_detector(folder)
    training = tfrcnn.preset(name).training.replace(batch_size=BATCH, learning_rate=8e-5)
    tfrcnn.freeze(trained, training)
    model = tfrcnn.TrainingModel(trained)
    model.compile(optimizer=tfrcnn.make_optimizer(training, 1000), jit_compile=False)
    size = float(TRAINING_SIZE)
    boxes = [[i * size / 8, i * size / 8, (i + 2) * size / 8, (i + 3) * size / 8] for i in range(5)]
    image = tf.image.resize(picture.astype(np.float32), [TRAINING_SIZE, TRAINING_SIZE])
    batch = {
        "images": tf.stack([image] * BATCH),
        "image_sizes": tf.fill([BATCH, 2], size),
        "boxes": tf.constant([boxes] * BATCH),
        "labels": tf.constant([[0, 1, 0, 1, 0]] * BATCH),
    }
    batches = iter(tf.data.Dataset.from_tensors(batch).repeat())
    model.make_train_function()
    for task in sys.stdin:
        started = time.perf_counter()
        if task.strip() == "detect":
            detections = predictor.detect(picture)
            answer: dict[str, Any] = {"boxes": detections.boxes.tolist(), "scores": detections.scores.tolist()}
        else:
            answer = {"loss": float(model.train_function(batches)["loss"])}
        print(json.dumps({"seconds": time.perf_counter() - started, **answer}), flush=True)


def compare(name: str, older_python: str, pairs: int) -> None:
    """Print a row for detection and a row for training."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([older_python, "-P", "-c", SAVE, name, folder], check=True, stderr=subprocess.DEVNULL)
        workers = [Worker(python, Path(folder), name) for python in (sys.executable, older_python)]
        for task in ("detect", "train"):
            turns = [[worker.run(task) for worker in workers] for _ in range(WARM_UP + pairs)]
            seconds = [[answer["seconds"] for answer in turn] for turn in turns[WARM_UP:]]
            this, older = (1000 * statistics.median(column) for column in zip(*seconds))
            ratio = statistics.median(a / b for a, b in seconds)
            results = difference(*turns[0])
            print(f"| {name} | {task} | {older:.0f} ms | {this:.0f} ms | {ratio:.2f} | {results} |", flush=True)
        for worker in workers:
            worker.process.kill()


def difference(this: dict[str, Any], older: dict[str, Any]) -> str:
    """Compare what both versions computed in their first turn."""
    if "loss" in this:
        return f"losses {older['loss']:.4f} and {this['loss']:.4f}: other samples are drawn"
    if len(this["boxes"]) != len(older["boxes"]):
        return f"{len(older['boxes'])} and {len(this['boxes'])} detections"
    pixels, scores = (np.abs(np.subtract(this[key], older[key])).max(initial=0.0) for key in ("boxes", "scores"))
    return f"{len(this['boxes'])} detections, {pixels:g} px and {scores:g} apart at most"


def main() -> None:
    if sys.argv[1:2] == ["--work"]:
        return work(*sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--older-python", required=True, metavar="FILE", help="a Python that has the older version")
    parser.add_argument("--names", nargs="+", default=NAMES)
    parser.add_argument("--pairs", type=int, default=9)
    options = parser.parse_args()
    print("| detector | task | older | this | ratio | results |\n|---|---|---|---|---|---|")
    for name in options.names:
        compare(name, options.older_python, options.pairs)
    return None


if __name__ == "__main__":
    main()
