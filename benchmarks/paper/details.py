"""The details of section 3.1.3 and 3.3, each switched off once in the training of a small RPN.

    python benchmarks/paper/details.py --work /tmp/details --out notebooks/measured/details.json

The data are digit scenes. The model has one map and nine anchors per cell, as in the paper, and a stride of 8 pixels.
Only the RPN's losses are minimised. The measure is the recall of its best 30 proposals in test scenes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

import tfrcnn
from tfrcnn.demo import digit_datasets
from tfrcnn.files import atomic

LIMIT = 30  # proposals per image
# detail -> (what is changed, the line that changes it)
DETAILS = {
    "as in the paper": "",
    "anchors across the boundary train too": "rpn.replace(ignore_cross_boundary=False)",
    "no momentum": "training.replace(momentum=0.0)",
    "no weight decay": "training.replace(weight_decay=0.0)",
    "weights from N(0, 0.1)": "variable.assign(10 * variable)",
    "no step of the learning rate": "training.replace(milestones=())",
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True, type=Path, metavar="DIR", help="folder of scenes and runs")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="JSON file of the results")
    parser.add_argument("--scenes", type=int, default=120, metavar="N", help="training scenes")
    parser.add_argument("--epochs", type=int, default=6, metavar="N")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="trainings per row")
    options = parser.parse_args(arguments)
    datasets = digit_datasets(options.work, {"train": options.scenes, "val": 10, "test": 60})
    results = {"scenes": options.scenes, "epochs": options.epochs, "rows": []}
    for seed in range(options.seeds):
        for name, line in DETAILS.items():
            scores = measure(datasets, options.work / f"{seed}-{name}", name, options.epochs, seed)
            results["rows"].append({"detail": name, "line": line, "seed": seed, **scores})
            print(f"seed {seed}  {name:40} {scores}", flush=True)
            options.out.parent.mkdir(parents=True, exist_ok=True)
            with atomic(options.out) as temporary:
                temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def measure(datasets: dict[str, Any], folder: Path, name: str, epochs: int, seed: int) -> dict[str, float]:
    """Train an RPN without one detail, and return its last training loss and its recall."""
    preset = tfrcnn.preset("tiny_fpn", datasets["train"].categories)
    rpn = preset.detector.rpn
    config = preset.detector.replace(
        preset="custom",
        backbone=tfrcnn.BackboneConfig("tiny", taps=("stage2_out",)),
        fpn=None,
        anchors=tfrcnn.AnchorConfig(sizes=((16.0, 28.0, 48.0),)),
        rpn=rpn.replace(ignore_cross_boundary=True, match=rpn.match.replace(samples=64)),
    )
    training = preset.training.replace(
        scheme="rpn-only",
        epochs=epochs,
        batch_size=4,
        learning_rate=0.15,
        weight_decay=5e-4,
        schedule="step",
        milestones=(0.75,),
        warmup_steps=20,
        seed=seed,
    )
    if name == "anchors across the boundary train too":
        config = config.replace(rpn=config.rpn.replace(ignore_cross_boundary=False))
    elif name == "no momentum":
        training = training.replace(momentum=0.0)
    elif name == "no weight decay":
        training = training.replace(weight_decay=0.0)
    elif name == "no step of the learning rate":
        training = training.replace(milestones=())
    keras.utils.set_random_seed(seed)
    detector = tfrcnn.build_detector(config)
    if name == "weights from N(0, 0.1)":
        for variable in detector.rpn_head.trainable_weights:
            variable.assign(10 * variable)
    run = tfrcnn.train(detector, datasets["train"], datasets["val"], folder, training)
    proposals = tfrcnn.Predictor(run.detector).propose_dataset(datasets["test"], LIMIT)
    evaluation = tfrcnn.evaluate_proposals(datasets["test"], proposals, [LIMIT])
    recall = dict(zip(evaluation.iou_thresholds.round(2).tolist(), evaluation.recall[0].tolist()))
    return {
        "loss": round(float(run.history[-1]["loss"]), 4),
        "recall50": round(recall[0.5], 3),
        "recall70": round(recall[0.7], 3),
        "AR": round(float(evaluation.average_recall[f"AR@{LIMIT}"]), 3),
    }


if __name__ == "__main__":
    main()
