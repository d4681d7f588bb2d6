"""Measure the training targets of one image with many objects: peak memory and time.

    TF_CPP_MIN_LOG_LEVEL=2 python benchmarks/objects_per_image.py [--objects 10 100 400 1200] [--size 800 1333]

Each number of objects is measured in a process of its own, so that no peak hides another. The memory is what the call
adds to the process after a call with one object. The time is the median of several calls. It takes about 2 minutes on
2 CPU cores.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

import tfrcnn
from tfrcnn import boxes as box_ops
from tfrcnn.training.targets import roi_targets, rpn_targets

STRIDES = (4, 8, 16, 32, 64)
PROPOSALS = 2000
REPEATS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, nargs="+", default=[10, 100, 400, 1200], metavar="N")
    parser.add_argument("--size", type=int, nargs=2, default=[800, 1333], metavar=("H", "W"))
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measure(options.objects[0], *options.size)
        return
    print(f"{'objects':>7}  {'targets of':<10}  {'peak, MB':>8}  {'time, ms':>8}", flush=True)
    for count in options.objects:
        size = [str(side) for side in options.size]
        subprocess.run([sys.executable, __file__, "--one", "--objects", str(count), "--size", *size], check=True)


def measure(count: int, height: int, width: int) -> None:
    """Print a line per stage for one number of objects."""
    config = tfrcnn.preset("resnet50_fpn", (tfrcnn.Category(1, "thing"),)).detector
    anchors = anchors_of(config.anchors, height, width)
    sizes = tf.constant([[float(height), float(width)]])
    generator = np.random.default_rng(0)
    proposals = random_boxes(generator, PROPOSALS, height, width)
    valid = tf.ones([1, PROPOSALS], tf.bool)
    priority = tf.constant(generator.random((1, anchors.shape[0]), np.float32))

    @tf.function(reduce_retracing=True)
    def rpn(boxes: tf.Tensor) -> object:
        return rpn_targets(anchors, boxes, tf.zeros(tf.shape(boxes)[:2], tf.int32), sizes, config.rpn, priority)

    @tf.function(reduce_retracing=True)
    def head(boxes: tf.Tensor) -> object:
        labels = tf.zeros(tf.shape(boxes)[:2], tf.int32)
        drawn = tf.random.uniform([1, PROPOSALS + tf.shape(boxes)[1]])
        return roi_targets(proposals, valid, boxes, labels, config.num_classes, config.head, drawn)

    for name, call in (("the head", head), ("the RPN", rpn)):
        for warm_up in (1, 2):  # the second number of objects makes the function take any
            call(random_boxes(generator, warm_up, height, width))
        boxes = random_boxes(generator, count, height, width)
        before = peak_mb(restart=True)
        call(boxes)
        peak = peak_mb() - before
        seconds = []
        for _ in range(REPEATS):
            started = time.perf_counter()
            call(boxes)
            seconds.append(time.perf_counter() - started)
        print(f"{count:>7}  {name:<10}  {peak:>8.0f}  {1000 * statistics.median(seconds):>8.0f}", flush=True)


def anchors_of(config: tfrcnn.AnchorConfig, height: int, width: int) -> tf.Tensor:
    """Compute the anchors of a feature pyramid: [A, 4]."""
    levels = []
    for level, stride in enumerate(STRIDES):
        base, grid = tf.constant(box_ops.base_anchors(config, level)), [-(-height // stride), -(-width // stride)]
        levels.append(box_ops.grid_anchors(base, tf.constant(grid), tf.constant([stride, stride]), config.offset))
    return tf.concat(levels, axis=0)


def random_boxes(generator: np.random.Generator, count: int, height: int, width: int) -> tf.Tensor:
    """Draw objects of 8 to 64 pixels: [1, count, 4]."""
    corner = generator.uniform((0, 0), (height - 64, width - 64), (count, 2))
    return tf.constant(np.concatenate([corner, corner + generator.uniform(8, 64, (count, 2))], -1)[None], tf.float32)


def peak_mb(restart: bool = False) -> float:
    """Return the peak of resident memory in MB, from now on if `restart`."""
    if restart:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("this benchmark reads VmHWM from /proc/self/status, and there is none")


if __name__ == "__main__":
    main()
