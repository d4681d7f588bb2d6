"""`tfrcnn evaluate`: measure a trained detector on a data set."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tfrcnn.cli.detecting import (
    DetectionSettings,
    DetectorOptions,
    Flip,
    Merge,
    RegionFile,
    Scales,
    TileOverlap,
    Tiles,
    ViewOptions,
    read_settings,
)
from tfrcnn.cli.evaluate_checks import check_engine, check_exported, check_inputs, check_page, check_proposals
from tfrcnn.cli.options import DATA_HELP, Images, Metric, Model
from tfrcnn.cli.outputs import check_output_folder
from tfrcnn.cli.startup import start_detector

if TYPE_CHECKING:
    from tfrcnn.config import DetectionConfig
    from tfrcnn.data.example import Dataset
    from tfrcnn.inference import Predictor


def evaluate(
    model: Model,
    data: Annotated[
        str | None,
        typer.Option(metavar="DATA", help=f"The data set: {DATA_HELP}. Default: the validation data of the run."),
    ] = None,
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
    max_detections: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Detections per image, best first, instead of the detector's limit. More than 100 also raise the COCO "
            "metric's limit of 100 per image and class. An exported file can only have fewer than its own limit.",
        ),
    ] = None,
    score_threshold: Annotated[
        str | None,
        typer.Option(
            metavar="S",
            help="Leave out detections of this score or less, instead of the detector's thresholds; CLASS=S for single "
            "classes, for example 0.1,red=0.6. An exported file can only have higher ones than its own.",
        ),
    ] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write numbers and curves as JSON.")] = None,
    plots: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Draw precision_recall.png, confusion.png and predictions.png (images with detections and ground "
            "truth) into this folder; with --proposals recall.png.",
        ),
    ] = None,
    settings: DetectionSettings = None,
    tiles: Tiles = None,
    tile_overlap: TileOverlap = None,
    flip: Flip = False,
    scales: Scales = None,
    merge: Merge = None,
    region: RegionFile = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR_OR_HTML",
            help="Write a page about the errors: thresholds of each class, types of errors and their cost, worst "
            "images. A name that ends in .html is the page, another the folder of evaluation.html. The numbers are "
            "next to it as JSON.",
        ),
    ] = None,
    write_thresholds: Annotated[
        bool,
        typer.Option(
            "--write-thresholds",
            help="With --report: write the best threshold of each class into the run folder. predict, evaluate and "
            "export then use them. The page is computed without the ones from before.",
        ),
    ] = False,
    compare: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL_OR_JSON",
            help="Compare with another detector in the page of --report: a model, or its detections of this data set "
            "in COCO's result format, FILE.json. Says whether the difference is more than chance.",
        ),
    ] = None,
    engine: Annotated[
        Literal["pycocotools", "faster-coco-eval"],
        typer.Option(
            help="The package that computes the COCO metric. faster-coco-eval gives the same numbers in less time; "
            "install it with pip install faster-coco-eval."
        ),
    ] = "pycocotools",
    min_precision: Annotated[
        float | None,
        typer.Option(
            metavar="P", help="Give each class of --report the threshold for this precision, in (0, 1]. Default: 0.9."
        ),
    ] = None,
    min_recall: Annotated[
        float | None,
        typer.Option(
            metavar="R", help="Give each class of --report the threshold for this recall, in (0, 1]. Default: 0.9."
        ),
    ] = None,
) -> None:
    """Measure a trained detector on a data set: the metric's numbers, and a table of the classes.

    The data set's classes are matched by name with the detector's. Proposals have no class, so with --proposals the
    classes do not matter.

    \b
    Example:
      tfrcnn evaluate --model runs/cells --data cells/VOC@test --plots runs/cells/test
      tfrcnn evaluate --model runs/cells
      tfrcnn evaluate --model runs/cells --data cells/VOC@test --proposals
      tfrcnn evaluate --model runs/cells --data crowds.json --max-detections 300
      tfrcnn evaluate --model runs/cells --report runs/cells/errors --compare runs/earlier
      tfrcnn evaluate --model runs/cells --report runs/cells/errors --write-thresholds
    """
    views = ViewOptions(tiles, tile_overlap, flip, scales, merge, region)
    changes = read_settings(settings, ("score_threshold", "max_detections"))
    options = DetectorOptions(changes, max_detections, score_threshold, views)
    options.check()
    from tfrcnn.data.read import load_dataset
    from tfrcnn.drawing import plot_confusion, plot_precision_recall
    from tfrcnn.drawing.sheet import draw_sheet
    from tfrcnn.evaluation.evaluate import evaluate as judge
    from tfrcnn.evaluation.limits import limited, per_class_limit
    from tfrcnn.evaluation.report import render, write_json
    from tfrcnn.export.runtimes import KERAS, format_of
    from tfrcnn.installed import check_package
    from tfrcnn.run_description import read_description
    from tfrcnn.training.held_out import validation_of_run

    if proposals:
        check_proposals(metric, options, report)
    check_inputs(model, data, images, write_thresholds)
    if plots is not None:
        check_package("matplotlib", "--plots")
        check_output_folder("--plots", plots)
    page, precision, recall = check_page(report, json, compare, (min_precision, min_recall), write_thresholds, data)
    model = start_detector(model)
    if format_of(model) != KERAS:
        check_exported(model, proposals, write_thresholds)
    if write_thresholds:  # found among detections of all scores
        options = replace(options, changes={"class_score_thresholds": None, **changes})
    held_out = validation_of_run(model) if data is None else None
    if metric is None:
        metric = read_description(model)["extra"].get("metric", "coco") if format_of(model) == KERAS else "coco"
    check_engine(engine, metric, proposals)
    predictor, limits = options.load(model)
    if held_out is None:  # proposals have no class, so the data set may have any classes
        dataset = load_dataset(str(data), images, None if proposals else predictor.categories)
    else:
        dataset, data = held_out
        print(f"On the validation data of the run, {data}:\n")
    if proposals:
        _evaluate_proposals(predictor, dataset, {"model": str(model), "data": str(data)}, json, plots)
        return
    other = None if compare is None else _other(compare, dataset, limits, options)
    detections = limited(predictor.detect_dataset(dataset, progress=sys.stderr.isatty()), limits, predictor.categories)
    evaluation = judge(dataset, detections, metric, limits, engine)
    print(render(evaluation))
    if json is not None:
        write_json(json, evaluation, {"model": str(model), "data": data})
        print(f"Numbers and curves are in {json}.")
    if plots is not None:
        plot_precision_recall(evaluation, plots / "precision_recall.png")
        plot_confusion(dataset, detections, plots / "confusion.png")
        draw_sheet(predictor, dataset, plots / "predictions.png")
        print(f"precision_recall.png, confusion.png and predictions.png are in {plots}.")
    if report is not None:
        from tfrcnn.report.evaluation import evaluation_report  # here: templates, which only it needs

        names, limit = (str(model), compare or ""), per_class_limit(limits)
        numbers = evaluation_report(
            dataset, detections, report, other, names, evaluation, precision, recall, max_detections=limit
        )
        _finish_report(page, model, numbers["score_threshold"] if write_thresholds else None)


def _finish_report(page: Path | None, model: Path, thresholds: dict[str, float] | None) -> None:
    """Say where the page is, and write thresholds into the run folder, if there are any."""
    from tfrcnn.run_description import write_thresholds

    assert page is not None
    print(f"The page of errors is {page} ({page.stat().st_size / 1e6:.1f} MB), its numbers are next to it as JSON.")
    if thresholds is not None:
        write_thresholds(model, thresholds)
        chosen = ", ".join(f"{name} {score:g}" for name, score in thresholds.items())
        print(f"{model} detects with the thresholds {chosen}.")


def _other(compare: str, dataset: Dataset, limits: DetectionConfig, options: DetectorOptions) -> Any:
    """Return the detections of the detector to compare with, within limits and with the labels of the data set."""
    from tfrcnn.evaluation.inputs import relabelled
    from tfrcnn.evaluation.limits import limited
    from tfrcnn.evaluation.read_results import read_coco_results

    if compare.lower().endswith(".json"):
        return limited(read_coco_results(compare, dataset), limits, dataset.categories)
    predictor, its_limits = options.load(start_detector(compare))
    detections = limited(
        predictor.detect_dataset(dataset, progress=sys.stderr.isatty()), its_limits, predictor.categories
    )
    return relabelled(detections, predictor.categories, dataset.categories, compare)


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
