"""Measure each kind of NMS, and mirror images and scales, on one trained detector.

    python benchmarks/nms_kinds.py --model runs/digits --data digits/instances_test.json
    python benchmarks/nms_kinds.py --model runs/digits --data digits/instances_test.json \
        --int8 onnx --representative digits/instances_train.json --size 128

Each row has the same weights. AP and AP50 judge all detections, the rest those with scores of at least 0.5, as
`tfrcnn predict` draws them: precision and recall at IoU 0.5, and the pairs of boxes that overlap by more than half, as
two labels on one object do. --int8 exports each kind in 8 bits, and compares the file with Keras on the same pictures.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import tfrcnn
from tfrcnn.data.decode import read_image
from tfrcnn.data.example import Example, ImageDetections
from tfrcnn.export import ExportOptions, export

SHOWN = 0.5  # the score of `tfrcnn predict`
NMS: dict[str, dict[str, Any]] = {
    "per class (default)": {},
    "class-agnostic": {"class_agnostic_nms": True},
    "soft, linear": {"nms": "soft_linear"},
    "soft, Gaussian": {"nms": "soft_gaussian"},
    "soft, Gaussian, class-agnostic": {"nms": "soft_gaussian", "class_agnostic_nms": True},
    "weighted fusion": {"nms": "weighted_fusion"},
    "weighted fusion, class-agnostic": {"nms": "weighted_fusion", "class_agnostic_nms": True},
}
VIEWS = {
    "two scales": tfrcnn.Views(scales=(1.0, 0.75)),
    "two scales, fusion": tfrcnn.Views(scales=(1.0, 0.75), merge="fusion"),
}


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the IoU of boxes [N, 4] and others [M, 4]: [N, M]."""
    first = np.maximum(boxes[:, None, :2], others[None, :, :2])
    last = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.maximum(last - first, 0).prod(axis=2)
    areas = [(one[:, 2:] - one[:, :2]).prod(axis=1) for one in (boxes, others)]
    return np.asarray(shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-9))


def count_right(detections: ImageDetections, example: Example) -> int:
    """Count the shown detections with an object of their class, each object once, the best detections first."""
    iou = overlaps(detections.boxes, example.boxes) * (detections.labels[:, None] == example.labels)
    count = 0
    for row in np.flatnonzero(detections.scores >= SHOWN) if len(example.boxes) else ():
        best = int(iou[row].argmax())
        if iou[row, best] >= 0.5:
            count += 1
            iou[:, best] = 0
    return count


def count_doubles(detections: ImageDetections) -> int:
    """Count the pairs of shown detections whose boxes overlap by more than half."""
    boxes = detections.boxes[detections.scores >= SHOWN]
    return int((overlaps(boxes, boxes)[np.triu_indices(len(boxes), 1)] > 0.5).sum())


def report(name: str, predictor: Any, dataset: tfrcnn.Dataset) -> None:
    """Print the row of one variant."""
    started = time.perf_counter()
    detections = predictor.detect_dataset(dataset)
    seconds = time.perf_counter() - started
    headline = tfrcnn.evaluate(dataset, detections).headline
    doubles = sum(count_doubles(one) for one in detections)
    right = sum(count_right(one, example) for one, example in zip(detections, dataset.examples))
    shown = sum(int((one.scores >= SHOWN).sum()) for one in detections)
    objects = sum(len(example.boxes) for example in dataset.examples)
    percent = (headline["AP"], headline["AP50"], right / max(shown, 1), right / objects)
    columns = [*(f"{100 * value:.1f}" for value in percent), f"{doubles}", f"{1000 * seconds / len(dataset):.0f}"]
    print(f"| {name} | {' | '.join(columns)} |", flush=True)


def report_int8(name: str, detector: Any, options: argparse.Namespace, dataset: tfrcnn.Dataset) -> None:
    """Export the detector in 8 bits, and print the row that compares the file with it."""
    examples = tfrcnn.load_dataset(options.representative, categories=detector.config.categories).examples[:100]
    images = [read_image(example.path, example.orientation) for example in examples]
    size = options.size and (options.size, options.size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"file.{options.int8}"
        result = export(detector, path, ExportOptions(options.int8, "int8", size, representative=images), dataset)
    assert result is not None
    assert None not in (result.ap, result.keras_ap, result.partners)
    columns = (f"{100 * value:.1f}" for value in (result.keras_ap, result.ap, result.partners))
    print(f"| {name} | {' | '.join(columns)} | {'passed' if result.passed else result.faults} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, metavar="RUN")
    parser.add_argument("--data", required=True, metavar="DATA")
    parser.add_argument("--int8", choices=("onnx", "tflite"), help="the format of the files")
    parser.add_argument("--representative", metavar="DATA", help="its first 100 images set the ranges of --int8")
    parser.add_argument("--size", type=int, metavar="N", help="the size of the network's input of --int8")
    options = parser.parse_args()
    if options.int8 and not options.representative:
        parser.error("--int8 needs --representative")
    detector = tfrcnn.load_detector(options.model)
    limits = detector.config.detections
    dataset = tfrcnn.load_dataset(options.data, categories=detector.config.categories)
    if options.int8:
        print("| variant | AP of Keras | AP of the file | partners, % | verdict |\n|---|---|---|---|---|")
        for name, changes in NMS.items():
            report_int8(
                name, tfrcnn.load_detector(options.model, detections=limits.replace(**changes)), options, dataset
            )
        return
    print("| variant | AP | AP50 | precision | recall | doubles | ms per picture |\n|---|---|---|---|---|---|---|")
    for name, changes in NMS.items():
        variant = tfrcnn.load_detector(options.model, detections=limits.replace(**changes))
        report(name, tfrcnn.Predictor(variant), dataset)
    for name, views in VIEWS.items():
        report(name, tfrcnn.ViewPredictor(tfrcnn.Predictor(detector), views), dataset)


if __name__ == "__main__":
    main()
