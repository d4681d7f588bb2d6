"""Figure 4: recall of the RPN's proposals against IoU, at 300, 1000 and 2000 of them.

    python benchmarks/paper/figure4.py --train VOC2007@trainval --val VOC2007@test --test VOC2007@test --model zf \\
        --backbone-weights FILE --epochs 16 --out runs/figure4

Trains an RPN alone and judges it on the test data. The paper gives no numbers: it says that recall drops gracefully
from 2000 to 300 proposals, while that of Selective Search and EdgeBoxes drops more quickly. Of a detector that there is
already, `tfrcnn evaluate --proposals --plots DIR` draws the same figure.
"""

from __future__ import annotations

from collections.abc import Sequence

from experiment import Experiment, parse, percent, run, table

import tfrcnn
from tfrcnn.drawing import plot_recall

LIMITS = (300, 1000, 2000)


def main(arguments: Sequence[str] | None = None) -> None:
    experiment = Experiment(parse(__doc__ or "", arguments))
    predictor = tfrcnn.Predictor(tfrcnn.load_detector(experiment.train("rpn", "rpn-only")))
    proposals = predictor.propose_dataset(experiment.test, LIMITS[-1])
    found = tfrcnn.evaluate_proposals(experiment.test, proposals, LIMITS)
    plot_recall(found, experiment.out / "figure4.png")
    header = ["figure 4: proposals", "paper", *(f"recall at {iou:.2f}, %" for iou in found.iou_thresholds)]
    rows = [[str(limit), "a curve", *map(percent, recall)] for limit, recall in zip(found.limits, found.recall)]
    print(f"\n{table(header, rows)}\n\n{experiment.out / 'figure4.png'}")


if __name__ == "__main__":
    run(main)
