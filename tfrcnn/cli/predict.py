"""`tfrcnn predict`: detect in pictures and videos."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tfrcnn.cli.detecting import (
    DetectionSettings,
    Flip,
    Merge,
    RegionFile,
    Scales,
    TileOverlap,
    Tiles,
    ViewOptions,
    check_settings,
    read_settings,
    read_thresholds,
)
from tfrcnn.cli.options import Model
from tfrcnn.cli.predict_local import LocalJob
from tfrcnn.cli.predict_ray import BLOCK_SIZE, Engine, EngineOptions, RayJob
from tfrcnn.cli.startup import start_detector
from tfrcnn.errors import InputError, renamed_arguments

if TYPE_CHECKING:
    from tfrcnn.predicting.selection import Selection

DEFAULT_THRESHOLD = 0.5
STDIN = "-"


def predict(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE_OR_FOLDER",
            help="Pictures, folders, patterns like 'a/**/*.jpg', videos, web addresses, a camera's number; - reads "
            "them from stdin, one per line. --engine ray takes TFRecord and Parquet files too, and no videos.",
        ),
    ],
    model: Model,
    out: Annotated[Path, typer.Option(metavar="DIR", help="New folder for the results.")],
    score_threshold: Annotated[
        str | None,
        typer.Option(
            metavar="X",
            help="Drop detections of lower scores; CLASS=X for single classes, for example 0.4,red=0.6. Default: "
            f"{DEFAULT_THRESHOLD}, or the detector's own threshold of a class.",
        ),
    ] = None,
    classes: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="Keep only these classes. Default: all.")
    ] = None,
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT,...",
            help="Files of results: coco, csv, yolo, or jsonl alone, which is always written. --engine ray "
            "writes coco, or parquet alone, which is always written.",
        ),
    ] = "coco",
    pictures: Annotated[
        bool | None,
        typer.Option(
            "--pictures/--no-pictures", help="Draw the detections. Default: --pictures; --engine ray draws none."
        ),
    ] = None,
    batch: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            help="Pictures of one size, or frames of a video, that an exported file detects in together.",
        ),
    ] = 1,
    recursive: Annotated[bool, typer.Option("--recursive", help="Search subfolders too.")] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue in DIR: do the pictures that it has no detections of. --engine ray does the blocks that "
            "are not finished.",
        ),
    ] = False,
    settings: DetectionSettings = None,
    tiles: Tiles = None,
    tile_overlap: TileOverlap = None,
    flip: Flip = False,
    scales: Scales = None,
    merge: Merge = None,
    region: RegionFile = None,
    engine: Annotated[
        Engine,
        typer.Option(
            help="local: this process. ray: workers of Ray, on this machine or on the cluster that the environment "
            "variable RAY_ADDRESS names; needs pip install 'tfrcnn[ray]'."
        ),
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Workers of --engine ray. Default: as many as there are processors for."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Threads of each worker of --engine ray. Default: 1.")
    ] = None,
    block_size: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help=f"Pictures per block of --engine ray, and per Parquet file of results. Default: {BLOCK_SIZE}.",
        ),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Column of Parquet files with paths or contents of pictures. Default: the first of bytes, content, "
            "image, path and file_name.",
        ),
    ] = None,
    name_column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Column of Parquet files with names of the pictures. Default: path, file_name."
        ),
    ] = None,
) -> None:
    """Detect in pictures and videos: draw the boxes, and write all detections.

    \b
    DIR/NAME.png, NAME.mp4  a picture or video with boxes, names and scores
    DIR/detections.jsonl    one line per picture or frame, written as soon as it is done
    DIR/detections.json     [{"image_id", "category_id", "bbox": [x, y, width, height] in pixels, "score"}, ...]
    DIR/images.json         which picture an image_id is, which class a category_id is
    DIR/detections.csv      with --format csv: one row per detection
    DIR/labels/NAME.txt     with --format yolo: class, box and score, one line per detection

    A picture that cannot be read is reported at the end, with exit code 2; the others are done.

    --engine ray writes DIR/detections/part-00000.parquet and so on, one row per picture, and with --format coco
    detections.json and images.json. A worker that dies is replaced. A finished block is not done again.

    \b
    Example:
      tfrcnn predict --model runs/cells pictures/ more/cell.jpg --out predictions
      tfrcnn predict --model coco-resnet50 street.mp4 --out predictions --classes car,person
      find . -name "*.jpg" | tfrcnn predict --model cells.onnx - --out predictions --no-pictures --format csv
      tfrcnn predict --model coco-resnet50 aerial.jpg --out predictions --tiles 640 --set class_agnostic_nms=true
      tfrcnn predict --model cells.onnx pictures/ shards/*.tfrecord --out predictions --engine ray --workers 8
    """
    common, of_classes = read_thresholds(score_threshold)  # before anything slow
    changes = read_settings(settings, ("score_threshold",))
    views = ViewOptions(tiles, tile_overlap, flip, scales, merge, region)
    views.check()
    if batch > 1 and views != ViewOptions():
        raise InputError("--batch cannot be combined with the options of views, which are detected in one by one")
    options = EngineOptions(engine, workers, threads, block_size, column, name_column)
    options.check(pictures, bool(settings), views)
    file_formats = options.read_formats(formats)
    job: LocalJob | RayJob = LocalJob(out, resume, file_formats, pictures is not False, batch)
    if engine == "ray":
        job = RayJob(out, resume, file_formats, batch, options)
    job.find(list(_with_stdin(sources)), recursive)
    model = start_detector(model)
    detector = _load(model, batch, common, of_classes, changes)
    built_in = detector.detections.class_score_thresholds or {}
    predictor = views.wrap(detector)
    selection = _selection(score_threshold, built_in, classes, [category.name for category in predictor.categories])
    try:
        errors = job.run(predictor, model, selection)
    except KeyboardInterrupt:
        print(f"interrupted: what is done is in {out}; continue with --resume", file=sys.stderr)
        raise
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    if errors:
        raise typer.Exit(2)


def _load(model: Path, batch: int, common: float | None, of_classes: dict[str, float], changes: dict[str, Any]) -> Any:
    """Load a detector with the options, and check that it keeps the scores that they keep."""
    from tfrcnn.export.runtimes import KERAS, format_of, load

    if batch > 1 and format_of(model) == KERAS:
        raise InputError(f"--batch needs an exported file; {model} is a run folder, which detects in one at a time")
    lowered = of_classes if common is None else min(common, *of_classes.values(), 1)
    with renamed_arguments(score_threshold="--score-threshold"):
        detector = load(model, score_threshold=lowered, detections=changes)
    if changes:
        check_settings(changes, detector.detections)
    built_in = detector.detections.class_score_thresholds or {}
    _check_class_thresholds(common, of_classes, built_in)
    others = [score for name, score in of_classes.items() if name not in built_in]
    _check_threshold(min(DEFAULT_THRESHOLD if common is None else common, *others, 1), detector)
    return detector


def _with_stdin(sources: list[str]) -> Iterator[str]:
    """Yield the sources, and the lines of stdin in place of "-"."""
    for source in sources:
        if source != STDIN:
            yield source
            continue
        yield from filter(None, _lines_of_stdin())


def _lines_of_stdin() -> Iterator[str]:
    """Yield the lines of stdin; none if it is closed, as some services start their programs.

    Raises:
        InputError: it has a byte order mark, as lists that Windows wrote, and another encoding.
    """
    from tfrcnn.data.sources import plain_text, text_encoding

    content = sys.stdin.buffer.read() if sys.stdin else b""
    if text_encoding(content) == "utf-8":  # no mark: names of files can be in any encoding
        yield from (os.fsdecode(line.rstrip(b"\r")) for line in content.split(b"\n"))
        return
    try:
        yield from (line.rstrip("\r") for line in plain_text(content).split("\n"))
    except InputError as error:
        raise InputError(f"stdin: {error}") from error


def _check_threshold(lowest: float, detector: Any) -> None:
    """Check that the detector has not dropped scores that the options keep."""
    limit = detector.detections.score_threshold
    if lowest < limit and lowest != DEFAULT_THRESHOLD:
        raise InputError(f"--score-threshold: expected at least {limit:g}, the file's own, found {lowest:g}")
    if lowest < limit:
        print(f"The file has no detections of scores up to {limit:g}, the threshold inside it.")


def _check_class_thresholds(common: float | None, of_classes: dict[str, float], built_in: dict[str, float]) -> None:
    """Check that the detector has not dropped scores that the options keep, by its thresholds of single classes."""
    for name, limit in built_in.items():
        score = of_classes.get(name, common)
        if score is not None and score < limit:
            raise InputError(
                f"--score-threshold: expected at least {limit:g} for {name}, the file's own, found {score:g}"
            )


def _selection(threshold: str | None, built_in: dict[str, float], classes: str | None, names: list[str]) -> Selection:
    """Read --score-threshold and --classes with the detector's classes and its own thresholds of single ones."""
    from tfrcnn.predicting.selection import Selection, parse_classes

    common, of_classes = read_thresholds(threshold, names)
    if common is None:
        common, of_classes = DEFAULT_THRESHOLD, {**built_in, **of_classes}
    with renamed_arguments(classes="--classes"):
        return Selection(common, of_classes, None if classes is None else parse_classes(classes, names))
