"""Table 10: two stages against one stage that classifies dense sliding windows, as OverFeat does.

    python benchmarks/paper/table10.py --train VOC2007@trainval --val VOC2007@test --test VOC2007@test --model zf \\
        --backbone-weights FILE --epochs 32 --out runs/table10

As in section 4.1 of the paper, the one stage is Fast R-CNN. It is trained and tested on dense windows in place of
proposals: the model's anchors, with three scales and three ratios at each cell. It outputs class scores and a box per
class. The two stages are the unshared networks, as in the paper. The paper's one-stage system also used a pyramid of
five image sizes (53.9); this program uses one size.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
from experiment import HEADER, Experiment, parse, row, run, table

import tfrcnn
from tfrcnn.config import DetectorConfig, ProposalConfig
from tfrcnn.images import padded_size, resized_size
from tfrcnn.models.build import anchor_strides


def dense_windows(config: DetectorConfig, data: Sequence[tfrcnn.Dataset]) -> ProposalConfig:
    """Return proposal options that keep all anchors of the largest image unchanged."""
    sizes = {(example.height, example.width) for dataset in data for example in dataset.examples}
    inputs = [padded_size(resized_size(tf.constant(size), config.image), config.image).numpy() for size in sizes]
    (stride,) = anchor_strides(config)
    cells = max(-(-int(height) // stride) * -(-int(width) // stride) for height, width in inputs)
    count = cells * config.anchors.per_cell
    return ProposalConfig(count, count, nms_iou=1.0, use_deltas=False)


def main(arguments: Sequence[str] | None = None) -> None:
    experiment = Experiment(parse(__doc__ or "", arguments))
    two_stage = experiment.train("two-stage", "unshared")
    windows = dense_windows(experiment.config, (experiment.train_data, experiment.val, experiment.test))
    one_stage = experiment.train("one-stage", "fast-rcnn-only", train_proposals=windows, test_proposals=windows)
    rows = [
        row("two stages: RPN, Fast R-CNN, unshared", 58.7, experiment.measure(two_stage)),
        row("one stage: dense windows, 3 scales, 3 ratios", 53.8, experiment.measure(one_stage)),
    ]
    print(f"\n{table(('table 10', 'paper: mAP, %', *HEADER), rows)}")


if __name__ == "__main__":
    run(main)
