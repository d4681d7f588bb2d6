"""Table 5: the time of a detection by stage.

    python benchmarks/paper/table5.py --model vgg16 --model zf [--data VOC2007@test]

The columns are the paper's: "conv" is the shared layers, "proposal" the layers of the RPN, and "region-wise" the choice
of proposals with NMS, pooling, fully connected layers, softmax and the rest. "prepare" is resizing and normalising. The
paper's table does not have it, so the total here excludes it. `tfrcnn benchmark` measures the same stages, and other
runtimes too. Models are presets (with random weights and 20 classes), preset files or run folders.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from experiment import run, table

import tfrcnn
from tfrcnn.data.decode import read_image
from tfrcnn.export.measure.benchmark import stage_milliseconds

COLUMNS = {
    "prepare": ("preprocessing",),
    "conv": ("backbone",),
    "proposal": ("rpn",),
    "region-wise": ("proposals", "roi_align", "head", "detections"),
}
# conv, proposal, region-wise, total: milliseconds on a K40 GPU, RPN + Fast R-CNN
PAPER = {"vgg16": (141, 10, 47, 198), "zf": (31, 3, 25, 59)}
SHAPE = (600, 1000, 3)  # the picture without --data; the paper's networks do not resize it


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", required=True, help="preset, preset file or run folder; repeatable")
    parser.add_argument("--data", metavar="DATA", help="measure its first picture; default: noise of 600 x 1000")
    parser.add_argument("--rounds", type=int, default=10)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    picture = np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)
    if options.data:
        picture = read_image(tfrcnn.load_dataset(options.data).examples[0].path)
    rows = []
    for model in options.model:
        times = measured(model, picture, options.rounds)
        total = sum(time for column, time in times.items() if column != "prepare")
        if name := PAPER.get(model):
            rows.append([f"{model}, paper, K40", "", *map(str, name)])
        rows.append([f"{model}, here", *(f"{time:.0f}" for time in (*times.values(), total))])
    height, width = picture.shape[:2]
    print(f"{height} x {width} pixels, {os.cpu_count()} cores, medians of {options.rounds}\n")
    print(table(("table 5: ms", *COLUMNS, "total"), rows))


def measured(model: str, picture: np.ndarray, rounds: int) -> dict[str, float]:
    """Return the milliseconds per column of the table."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(model)
        if not path.is_dir():
            path = Path(folder)
            categories = tuple(tfrcnn.Category(i + 1, f"class {i}") for i in range(20))
            tfrcnn.save_detector(tfrcnn.build_detector(tfrcnn.preset(model, categories).detector), path)
        stages = stage_milliseconds(path, "Keras", os.cpu_count() or 1, picture, rounds)
    return {column: sum(stages[stage] for stage in names) for column, names in COLUMNS.items()}


if __name__ == "__main__":
    run(main)
