"""Figure 4: recall against IoU of 300, 1000 and 2000 proposals of the RPN.

    python benchmarks/paper/figure4.py --train VOC2007@trainval --val VOC2007@test --test VOC2007@test --model zf \\
        --backbone-weights FILE --epochs 16 --out runs/figure4

The program trains an RPN alone and measures it on the test data. The paper gives no numbers: it says that recall drops
gracefully from 2000 to 300 proposals, and that the recall of Selective Search and EdgeBoxes drops more quickly.
`tfrcnn evaluate --proposals --plots DIR` draws the same figure for a trained detector.
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
    evaluation = tfrcnn.evaluate_proposals(experiment.test, proposals, LIMITS)
    plot_recall(evaluation, experiment.out / "figure4.png")
    header = ["figure 4: proposals", "paper", *(f"recall at {iou:.2f}, %" for iou in evaluation.iou_thresholds)]
    pairs = zip(evaluation.limits, evaluation.recall)
    rows = [[str(limit), "a curve", *map(percent, recall)] for limit, recall in pairs]
    print(f"\n{table(header, rows)}\n\n{experiment.out / 'figure4.png'}")


if __name__ == "__main__":
    run(main)
