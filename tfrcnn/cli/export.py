"""`tfrcnn export`: a trained detector as a file for other runtimes, verified."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from tfrcnn.cli.options import IMAGES_HELP, RunFolder
from tfrcnn.cli.startup import load_tensorflow
from tfrcnn.errors import InputError

REPRESENTATIVE_IMAGES = 100  # more changes the ranges of int8 no further


def export(
    model: RunFolder,
    out: Annotated[Path, typer.Option(metavar="PATH", help="The new file, or folder of a SavedModel.")],
    form: Annotated[
        Literal["saved_model", "tflite", "onnx"], typer.Option("--format", help="For which runtime; see below.")
    ],
    precision: Annotated[
        Literal["float32", "float16", "dynamic", "int8"],
        typer.Option(
            help="float16 halves the file; dynamic (tflite) quarters it, weights in 8 bits; int8 computes in 8 bits "
            "too and needs --representative."
        ),
    ] = "float32",
    representative: Annotated[
        str | None, typer.Option(metavar="DATA", help="A data set whose first 100 images int8 finds its ranges on.")
    ] = None,
    image_size: Annotated[
        str | None, typer.Option(metavar="N|HxW", help="Make the network's input static. Default: the detector's own.")
    ] = None,
    max_detections: Annotated[int | None, typer.Option(metavar="N", help="Default: the detector's own.")] = None,
    score_threshold: Annotated[float | None, typer.Option(metavar="X", help="Default: the detector's own.")] = None,
    verify: Annotated[
        str,
        typer.Option(
            metavar="DATA|none",
            help="The data set to run the file on, beside the Keras model. Default: built-in edge cases.",
        ),
    ] = "",
    images: Annotated[str | None, typer.Option(metavar="DIR", help=IMAGES_HELP)] = None,
) -> None:
    """Export a detector, run the file in its own runtime, and keep it only if it detects the same.

    \b
    saved_model  TensorFlow and TensorFlow Serving; images of any size, or encoded pictures
    tflite       LiteRT and MediaPipe, phones and boards; no custom operations
    onnx         ONNX Runtime, OpenVINO; any batch and any size

    A report lies beside the file (PATH.report.md and .json). A file out of tolerance is kept as NAME.failed, and the
    exit code is 1.

    \b
    Examples:
      tfrcnn export --model runs/cells --format onnx --out cells.onnx --verify cells/VOC@val
      tfrcnn export --model runs/cells --format tflite --precision int8 --image-size 320 --out cells.tflite \\
                    --representative cells/VOC@train --verify cells/VOC@val
    """
    load_tensorflow()
    from tfrcnn.data.decode import read_image
    from tfrcnn.data.read import load_dataset
    from tfrcnn.export.exporting import ExportOptions
    from tfrcnn.export.exporting import export as make
    from tfrcnn.models import load_detector

    options = ExportOptions(form, precision, parse_size(image_size), max_detections, score_threshold)
    options.check(out, has_representative=representative is not None)
    detector = load_detector(model)
    categories = detector.config.categories
    data = load_dataset(verify, images, categories) if verify not in ("", "none") else None
    if representative is not None:
        examples = load_dataset(representative, images, categories).examples[:REPRESENTATIVE_IMAGES]
        options = options.with_representative([read_image(example.path) for example in examples])
    print(f"Exporting {model} to {out} ({form}, {precision}) ...", flush=True)
    report = make(detector, out, options, data, check=verify != "none")
    if report is None:
        print(f"{out} is written, but was not run.")
        return
    print(report.to_markdown())
    if report.passed:
        print(f"{out} is written; its report is in {out}.report.md.")
        return
    for fault in report.faults:
        print(f"error: {fault}", file=sys.stderr)
    raise typer.Exit(1)


def parse_size(text: str | None) -> tuple[int, int] | None:
    """ "320" -> (320, 320), "320x448" -> (320, 448), height first.

    Raises:
        InputError: another form.
    """
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdigit() for part in parts):
        raise InputError(f"--image-size: expected N or HxW (height first), found {text!r}")
    return int(parts[0]), int(parts[-1])
