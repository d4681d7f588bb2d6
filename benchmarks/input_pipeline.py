"""Measure the input pipeline alone: images per second, by its augmentations.

    TF_CPP_MIN_LOG_LEVEL=2 python benchmarks/input_pipeline.py --train DATA [--mixed-sizes] [--batches 100]

The variants take turns, and the median over the rounds is printed. The benchmark takes about a minute on 2 CPU cores.
"""

from __future__ import annotations

import statistics

from common import parse, prepare, timed

import tfrcnn

VARIANTS = {
    "decode, resize, pad": {"horizontal_flip": False, "color_jitter": 0.0, "scale_jitter": (1.0, 1.0)},
    "and flip": {"color_jitter": 0.0, "scale_jitter": (1.0, 1.0)},
    "and flip, colour": {"color_jitter": 0.2, "scale_jitter": (1.0, 1.0)},
    "and flip, colour, scale, crop": {"color_jitter": 0.2, "scale_jitter": (0.6, 1.4), "random_crop": 0.5},
}


def main() -> None:
    options = parse(__doc__ or "", batches=100, rounds=3)
    dataset, detector, training = prepare(options)
    iterators = {}
    for name, changes in VARIANTS.items():
        iterators[name] = iter(tfrcnn.training_data(dataset, detector.image, training.replace(**changes)).batches())
        next(iterators[name])
    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(options.rounds):
        for name, batches in iterators.items():
            seconds[name].append(timed(batches, options.batches)[0])
    print(f"{options.image_size} px, batch {options.batch_size}, {len(dataset)} images")
    for name, values in seconds.items():
        print(f"{name:32}{options.batch_size / statistics.median(values):8.0f} images/s")


if __name__ == "__main__":
    main()
