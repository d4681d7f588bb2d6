"""`tfrcnn evaluate`: measure a trained detector on a data set."""

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
            "Default: the metric that the run was trained with, else coco.",
        ),
    ] = None,
    proposals: Annotated[
        bool,
        typer.Option(
            "--proposals",
            help="Measure the RPN's proposals instead of the detections: recall against IoU at 100, 300, 1000 and 2000 "
            "proposals per image, and AR by size.",
        ),
    ] = False,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write numbers and curves as JSON.")] = None,
    plots: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Draw precision_recall.png, confusion.png and predictions.png (images with detections and ground "
            "truth) into this folder; with --proposals recall.png.",
        ),
    ] = None,
) -> None:
    """Measure a trained detector on a data set: the metric's numbers, and a table of the classes.

    The data set's classes are matched by name with the detector's. Proposals have no class, so with --proposals the
    classes do not matter.

    \b
    Example:
      tfrcnn evaluate --model runs/cells --data cells/VOC@test --plots runs/cells/test
      tfrcnn evaluate --model runs/cells --data cells/VOC@test --proposals
    """
    load_tensorflow()
    from tfrcnn.data.read import load_dataset
    from tfrcnn.drawing import plot_confusion, plot_precision_recall
    from tfrcnn.evaluation.evaluate import evaluate as judge
    from tfrcnn.evaluation.report import render, write_json
    from tfrcnn.export.runtimes import KERAS, format_of, load
    from tfrcnn.models.build import read_description
    from tfrcnn.training.run import draw_sheet

    if proposals and metric is not None:
        raise InputError("--metric cannot be combined with --proposals")
    if proposals and format_of(model) != KERAS:
        raise InputError(f"--proposals needs a run folder; {model} gives detections only")
    if metric is None:
        metric = read_description(model)["extra"].get("metric", "coco") if format_of(model) == KERAS else "coco"
    predictor = load(model)
    # proposals have no class, so the data set may have any classes
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
    from tfrcnn.drawing import plot_recall
    from tfrcnn.evaluation.proposals import LIMITS, evaluate_proposals
    from tfrcnn.evaluation.report import render_proposals, write_json

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
