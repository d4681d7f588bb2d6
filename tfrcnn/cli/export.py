"""`tfrcnn export`: write a detector for another runtime, and verify it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from tfrcnn.cli.detecting import DetectionSettings, read_limits, read_settings
from tfrcnn.cli.options import Images, RunFolder
from tfrcnn.cli.startup import load_tensorflow
from tfrcnn.errors import InputError, renamed_arguments
from tfrcnn.export import TARGETS

if TYPE_CHECKING:
    from tfrcnn.data.example import Dataset
    from tfrcnn.export.options import ExportOptions
    from tfrcnn.models import FasterRCNN

    Format: TypeAlias = str
    Precision: TypeAlias = str
else:
    Format = Literal[tuple(TARGETS)]
    Precision = Literal[tuple(precision for target in TARGETS.values() for precision in target.precisions)]

UNJUDGED = 3  # exit code
MAX_DIGITS = 9  # of a side in pixels
REPRESENTATIVE_IMAGES = 100  # the ranges of int8 do not change with more
FORMATS_HELP = "; ".join(f"{target.name}: {target.summary}" for target in TARGETS.values())


def export(
    model: RunFolder,
    format: Annotated[Format, typer.Option(help=f"Format of the file. {FORMATS_HELP}.")],
    out: Annotated[Path | None, typer.Option(metavar="PATH", help="The new file, or folder of a SavedModel.")] = None,
    publish: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="In place of --out: a folder of numbered versions, which gets the next number if the file passes its "
            "verification. TensorFlow Serving, Triton and tfrcnn serve read it.",
        ),
    ] = None,
    precision: Annotated[
        Precision,
        typer.Option(
            help="float16 halves the file. dynamic stores weights in 8 bits, a quarter of the size (tflite). int8 also "
            "computes in 8 bits and needs --representative."
        ),
    ] = "float32",
    representative: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help=f"Data set whose first {REPRESENTATIVE_IMAGES} images set the ranges of int8. In any precision, "
            "the file is compared on them by default.",
        ),
    ] = None,
    image_size: Annotated[
        str | None, typer.Option(metavar="N|HxW", help="Fix the size of the network's input. Default: the detector's.")
    ] = None,
    max_detections: Annotated[
        int | None, typer.Option(metavar="N", help="The most detections per image. Default: the detector's.")
    ] = None,
    score_threshold: Annotated[
        str | None,
        typer.Option(
            metavar="X",
            help="Scores of detections exceed it; CLASS=X for single classes, for example 0.4,red=0.6. Default: the "
            "detector's.",
        ),
    ] = None,
    verify: Annotated[
        str,
        typer.Option(
            metavar="DATA|none",
            help="Data set on which the file is compared with the Keras model. Default: the representative images if "
            "there are any, or built-in edge cases.",
        ),
    ] = "",
    images: Images = None,
    settings: DetectionSettings = None,
) -> None:
    """Export a detector and verify that the file detects the same.

    Writes a report next to the file (PATH.report.md and .json). If the file is out of tolerance, it is named
    NAME.failed and the exit code is 1. If there is no detection to compare, it is named NAME.unjudged and the exit code
    is 3. With --publish, nothing is written in these cases. `tfrcnn versions DIR` lists what is published.

    \b
    Examples:
      tfrcnn export --model runs/cells --format onnx --out cells.onnx --verify cells/VOC@val
      tfrcnn export --model runs/cells --format tflite --precision int8 --image-size 320 --out cells.tflite \\
                    --representative cells/VOC@train --verify cells/VOC@val
      tfrcnn export --model runs/cells --format onnx --out cells.onnx --set nms=soft_gaussian
      tfrcnn export --model runs/cells --format saved_model --publish models/cells --verify cells/VOC@val
    """
    from tfrcnn.export.options import ExportOptions
    from tfrcnn.export.versions import check_folder

    options = ExportOptions(format, precision, parse_size(image_size), max_detections)
    if (out is None) == (publish is None):
        raise InputError("expected one of --out PATH and --publish DIR, found " + ("both" if out else "neither"))
    if images is not None and verify in ("", "none") and representative is None:
        raise InputError("--images needs the data of --verify or --representative")
    if publish is not None:
        check_folder(publish, format)
    # `publish` chooses the name of the file
    new = out or (publish or Path()) / f".new{options.target.suffix}"
    options.check(new, has_representative=representative is not None)
    changes = read_settings(settings)
    load_tensorflow()
    from tfrcnn.data.decode import read_image
    from tfrcnn.data.read import load_dataset
    from tfrcnn.models import load_detector
    from tfrcnn.weights.importing import run_folder

    model = run_folder(model)
    detector = load_detector(model, detections=read_limits(model, changes, score_threshold))
    categories = detector.config.categories
    with renamed_arguments(data="verify"):
        data = load_dataset(verify, images, categories) if verify not in ("", "none") else None
    if representative is not None:
        with renamed_arguments(data="representative"):
            examples = load_dataset(representative, images, categories).examples[:REPRESENTATIVE_IMAGES]
        options = options.with_representative([read_image(example.path, example.orientation) for example in examples])
    place = out if publish is None else f"a version in {publish}"
    print(f"Exporting {model} to {place} ({format}, {precision}) ...", flush=True)
    if out is not None:
        _write(detector, out, options, data, check=verify != "none")
    elif publish is not None:
        _publish(detector, publish, options, data, check=verify != "none")


def _write(detector: FasterRCNN, out: Path, options: ExportOptions, data: Dataset | None, check: bool) -> None:
    from tfrcnn.export.check.report import NOT_JUDGED
    from tfrcnn.export.exporting import export as make

    report = make(detector, out, options, data, check)
    if report is None:
        print(f"{out} is written, but not verified.")
        return
    print(report.to_markdown())
    if report.passed:
        print(f"{out} is written; its report is in {out}.report.md.")
        return
    for fault in report.faults or (NOT_JUDGED,):
        print(f"error: {fault}", file=sys.stderr)
    raise typer.Exit(1 if report.faults else UNJUDGED)


def _publish(detector: FasterRCNN, folder: Path, options: ExportOptions, data: Dataset | None, check: bool) -> None:
    from tfrcnn.export.publishing import NotPublishedError
    from tfrcnn.export.publishing import publish as make

    try:
        version = make(detector, folder, options, data, check)
    except NotPublishedError as error:
        print(error.report.to_markdown())
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1 if error.report.faults else UNJUDGED) from error
    report = version.folder / "report.md"
    if report.is_file():
        print(report.read_text(encoding="utf-8"))
    print(f"Version {version.number} of {folder} is published ({version.verdict}).")


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Parse an image size: "320" -> (320, 320), "320x448" -> (320, 448), height first.

    Raises:
        InputError: Other text.
    """
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() and len(part) <= MAX_DIGITS for part in parts):
        raise InputError(f"--image-size: expected N or HxW (height first), found {text!r}")
    return int(parts[0]), int(parts[-1])
