"""Compute how the time per training step grows with the number of machines.

    python benchmarks/scale_out.py --step-ms 250

This is arithmetic, not a measurement. Each machine computes its part of the batch in the same time, then a ring adds up
the gradients of the trained weights: 2 (N - 1) / N times their bytes through each machine's network. The sum begins
after the backward pass, as Keras does it. The efficiency is step / (step + sum).
"""

from __future__ import annotations

import argparse

import tfrcnn

MACHINES = (2, 4, 8, 16)
RATES = (10, 25, 100)  # Gb/s


def ring_seconds(size: float, machines: int, rate: float) -> float:
    """Return the time of an all-reduce.

    Args:
        size: bytes of the gradients.
        machines: N.
        rate: of each machine's network, Gb/s.
    """
    return 2 * (machines - 1) / machines * size * 8 / (rate * 1e9)


def gradient_bytes(name: str, classes: int) -> int:
    """Return the bytes of the gradients that a preset's training adds up, float32."""
    categories = tuple(tfrcnn.Category(i + 1, str(i)) for i in range(classes))
    preset = tfrcnn.preset(name, categories)
    detector = tfrcnn.build_detector(preset.detector)
    tfrcnn.freeze(detector, preset.training)
    return 4 * sum(int(variable.shape.num_elements() or 0) for variable in detector.trainable_weights)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step-ms", type=float, required=True, help="time per step of one machine, for its part")
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--presets", nargs="+", default=["mobilenet_v2_fpn", "resnet50_fpn", "vgg16"])
    options = parser.parse_args()
    print("| preset | gradients | network |" + "".join(f" {n} machines |" for n in MACHINES))
    print("|---|---:|---:|" + "---:|" * len(MACHINES))
    for name in options.presets:
        size = gradient_bytes(name, options.classes)
        for rate in RATES:
            sums = [1000 * ring_seconds(size, machines, rate) for machines in MACHINES]
            cells = (f" {ms:.0f} ms, {options.step_ms / (options.step_ms + ms):.0%} |" for ms in sums)
            print(f"| `{name}` | {size / 1e6:.0f} MB | {rate} Gb/s |" + "".join(cells), flush=True)


if __name__ == "__main__":
    main()
