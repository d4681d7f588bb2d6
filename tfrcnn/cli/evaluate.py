"""`tfrcnn evaluate`: how good a trained detector is on a data set."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tfrcnn.cli.options import Data, Images, Metric, Model
from tfrcnn.cli.startup import load_tensorflow


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
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all numbers and curves as JSON too.")] = None,
    plots: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Draw into this folder: precision_recall.png, confusion.png, and predictions.png, a sheet of images "
            "with detections and ground truth.",
        ),
    ] = None,
) -> None:
    """Measure a trained detector on a data set: the metric's numbers, and a table of the classes.

    The data set's classes are matched by name with those that the detector was trained on.

    \b
    Example:
      tfrcnn evaluate --model runs/cells --data cells/VOC@test --plots runs/cells/test
    """
    load_tensorflow()
    from tfrcnn.data.read import load_dataset
    from tfrcnn.evaluation.evaluate import evaluate as judge
    from tfrcnn.evaluation.report import plot_confusion, plot_precision_recall, render, write_json
    from tfrcnn.export.runtimes import form_of, load
    from tfrcnn.models.build import read_description
    from tfrcnn.training.run import draw_sheet

    if metric is None:
        metric = read_description(model)["extra"].get("metric", "coco") if form_of(model) == "keras" else "coco"
    predictor = load(model)
    dataset = load_dataset(data, images, predictor.categories)
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
