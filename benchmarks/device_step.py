"""Time a training step on one or several devices, and print a row of a table.

    TF_CPP_MIN_LOG_LEVEL=2 python benchmarks/device_step.py --model resnet50_fpn --precision mixed_float16 --devices 4

The devices are the machine's GPUs, or parts of its CPU if there is none. --batch-size is of each device. The images are
random and not decoded, so this is the step alone, with the copy of its images to the devices. `gpu.sh` calls this.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from common import resident_mb

import tfrcnn

CLASSES, BOXES = 80, 8
WARM_UP = 5  # steps: the first is traced, and GPU libraries choose their algorithms


class Clock(keras.callbacks.Callback):
    """Takes the time of each step, to the end of its work on the devices."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.started = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        float(logs["loss"])  # waits for the devices
        self.seconds.append(time.perf_counter() - self.started)


def choose_devices(count: int) -> list[str]:
    """Return the names of this many GPUs, or of parts of the CPU if there is no GPU."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
        return [f"CPU:{i}" for i in range(count)]
    if count > len(gpus):
        raise SystemExit(f"--devices must be at most {len(gpus)}, the GPUs of this machine, found {count}")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    return [f"GPU:{i}" for i in range(count)]


def make_batch(images: int, size: int) -> dict[str, np.ndarray]:
    """Make random images with random boxes."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 0.5 * size, (images, BOXES, 2))
    return {
        "images": rng.uniform(0, 255, (images, size, size, 3)).astype(np.float32),
        "image_sizes": np.full((images, 2), size, np.float32),
        "boxes": np.concatenate([corners, corners + rng.uniform(16, 0.5 * size, corners.shape)], -1).astype(np.float32),
        "labels": rng.integers(0, CLASSES, (images, BOXES), np.int32),
    }


def measure(options: argparse.Namespace, devices: list[str]) -> list[float]:
    """Train, and return the seconds of each step."""
    images = options.batch_size * len(devices)
    categories = tuple(tfrcnn.Category(i + 1, str(i)) for i in range(CLASSES))
    preset = tfrcnn.preset(options.model, categories, options.image_size)
    training = preset.training.replace(batch_size=images, precision=options.precision, learning_rate=1e-4)
    several = len(devices) > 1
    strategy = tf.distribute.MirroredStrategy(devices) if several else tf.distribute.OneDeviceStrategy(devices[0])
    clock = Clock()
    with strategy.scope():
        detector = tfrcnn.build_detector(preset.detector, precision=options.precision, kernels=options.kernels)
        tfrcnn.freeze(detector, training)
        model = tfrcnn.TrainingModel(detector)
        model.compile(tfrcnn.make_optimizer(training, 1000), jit_compile=options.xla)
        data = tf.data.Dataset.from_tensors(make_batch(images, options.image_size)).repeat()
        model.fit(data, steps_per_epoch=WARM_UP + options.steps, shuffle=False, verbose=0, callbacks=[clock])
    return clock.seconds[WARM_UP:]


def main() -> None:
    """Print the row, or the head of the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet50_fpn")
    parser.add_argument("--image-size", type=int, default=640)
    parser.add_argument("--batch-size", type=int, default=4, help="images of each device")
    parser.add_argument("--precision", default="float32", choices=["float32", "mixed_float16", "mixed_bfloat16"])
    parser.add_argument("--kernels", default="tensorflow", choices=["tensorflow", "portable", "portable_matmul"])
    parser.add_argument("--xla", action="store_true", help="compile the step; it needs portable kernels")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--head", action="store_true", help="print the head of the table first")
    options = parser.parse_args()
    devices = choose_devices(options.devices)
    if options.head:
        print("| preset | size | precision | kernels | devices | images per step | step | images/s | memory |")
        print("|---|---|---|---|---|---:|---:|---:|---:|")
    step = statistics.median(measure(options, devices))
    is_gpu = devices[0].startswith("GPU")
    memory = tf.config.experimental.get_memory_info(devices[0])["peak"] / 2**20 if is_gpu else resident_mb()
    images = options.batch_size * len(devices)
    cells = [
        f"`{options.model}`",
        f"{options.image_size} px",
        options.precision,
        f"{options.kernels}, XLA" if options.xla else options.kernels,
        f"{len(devices)} {devices[0][:3]}",
        str(images),
        f"{1000 * step:.0f} ms",
        f"{images / step:.1f}",
        f"{memory:.0f} MB",
    ]
    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
