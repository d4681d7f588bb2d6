"""Time the SavedModel and the ONNX file of a detector on a GPU, and print rows of a table.

    TF_CPP_MIN_LOG_LEVEL=2 python benchmarks/device_exports.py --model mobilenet_v2_fpn --batch-sizes 1 8

Without a GPU the rows are of the CPU. ONNX Runtime uses a GPU if onnxruntime-gpu is installed. The weights are random
and there are two classes, so that every proposal takes part in NMS: trained detectors are faster. `gpu.sh` calls this.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import tfrcnn
from tfrcnn.export import to_onnx, to_saved_model

WARM_UP = 5


def saved_model(detector: Any, folder: Path) -> tuple[str, Callable[[np.ndarray], Any]]:
    """Export a SavedModel; return the device, and a function that detects."""
    to_saved_model(detector, folder / "saved")
    detect = tf.saved_model.load(str(folder / "saved")).signatures["serving_default"]
    device = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    return device, lambda images: {name: value.numpy() for name, value in detect(images=tf.constant(images)).items()}


def onnx(detector: Any, folder: Path) -> tuple[str, Callable[[np.ndarray], Any]]:
    """Export an ONNX file; return the device, and a function that detects."""
    import onnxruntime

    path = to_onnx(detector, folder / "detector.onnx")
    known = onnxruntime.get_available_providers()
    providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in known]
    session = onnxruntime.InferenceSession(str(path), providers=providers)
    device = "GPU" if session.get_providers()[0].startswith("CUDA") else "CPU"
    return device, lambda images: session.run(None, {"images": images})


def main() -> None:
    """Print the table."""
    for device in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(device, True)  # it would take all memory from ONNX Runtime
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet50_fpn")
    parser.add_argument("--image-size", type=int, default=640)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args()
    categories = tfrcnn.Category(1, "a"), tfrcnn.Category(2, "b")
    detector = tfrcnn.build_detector(tfrcnn.preset(options.model, categories, options.image_size).detector)
    pixels = np.random.default_rng(0).integers(0, 256, (options.image_size, options.image_size, 3), np.uint8)
    print("| preset | size | format | device | images per call | call | images/s |")
    print("|---|---|---|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for name, export in (("SavedModel", saved_model), ("ONNX", onnx)):
            device, detect = export(detector, Path(folder))
            for count in options.batch_sizes:
                seconds = []
                for _ in range(WARM_UP + options.rounds):
                    started = time.perf_counter()
                    detect(np.stack([pixels] * count))
                    seconds.append(time.perf_counter() - started)
                call = statistics.median(seconds[WARM_UP:])
                print(
                    f"| `{options.model}` | {options.image_size} px | {name} | {device} | {count} "
                    f"| {1000 * call:.1f} ms | {count / call:.1f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
