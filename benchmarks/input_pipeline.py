"""Measure the input pipeline alone: images per second, by its augmentations.

    TF_CPP_MIN_LOG_LEVEL=2 python benchmarks/input_pipeline.py --train DATA [--mixed-sizes] [--batches 100]
    TF_CPP_MIN_LOG_LEVEL=2 python benchmarks/input_pipeline.py --train DATA --each 1 [--step-ms MS]

The variants take turns, and the median over the rounds is printed. The benchmark takes about a minute on 2 CPU cores.
--each 1 turns on one augmentation at a time, and prints its cost against none. --step-ms takes the time of a training
step from train_step.py, and prints how many times faster than the step the pipeline is: it should be at least 3.
--feeders HOST:PORT,... lets `tfrcnn feed` make the batches.
"""

from __future__ import annotations

import statistics
from typing import Any

from common import parse, prepare, timed

import tfrcnn

VARIANTS: dict[str, dict[str, Any]] = {
    "decode, resize, pad": {"horizontal_flip": False, "color_jitter": 0.0, "scale_jitter": (1.0, 1.0)},
    "and flip": {"color_jitter": 0.0, "scale_jitter": (1.0, 1.0)},
    "and flip, colour": {"color_jitter": 0.2, "scale_jitter": (1.0, 1.0)},
    "and flip, colour, scale, crop": {"color_jitter": 0.2, "scale_jitter": (0.6, 1.4), "random_crop": 0.5},
}
PLAIN = VARIANTS["decode, resize, pad"]
EACH = {
    "horizontal_flip": True,
    "vertical_flip": True,
    "quarter_turns": True,
    "random_crop": 0.5,
    "scale_jitter": (0.6, 1.4),
    "mosaic": 0.5,
    "rotation": 10.0,
    "shear": 10.0,
    "copy_paste": 0.5,
    "mixup": 0.5,
    "color_jitter": 0.2,
    "blur": 2.0,
    "noise": 10.0,
    "cutout": 0.5,
}

WARM_UP = 10  # batches: the buffers are full at first, or not yet


def main() -> None:
    options = parse(__doc__ or "", batches=100, rounds=3, each=0, step_ms=0, feeders="")
    dataset, detector, training = prepare(options)
    feeders = options.feeders.split(",") if options.feeders else ()
    steps = WARM_UP + options.batches + 10  # feeders end after the last epoch
    training = training.replace(epochs=1 + steps * options.batch_size // len(dataset) * 2)
    variants = VARIANTS
    if options.each:
        variants = {"none": PLAIN, **{name: {**PLAIN, name: value} for name, value in EACH.items()}}
        variants["all"] = {**PLAIN, **EACH}
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(options.rounds):
        for name, changes in variants.items():
            # one at a time: an iterator that waits fills its buffers, and takes the cores from the one that is timed
            data = tfrcnn.training_data(dataset, detector.image, training.replace(**changes), feeders=feeders)
            batches = iter(data.batches())
            timed(batches, WARM_UP)
            seconds[name].append(timed(batches, options.batches)[0])
            del batches
    print(f"{options.image_size} px, batch {options.batch_size}, {len(dataset)} images")
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, batch in medians.items():
        cost = f"{batch / next(iter(medians.values())):8.2f} x the time of the first" if options.each else ""
        step = f"{options.step_ms / 1000 / batch:8.1f} x as fast as a step" if options.step_ms else ""
        print(f"{name:32}{options.batch_size / batch:8.0f} images/s{cost}{step}")


if __name__ == "__main__":
    main()
