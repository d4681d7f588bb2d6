"""Train detectors with and without an option, on data where the option should help.

    python benchmarks/what_helps.py --out runs/what_helps --tables rare small long tight-boxes copy-paste

Every row is `tiny_fpn` on digit scenes that this program makes, from random weights, with the options of `tfrcnn demo`:
two minutes on two CPU cores. Each table ends with its rows, one column per number, one number per seed. A row
that is complete is not trained again, and an interrupted one resumes.

    rare         400 scenes, in which one class has 20 % of its objects
    small        digits of 8 to 11 px at the network's size
    long         digits of 8:1
    tight-boxes  the usual scenes: GIoU, a cascade
    copy-paste   50 scenes, 72 epochs
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import tfrcnn
from tfrcnn.data.digits import NAMES, make_digit_scenes
from tfrcnn.demo import training_on_digits

SCENES = {"train": 400, "val": 20, "test": 240}
RARE = "nine"
SHARE = 0.2  # of the rare class's objects that stay
GIOU_HEAD = {"detector.head.box_loss.name": "giou", "detector.head.box_loss_weight": 10.0}
AGNOSTIC = {"detector.head.class_agnostic": True}

# By table: options of `make_digit_scenes`, epochs, numbers to print, and the changes of each row.
TABLES: dict[str, tuple[dict[str, Any], int, tuple[str, ...], dict[str, dict[str, Any]]]] = {
    "rare": (
        {},
        9,
        (f"AP of {RARE}", f"AP50 of {RARE}", "AP"),
        {
            "nothing": {},
            "training.epochs=10": {"training.epochs": 10},  # as many steps as repeat factors take
            "training.repeat_factor_threshold=0.3": {"training.repeat_factor_threshold": 0.3},
            "training.class_weights=balanced": {"training.class_weights": "balanced"},
            "detector.head.class_loss.name=focal": {"detector.head.class_loss.name": "focal"},
        },
    ),
    "small": (
        {"heights": (12, 16)},
        9,
        ("AP", "AP50", "AP75"),
        {"nothing": {}, "--anchors auto": {"detector.anchors": "auto"}},
    ),
    "long": (
        {"heights": (8, 13), "aspect": 8.0},
        9,
        ("AP", "AP50", "AP75"),
        {"nothing": {}, "--anchors auto": {"detector.anchors": "auto"}},
    ),
    "tight-boxes": (
        {},
        9,
        ("AP", "AP50", "AP75"),
        {
            "nothing": {},
            "GIoU in the head": GIOU_HEAD,
            "GIoU in the head and the RPN": {**GIOU_HEAD, "detector.rpn.box_loss.name": "giou"},
            "class_agnostic": AGNOSTIC,
            "class_agnostic, cascade": {**AGNOSTIC, "detector.head.cascade": {}},
        },
    ),
    "copy-paste": (
        {"train": 50},
        72,
        ("AP", "AP50", "AP75"),
        {"nothing": {}, "training.copy_paste=0.5": {"training.copy_paste": 0.5}},
    ),
}


def scenes(table: str, folder: Path, trial: int | None) -> dict[str, Path]:
    """Make the data of a table, or take what is there: JSON files by split. A trial has as many scenes of each."""
    paths = {split: folder / f"instances_{split}.json" for split in SCENES}
    if not all(path.is_file() for path in paths.values()):
        sizes = dict.fromkeys(SCENES, trial) if trial else {}
        make_digit_scenes(folder, **{**SCENES, **TABLES[table][0], **sizes})
        if table == "rare":
            thin(paths["train"])
    return paths


def thin(path: Path) -> None:
    """Remove images of the rare class from a JSON file until `SHARE` of its objects are left."""
    content = json.loads(path.read_text())
    rare = next(category["id"] for category in content["categories"] if category["name"] == RARE)
    objects = {image["id"]: 0 for image in content["images"]}
    for annotation in content["annotations"]:
        objects[annotation["image_id"]] += annotation["category_id"] == rare
    left, keep = sum(objects.values()), round(SHARE * sum(objects.values()))
    removed = set()
    for image in np.random.default_rng(0).permutation([image for image, count in objects.items() if count]).tolist():
        if left - objects[image] >= keep:
            left -= objects[image]
            removed.add(image)
    content["images"] = [image for image in content["images"] if image["id"] not in removed]
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] not in removed]
    path.write_text(json.dumps(content))


def trained(folder: Path, paths: dict[str, Path], epochs: int, seed: int, changes: dict[str, Any]) -> tfrcnn.Run:
    """Train the detector of a row and a seed, or load it."""
    training = training_on_digits(epochs).replace(seed=seed)
    recipe = tfrcnn.Recipe(
        str(paths["train"]), str(paths["val"]), model="tiny_fpn", backbone_weights="none", training=training
    )
    resume = (folder / "training.json").is_file()
    return recipe.replace(changes=changes).run(folder, resume=resume, log=lambda line: None)


def scores(run: tfrcnn.Run, test: tfrcnn.Dataset) -> dict[str, float | None]:
    """Measure a run on the test scenes."""
    result = tfrcnn.evaluate(test, tfrcnn.Predictor(run.detector).detect_dataset(test))
    rare = result.per_class[NAMES.index(RARE)].metrics
    return {**result.headline, f"AP of {RARE}": rare["AP"], f"AP50 of {RARE}": rare["AP50"]}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for data and runs")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--scenes", type=int, metavar="N", help="of each set, for a trial; default: the table's")
    parser.add_argument("--epochs", type=int, metavar="N", help="default: the table's")
    options = parser.parse_args(arguments)
    for table in options.tables:
        _, epochs, numbers, rows = TABLES[table]
        paths = scenes(table, options.out / "data" / table, options.scenes)
        test = tfrcnn.load_dataset(str(paths["test"]))
        measured: dict[str, list[dict[str, float | None]]] = {name: [] for name in rows}
        for seed in options.seeds:
            for row, changes in rows.items():
                folder = options.out / table / f"{row.replace(' ', '_')}-{seed}"
                print(f"\n{table}: {row}, seed {seed}", flush=True)
                run = trained(folder, paths, options.epochs or epochs, seed, changes)
                measured[row].append(scores(run, test))
        lines = [[table, *numbers], ["---"] * (1 + len(numbers))]
        for row, results in measured.items():
            lines.append([row, *(", ".join(_number(result[name]) for result in results) for name in numbers)])
        print("\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines), flush=True)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    try:
        main()
    except tfrcnn.InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
