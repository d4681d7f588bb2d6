"""Shared by the benchmarks: data and model, timing of the pipeline, memory."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tfrcnn


def parse(description: str, **defaults: int | str) -> argparse.Namespace:
    """Parse the options of a benchmark; `defaults` are further options, integers or texts."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True, metavar="DATA", help="COCO json or VOCroot@split")
    parser.add_argument("--model", default="mobilenet_v2_fpn")
    parser.add_argument("--mixed-sizes", action="store_true", help="keep the images' aspect and jitter their scale")
    for name, value in {"image_size": 320, "batch_size": 4, **defaults}.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    return parser.parse_args()


def prepare(options: argparse.Namespace) -> tuple[Any, Any, Any]:
    """Return the data set, the detector configuration and the training configuration."""
    dataset = tfrcnn.load_dataset(options.train)
    preset = tfrcnn.preset(options.model, dataset.categories)
    image = preset.detector.image.replace(min_size=options.image_size, max_size=2 * options.image_size)
    jitter = (0.6, 1.4)
    if not options.mixed_sizes:
        image, jitter = image.replace(static_size=(options.image_size, options.image_size)), (1.0, 1.0)
    training = preset.training.replace(batch_size=options.batch_size, scale_jitter=jitter)
    return dataset, preset.detector.replace(image=image), training


def timed(batches: Iterator[Any], count: int) -> tuple[float, set[tuple[int, ...]]]:
    """Return the seconds per batch over `count` batches, and the image shapes."""
    started = time.perf_counter()
    shapes = {tuple(next(batches)["images"].shape) for _ in range(count)}
    return (time.perf_counter() - started) / count, shapes


def resident_mb() -> float:
    """Return the resident memory of this process in MB."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("this benchmark reads VmRSS from /proc/self/status, and there is none")
