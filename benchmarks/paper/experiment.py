"""Shared by the paper's experiments: options, a run folder per row, measuring and printing."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras

import tfrcnn
from tfrcnn.training.folder import SETUP
from tfrcnn.training.start import NO_FILES, starting_weights, unfrozen


class Scores(NamedTuple):
    """The scores of a detector on the test data.

    Attributes:
        voc07: mAP of VOC 2007, None without objects.
        ap50: COCO's AP50, None without objects.
        ap: COCO's AP, None without objects.
        proposals: proposals per image.
        recall50: recall of these proposals at IoU 0.5.
        recall70: recall of these proposals at IoU 0.7.
    """

    voc07: float | None
    ap50: float | None
    ap: float | None
    proposals: int
    recall50: float
    recall70: float


HEADER = ("VOC07 mAP, %", "AP50, %", "AP, %", "proposals", "recall at 0.5, %", "recall at 0.7, %")


def parse(description: str, arguments: Sequence[str] | None = None, **defaults: Any) -> argparse.Namespace:
    """Parse the options of an experiment; `defaults` are further options."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("train", "val", "test"):
        parser.add_argument(f"--{name}", required=True, metavar="DATA", help="COCO json or VOCroot@split")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder for one run folder per row")
    parser.add_argument("--model", default="vgg16", help="preset without a feature pyramid, or preset file")
    parser.add_argument("--backbone-weights", metavar="imagenet|none|FILE", help="default: see tfrcnn train")
    for name in ("image-size", "epochs", "batch-size"):
        parser.add_argument(f"--{name}", type=int, metavar="N", help="default: the model's")
    parser.add_argument("--seed", type=int, default=0)
    for name, value in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    return parser.parse_args(arguments)


class Experiment:
    """The data sets and the model of a table.

    A trained row is loaded, an interrupted row resumes, and a row trained with other options is an error of
    `tfrcnn.train`.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.out: Path = options.out
        self.train_data = tfrcnn.load_dataset(options.train)
        categories = self.train_data.categories
        self.val = tfrcnn.load_dataset(options.val, categories=categories)
        self.test = tfrcnn.load_dataset(options.test, categories=categories)
        preset = tfrcnn.preset(options.model, categories, options.image_size)
        if preset.detector.fpn is not None:
            raise tfrcnn.InputError(f"--model: expected a model without a feature pyramid, found {options.model}")
        overrides = {name: getattr(options, name) for name in ("epochs", "batch_size", "seed")}
        self.config = preset.detector
        weights = starting_weights(options.backbone_weights, preset.detector)
        training = (unfrozen(preset) if weights == "none" else preset).training
        self.training = training.replace(**{name: value for name, value in overrides.items() if value is not None})
        self.weights = weights if weights in NO_FILES else os.path.abspath(weights)

    def train(self, row: str, scheme: str = "joint", **changes: Any) -> Path:
        """Train the detector of one row.

        Args:
            row: the name of its folder.
            scheme: the training scheme.
            **changes: fields of the detector's configuration.

        Returns:
            The run folder.
        """
        folder = self.out / row
        print(f"\n{folder}: {scheme}", flush=True)
        keras.utils.set_random_seed(self.training.seed)  # rows share the start of common weights
        detector = tfrcnn.build_detector(self.config.replace(**changes), self.weights)
        if detector.weights_note:
            print(detector.weights_note)
        if scheme in ("unshared", "fast-rcnn-only"):
            detector = tfrcnn.unshare(detector)
        resume = (folder / SETUP).is_file()
        training = self.training.replace(scheme=scheme)
        recorded = {"backbone_weights": self.weights}  # the configurations hold the rest
        tfrcnn.train(detector, self.train_data, self.val, folder, training, resume=resume, options=recorded)
        return folder

    def measure(self, folder: Path, **changes: Any) -> Scores:
        """Measure the detector of a run on the test data; `changes` are keywords of `tfrcnn.load_detector`."""
        print(f"measuring {folder}", flush=True)
        detector = tfrcnn.load_detector(folder, **changes)
        predictor = tfrcnn.Predictor(detector)
        detections = predictor.detect_dataset(self.test)
        coco = tfrcnn.evaluate(self.test, detections).headline
        voc07 = tfrcnn.evaluate(self.test, detections, "voc07").headline
        count = detector.config.test_proposals.post_nms_top_n
        evaluation = tfrcnn.evaluate_proposals(self.test, predictor.propose_dataset(self.test), [count])
        recall = dict(zip(evaluation.iou_thresholds.round(2).tolist(), evaluation.recall[0]))
        return Scores(voc07["mAP"], coco["AP50"], coco["AP"], count, recall[0.5], recall[0.7])


def row(name: str, paper: float | None, scores: Scores) -> list[str]:
    """Format a row of a table: its name, the paper's mAP, and the scores."""
    measured = [*map(percent, scores[:3]), str(scores.proposals), *map(percent, scores[4:])]
    return [name, "-" if paper is None else f"{paper:.1f}", *measured]


def percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a Markdown table with right-aligned numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def run(main: Callable[[], None]) -> None:
    """Run a program. A user error prints one message and exits with code 2."""
    try:
        main()
    except tfrcnn.InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
