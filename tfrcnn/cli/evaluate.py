"""`tfrcnn evaluate`: how good a trained detector is on a data set."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tfrcnn.cli.options import Data, Images, Metric, Model
from tfrcnn.cli.startup import load_tensorflow
from tfrcnn.errors import InputError

if TYPE_CHECKING:
    from tfrcnn.data.example import Dataset
    from tfrcnn.inference import Predictor


def evaluate(
    model: Model,
    data: Data,
    images: Images = None,
    metric: Annotated[
        Metric | None,
        typer.Option(
            help="coco: pycocotools' twelve numbers; voc: area under the curve; voc07: 11 points; both at IoU 0.5. "
            "Default: the one the run was trained with, else coco.",
        ),
    ] = None,
    proposals: Annotated[
        bool,
        typer.Option(
            "--proposals",
            help="Judge the RPN's proposals instead of the detections: recall against IoU at 100, 300, 1000 and 2000 "
            "proposals an image, and AR by size.",
        ),
    ] = False,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all numbers and curves as JSON too.")] = None,
    plots: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Draw into this folder: precision_recall.png, confusion.png, and predictions.png, a sheet of images "
            "with detections and ground truth; with --proposals recall.png.",
        ),
    ] = None,
) -> None:
    """Measure a trained detector on a data set: the metric's numbers, and a table of the classes.

    The data set's classes are matched by name with those that the detector was trained on; with --proposals, which
    have no class, they do not matter.

    \b
    Example:
      tfrcnn evaluate --model runs/cells --data cells/VOC@test --plots runs/cells/test
      tfrcnn evaluate --model runs/cells --data cells/VOC@test --proposals
    """
    load_tensorflow()
    from tfrcnn.data.read import load_dataset
    from tfrcnn.evaluation.evaluate import evaluate as judge
    from tfrcnn.evaluation.report import plot_confusion, plot_precision_recall, render, write_json
    from tfrcnn.export.runtimes import KERAS, format_of, load
    from tfrcnn.models.build import read_description
    from tfrcnn.training.run import draw_sheet

    if proposals and metric is not None:
        raise InputError(f"--metric {metric} is of detections: leave it out with --proposals")
    if proposals and format_of(model) != KERAS:
        raise InputError(f"--proposals needs a run folder, whose RPN can be asked; {model} gives detections only")
    if metric is None:
        metric = read_description(model)["extra"].get("metric", "coco") if format_of(model) == KERAS else "coco"
    predictor = load(model)
    # proposals have no class: the objects of any data set can be looked for
    dataset = load_dataset(data, images, None if proposals else predictor.categories)
    if proposals:
        _evaluate_proposals(predictor, dataset, {"model": str(model), "data": data}, json, plots)
        return
    detections = predictor.detect_dataset(dataset, progress=sys.stderr.isatty())
    evaluation = judge(dataset, detections, metric)
    print(render(evaluation))
    if json is not None:
        write_json(json, evaluation, {"model": str(model), "data": data})
        print(f"Numbers and curves are in {json}.")
    if plots is not None:
        plot_precision_recall(evaluation, plots / "precision_recall.png")
        plot_confusion(dataset, detections, plots / "confusion.png")
        draw_sheet(predictor, dataset, plots / "predictions.png")
        print(f"precision_recall.png, confusion.png and predictions.png are in {plots}.")


def _evaluate_proposals(
    predictor: Predictor, dataset: Dataset, source: dict[str, str], json: Path | None, plots: Path | None
) -> None:
    from tfrcnn.evaluation.proposals import LIMITS, evaluate_proposals
    from tfrcnn.evaluation.report import plot_recall, render_proposals, write_json

    evaluation = evaluate_proposals(
        dataset, predictor.propose_dataset(dataset, LIMITS[-1], progress=sys.stderr.isatty())
    )
    print(render_proposals(evaluation))
    if json is not None:
        write_json(json, evaluation, source)
        print(f"Numbers and curves are in {json}.")
    if plots is not None:
        plot_recall(evaluation, plots / "recall.png")
        print(f"recall.png is in {plots}.")
