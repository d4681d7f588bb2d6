"""Table 9: lambda, the weight of the RPN's box loss in equation (1).

    python benchmarks/paper/table9.py --train VOC2007@trainval --val VOC2007@test --test VOC2007@test --model vgg16 \\
        --scheme alternating --epochs 32 --out runs/table9
"""

from __future__ import annotations

from collections.abc import Sequence

from experiment import HEADER, Experiment, parse, row, run, table

# the paper's mAP on VOC07 test with VGG-16
PAPER = {0.1: 67.2, 1.0: 68.9, 10.0: 69.9, 100.0: 69.1}
N_CLS, N_REG = 256, 2400  # equation (1); `tfrcnn.training.losses` divides both losses by N_cls


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(__doc__ or "", arguments, scheme="joint")
    experiment = Experiment(options)
    rows = []
    for value, paper in PAPER.items():
        rpn = experiment.config.rpn.replace(box_loss_weight=value * N_CLS / N_REG)
        folder = experiment.train(f"lambda-{value:g}", options.scheme, rpn=rpn)
        rows.append(row(f"{value:g}", paper, experiment.measure(folder)))
    print(f"\n{table(('table 9: lambda', 'paper: mAP, %', *HEADER), rows)}")


if __name__ == "__main__":
    run(main)
