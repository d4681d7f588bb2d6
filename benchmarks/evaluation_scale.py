"""Time of the COCO metric and of the page of errors on many images, with pycocotools and with faster-coco-eval.

    python benchmarks/evaluation_scale.py --images 4000 --report
    python benchmarks/evaluation_scale.py --images 40000 --report --engine faster-coco-eval

The data are random: 80 classes, about 7 objects and exactly 100 detections per image. Half of the objects are detected,
with noise. Prints a line per part: its seconds, its CPU seconds, and the most memory until its end. Fails if the
numbers of the two packages differ by more than 1e-9. pycocotools takes about 20 GB of memory for 40,000 images.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tfrcnn.config import Category
from tfrcnn.data.example import Dataset, Example, ImageDetections
from tfrcnn.evaluation.bootstrap import compare_detections
from tfrcnn.evaluation.coco import ENGINES, evaluate_coco
from tfrcnn.report.evaluation import evaluation_report

CLASSES, DETECTIONS, SIDE = 80, 100, 640
TOLERANCE = 1e-9


def boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw boxes of 8 to 208 pixels."""
    corner = rng.uniform(0, SIDE - 210, (count, 2))
    return np.concatenate([corner, corner + rng.uniform(8, 208, (count, 2))], axis=1)


def make(images: int, seed: int = 0) -> tuple[Dataset, list[ImageDetections]]:
    """Make a data set and its detections."""
    rng = np.random.default_rng(seed)
    examples, detections = [], []
    for number in range(images):
        count = int(rng.poisson(7))
        truth, labels = boxes(rng, count), rng.integers(0, CLASSES, count)
        crowd = rng.random(count) < 0.01
        area = np.prod(truth[:, 2:] - truth[:, :2], axis=1)
        none = np.zeros(count, bool)
        path = Path(f"{number}.jpg")
        ids = np.arange(count)
        examples.append(Example(number, path, SIDE, SIDE, truth, labels, crowd, none, area, 1, ids))
        chosen = np.flatnonzero(rng.random(count) < 0.5)[:DETECTIONS]
        outputs = np.concatenate([truth[chosen] + rng.normal(0, 4, (len(chosen), 4)), boxes(rng, DETECTIONS)])
        low, high = np.minimum(outputs[:, :2], outputs[:, 2:]), np.maximum(outputs[:, :2], outputs[:, 2:])
        outputs = np.concatenate([low, high], axis=1)
        classes = np.append(labels[chosen], rng.integers(0, CLASSES, DETECTIONS))
        scores = np.append(rng.beta(5, 2, len(chosen)), rng.beta(1, 6, DETECTIONS))
        order = np.argsort(-scores)[:DETECTIONS]
        columns = outputs[order].astype(np.float32), scores[order].astype(np.float32), classes[order].astype(np.int32)
        detections.append(ImageDetections(number, *columns))
    categories = tuple(Category(label + 1, f"class {label}") for label in range(CLASSES))
    return Dataset("random", categories, tuple(examples)), detections


def timed(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a part and print what it took."""
    start, cpu = time.perf_counter(), time.process_time()
    result = function(*arguments)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{name:28} {seconds:8.1f} s {cpu:8.1f} s of CPU, up to {memory:5.2f} GB", flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=40_000, help="number of images")
    parser.add_argument("--engine", choices=ENGINES, help="measure this package alone; default: both")
    parser.add_argument("--report", action="store_true", help="also write the page of errors and compare by bootstrap")
    options = parser.parse_args()
    dataset, detections = timed("random data", make, options.images)
    engines = [options.engine] if options.engine else ENGINES
    results = [timed(engine, evaluate_coco, dataset, detections, DETECTIONS, engine) for engine in engines]
    first, second = ({name: value or 0.0 for name, value in results[i].headline.items()} for i in (0, -1))
    difference = max(abs(first[name] - second[name]) for name in first)
    print(f"AP {first['AP']:.6f}, largest difference {difference:.1e}")
    if difference > TOLERANCE:
        raise SystemExit(f"expected a difference of at most {TOLERANCE}")
    if options.report:
        other = make(options.images, 1)[1]
        timed("bootstrap, 1000 resamples", compare_detections, dataset, detections, other)
        with tempfile.TemporaryDirectory() as folder:
            page = Path(folder) / "page.html"
            timed("page", lambda: evaluation_report(dataset, detections, page, evaluation=results[0]))
            print(f"The page has {page.stat().st_size / 1e6:.1f} MB.")


if __name__ == "__main__":
    main()
