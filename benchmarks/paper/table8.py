"""Table 8: the number of scales and ratios of the anchors.

    python benchmarks/paper/table8.py --train VOC2007@trainval --val VOC2007@test --test VOC2007@test --model vgg16 \\
        --scheme alternating --epochs 32 --out runs/table8

The smallest and the middle one of the model's three sizes stand for the paper's 128 and 256 pixels, and all three for
the paper's three scales.
"""

from __future__ import annotations

from collections.abc import Sequence

from experiment import HEADER, Experiment, parse, row, run, table

import tfrcnn

# scales (positions among the model's sizes), ratios, the paper's mAP on VOC07 test with VGG-16
SETTINGS = (
    ((0,), (1.0,), 65.8),
    ((1,), (1.0,), 66.7),
    ((0,), (2.0, 1.0, 0.5), 68.8),
    ((1,), (2.0, 1.0, 0.5), 67.9),
    ((0, 1, 2), (1.0,), 69.8),
    ((0, 1, 2), (2.0, 1.0, 0.5), 69.9),
)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(__doc__ or "", arguments, scheme="joint")
    experiment = Experiment(options)
    anchors = experiment.config.anchors
    (sizes,) = anchors.sizes
    if len(sizes) != 3:
        raise tfrcnn.InputError(
            f"--model: expected a model with three anchor sizes, found {len(sizes)} in {options.model}"
        )
    rows = []
    for scales, ratios, paper in SETTINGS:
        chosen = tuple(sizes[i] for i in scales)
        scale = f"{len(scales)} scale{'s'[: len(scales) - 1]} ({', '.join(f'{size:g}' for size in chosen)})"
        name = f"{scale}, {len(ratios)} ratio{'s'[: len(ratios) - 1]}"
        folder = experiment.train(
            "-".join(f"{size:g}" for size in chosen) + f"x{len(ratios)}",
            options.scheme,
            anchors=anchors.replace(sizes=(chosen,), ratios=ratios),
        )
        rows.append(row(name, paper, experiment.measure(folder)))
    print(f"\n{table(('table 8: anchors', 'paper: mAP, %', *HEADER), rows)}")


if __name__ == "__main__":
    run(main)
