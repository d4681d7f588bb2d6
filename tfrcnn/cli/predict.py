"""`tfrcnn predict`: detect in pictures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tfrcnn.cli.options import Model
from tfrcnn.cli.startup import start_detector


def predict(
    pictures: Annotated[
        list[Path], typer.Argument(metavar="IMAGE_OR_FOLDER", help="Pictures, or folders of pictures.")
    ],
    model: Model,
    out: Annotated[Path, typer.Option(metavar="DIR", help="New folder for the results.")],
    score_threshold: Annotated[
        float, typer.Option(metavar="X", min=0, max=1, help="Drop detections of lower scores.")
    ] = 0.5,
    recursive: Annotated[bool, typer.Option("--recursive", help="Search subfolders too.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue in DIR: do the pictures that it has no detections of.")
    ] = False,
) -> None:
    """Detect in pictures: write each with its boxes, and all detections in COCO's result format.

    \b
    DIR/NAME.png          a picture with boxes, names and scores
    DIR/detections.jsonl  one line per picture, written as soon as it is done
    DIR/detections.json   [{"image_id", "category_id", "bbox": [x, y, width, height] in pixels, "score"}, ...]
    DIR/images.json       which picture an image_id is, which class a category_id is

    A picture that cannot be read is reported at the end, with exit code 2; the others are done.

    \b
    Example:
      tfrcnn predict --model runs/cells pictures/ more/cell.jpg --out predictions
      tfrcnn predict --model coco-resnet50 pictures/ --out predictions
    """
    from tfrcnn.export.runtimes import load
    from tfrcnn.prediction import check_new_folder, predict_images, search_images

    if not resume:
        check_new_folder(out)
    search = search_images(pictures, recursive)
    predictor = load(start_detector(model), score_threshold=score_threshold)
    try:
        result = predict_images(predictor, search.images, out, score_threshold, sys.stderr.isatty(), resume)
    except KeyboardInterrupt:
        print(f"interrupted: what is done is in {out}; continue with --resume", file=sys.stderr)
        raise
    for prediction in result.done:
        print(f"{prediction.source}: {len(prediction.detections.scores)} detections, drawn in {prediction.drawn}")
    if result.resumed:
        print(f"{result.resumed:,} pictures were done before.")
    if left_out := search.left_out():
        print(f"Left out: {left_out}.")
    print(f"\nAll detections are in {out / 'detections.json'}; {out / 'images.json'} says what its ids mean.")
    for error in result.unreadable:
        print(f"error: {error}", file=sys.stderr)
    if result.unreadable:
        raise typer.Exit(2)
