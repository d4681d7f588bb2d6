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
from tfrcnn.cli.startup import start_detector
from tfrcnn.errors import InputError, renamed_arguments
from tfrcnn.printable import count_of

if TYPE_CHECKING:
    from tfrcnn.predicting.selection import Selection
    from tfrcnn.prediction import Failure, Prediction

DEFAULT_THRESHOLD = 0.5
STDIN = "-"


def predict(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE_OR_FOLDER",
            help="Pictures, folders, patterns like 'a/**/*.jpg', videos, web addresses, a camera's number; - reads "
            "them from stdin, one per line.",
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
            help="Files of results: coco, csv, yolo, or jsonl alone, which is always written.",
        ),
    ] = "coco",
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="Draw the detections.")] = True,
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
        bool, typer.Option("--resume", help="Continue in DIR: do the pictures that it has no detections of.")
    ] = False,
    settings: DetectionSettings = None,
    tiles: Tiles = None,
    tile_overlap: TileOverlap = None,
    flip: Flip = False,
    scales: Scales = None,
    merge: Merge = None,
    region: RegionFile = None,
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

    \b
    Example:
      tfrcnn predict --model runs/cells pictures/ more/cell.jpg --out predictions
      tfrcnn predict --model coco-resnet50 street.mp4 --out predictions --classes car,person
      find . -name "*.jpg" | tfrcnn predict --model cells.onnx - --out predictions --no-pictures --format csv
      tfrcnn predict --model coco-resnet50 aerial.jpg --out predictions --tiles 640 --set class_agnostic_nms=true
    """
    common, of_classes = read_thresholds(score_threshold)  # before anything slow
    file_formats = _formats(formats)
    changes = read_settings(settings, ("score_threshold",))
    views = ViewOptions(tiles, tile_overlap, flip, scales, merge, region)
    views.check()
    if batch > 1 and views != ViewOptions():
        raise InputError("--batch cannot be combined with the options of views, which are detected in one by one")
    from tfrcnn.export.runtimes import KERAS, format_of, load
    from tfrcnn.prediction import check_new_folder, predict_stream, search_images

    if not resume:
        check_new_folder(out)
    search = search_images(list(_with_stdin(sources)), recursive)
    if not search.sources:
        search.check()
        raise InputError("expected pictures on stdin, found no line")
    model = start_detector(model)
    if batch > 1 and format_of(model) == KERAS:
        raise InputError(f"--batch needs an exported file; {model} is a run folder, which detects in one at a time")
    lowered = of_classes if common is None else min(common, *of_classes.values(), 1)
    with renamed_arguments(score_threshold="--score-threshold"):
        detector = load(model, score_threshold=lowered, detections=changes)
    if changes:
        check_settings(changes, detector.detections)
    built_in = _class_thresholds(detector)
    _check_class_thresholds(common, of_classes, built_in)
    others = [score for name, score in of_classes.items() if name not in built_in]
    _check_threshold(min(DEFAULT_THRESHOLD if common is None else common, *others, 1), detector)
    predictor = views.wrap(detector)
    selection = _selection(score_threshold, built_in, classes, [category.name for category in predictor.categories])
    stream = predict_stream(predictor, search.sources, out, selection, resume, file_formats, pictures, batch)
    summary = _Summary(selection)
    try:
        summary.follow(stream, len(search.sources))
    except KeyboardInterrupt:
        print(f"interrupted: what is done is in {out}; continue with --resume", file=sys.stderr)
        raise
    if resumed := len(search.sources) - len(summary.sources):
        print(f"{count_of(resumed, 'picture')} done before.")
    if left_out := search.left_out():
        print(f"Left out: {left_out}.")
    if text := summary.no_detection():
        print(text)
    print(f"\n{_places(out, file_formats)}")
    errors = [*search.errors, *summary.errors]
    for error in errors:
        print(f"error: {error}", file=sys.stderr)
    if errors:
        raise typer.Exit(2)


class _Summary:
    """Prints a line per picture and video, and keeps what is reported at the end."""

    def __init__(self, selection: Selection) -> None:
        self.sources: set[Path | str] = set()
        self.errors: list[InputError] = []
        self._selection = selection
        self._has_detection = False
        self._best: tuple[float, str, Path | str] | None = None  # score, category, source
        self._videos: dict[Path | str, list[int]] = {}  # frames and detections
        self._drawn: dict[Path | str, Path | None] = {}  # of videos

    def follow(self, stream: Iterator[Prediction | Failure], count: int) -> None:
        """Print a line per picture as it is done, and a line per video at the end."""
        from tqdm import tqdm

        from tfrcnn.prediction import Failure

        with tqdm(
            total=count, desc="detecting", unit="source", disable=not sys.stderr.isatty(), leave=False
        ) as progress:
            for result in stream:
                progress.update(result.source not in self.sources)
                self.sources.add(result.source)
                if isinstance(result, Failure):
                    self.errors.append(result.error)
                elif text := self._add(result):
                    progress.write(text)
                    sys.stdout.flush()
        for source, (frames, detections) in self._videos.items():
            counts = f"{count_of(frames, 'frame')}, {count_of(detections, 'detection')}"
            print(f"{source}: {counts}{_drawn(self._drawn[source])}")

    def no_detection(self) -> str:
        """Name the best score if no detection was good enough; "" if one was, or no picture was read."""
        if self._has_detection or len(self.sources) == len(self.errors):
            return ""
        limit = "the thresholds" if self._selection.class_thresholds else f"{self._selection.score_threshold:g}"
        if self._best is None:
            return f"No detection above {limit}, nor any of a lower score."
        score, category, source = self._best
        return f"No detection above {limit}; the best score is {score:.2f} ({category}) in {source}."

    def _add(self, result: Prediction) -> str:
        """Count a result; return the line of a picture, "" for a frame."""
        count = len(result.detections.scores)
        self._has_detection |= count > 0
        if result.best is not None and (self._best is None or result.best.score > self._best[0]):
            self._best = (*result.best, result.source)
        if result.frame is None:
            return f"{result.source}: {count_of(count, 'detection')}{_drawn(result.drawn)}"
        totals = self._videos.setdefault(result.source, [0, 0])
        totals[0] += 1
        totals[1] += count
        self._drawn[result.source] = result.drawn
        return ""


def _drawn(path: Path | None) -> str:
    return "" if path is None else f", drawn in {path}"


def _with_stdin(sources: list[str]) -> Iterator[str]:
    """Yield the sources, and the lines of stdin in place of "-"."""
    for source in sources:
        if source != STDIN:
            yield source
            continue
        for line in sys.stdin.buffer:  # not the text, because names of files can be in any encoding
            if name := os.fsdecode(line.rstrip(b"\r\n")):
                yield name


def _check_threshold(lowest: float, detector: Any) -> None:
    """Check that the detector has not dropped scores that the options keep."""
    limits = getattr(detector, "detections", None)
    if limits is None or lowest >= limits.score_threshold:
        return
    limit = f"{limits.score_threshold:g}"
    if lowest != DEFAULT_THRESHOLD:
        raise InputError(f"--score-threshold: expected at least {limit}, the file's own, found {lowest:g}")
    print(f"The file has no detections of scores up to {limit}, the threshold inside it.")


def _class_thresholds(detector: Any) -> dict[str, float]:
    """Return the detector's own thresholds of single classes."""
    limits = getattr(detector, "detections", None)
    return (limits and limits.class_score_thresholds) or {}


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


def _formats(text: str) -> tuple[str, ...]:
    from tfrcnn.result_formats import FORMATS

    formats = tuple(name.strip() for name in text.split(","))
    for name in formats:
        if name not in FORMATS:
            raise InputError(f"--format: expected some of {', '.join(FORMATS)}, found {name!r}")
    return formats


def _places(out: Path, formats: tuple[str, ...]) -> str:
    """Say where the results are."""
    if "coco" in formats:
        return f"All detections are in {out / 'detections.json'}; {out / 'images.json'} says what its ids mean."
    files = {"csv": out / "detections.csv", "yolo": out / "labels"}
    places = [str(files[name]) for name in formats if name in files] or [str(out / "detections.jsonl")]
    return f"All detections are in {' and '.join(places)}."
