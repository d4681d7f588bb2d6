"""`tfrcnn evaluate`: measure a trained detector on a data set."""

from __future__ import annotations

import sys
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
from tfrcnn.cli.options import DATA_HELP, Images, Metric, Model
from tfrcnn.cli.startup import start_detector
from tfrcnn.errors import InputError

DEFAULT_TARGET = 0.9  # precision or recall

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
        float | None,
        typer.Option(
            metavar="S",
            help="Leave out detections of this score or less, instead of the detector's threshold. An exported file "
            "can only have a higher one than its own.",
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
        _check_proposals(metric, options, report)
    if data is None and images is not None:
        raise InputError("--images needs --data")
    if plots is not None:
        check_package("matplotlib", "--plots")
    page, precision, recall = _check_report(report, json, compare, (min_precision, min_recall))
    model = start_detector(model)
    if proposals and format_of(model) != KERAS:
        raise InputError(f"--proposals needs a run folder; {model} gives detections only")
    held_out = validation_of_run(model) if data is None else None
    if metric is None:
        metric = read_description(model)["extra"].get("metric", "coco") if format_of(model) == KERAS else "coco"
    _check_engine(engine, metric, proposals)
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
    detections = limited(predictor.detect_dataset(dataset, progress=sys.stderr.isatty()), limits)
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
        evaluation_report(
            dataset, detections, report, other, names, evaluation, precision, recall, max_detections=limit
        )
        assert page is not None
        print(f"The page of errors is {page} ({page.stat().st_size / 1e6:.1f} MB), its numbers are next to it as JSON.")


def _check_proposals(metric: str | None, options: DetectorOptions, report: Path | None) -> None:
    """Raise InputError if an option is set that has no meaning for proposals."""
    refused = {
        "--metric": metric is not None,
        "--max-detections and --score-threshold": (options.max_detections, options.score_threshold) != (None, None),
        "--set and the options of views": bool(options.changes) or options.views != ViewOptions(),
        "--report": report is not None,
    }
    for option, is_set in refused.items():
        if is_set:
            raise InputError(f"{option} cannot be combined with --proposals")


def _check_report(
    report: Path | None, json: Path | None, compare: str | None, targets: tuple[float | None, float | None]
) -> tuple[Path | None, float, float]:
    """Check the options of the report; return its page, and the precision and recall that thresholds are for."""
    if report is None:
        if compare is not None:
            raise InputError("--compare needs --report, the page of the comparison")
        if targets != (None, None):
            raise InputError("--min-precision and --min-recall need --report, the page of the thresholds")
        return None, DEFAULT_TARGET, DEFAULT_TARGET
    from tfrcnn.report.evaluation import check_report, numbers_path

    precision, recall = (DEFAULT_TARGET if value is None else value for value in targets)
    page = check_report(report, precision, recall)
    if json is not None and json.absolute() == numbers_path(page).absolute():
        raise InputError(f"--json: expected another file than the numbers of --report, found {json}")
    return page, precision, recall


def _check_engine(engine: str, metric: str, proposals: bool) -> None:
    from tfrcnn.installed import check_package

    if engine == "pycocotools":
        return
    if metric != "coco" or proposals:
        raise InputError(f"--engine {engine} computes the COCO metric of detections only")
    check_package("faster_coco_eval", "--engine")


def _other(compare: str, dataset: Dataset, limits: DetectionConfig, options: DetectorOptions) -> Any:
    """Return the detections of the detector to compare with, within limits and with the labels of the data set."""
    from tfrcnn.evaluation.inputs import relabelled
    from tfrcnn.evaluation.limits import limited
    from tfrcnn.evaluation.read_results import read_coco_results

    if compare.lower().endswith(".json"):
        return limited(read_coco_results(compare, dataset), limits)
    predictor, its_limits = options.load(start_detector(compare))
    detections = limited(predictor.detect_dataset(dataset, progress=sys.stderr.isatty()), its_limits)
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
