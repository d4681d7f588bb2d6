"""`tfrcnn train`: from data sets to a trained, measured detector in a run folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from tfrcnn.cli.options import (
    DATA_HELP,
    DEFAULT_EMA,
    DEFAULT_MODEL,
    IMAGES_HELP,
    PRESETS,
    ImageSize,
    Metric,
    Scheme,
)
from tfrcnn.cli.outcome import next_steps, quoted, result
from tfrcnn.cli.startup import load_tensorflow
from tfrcnn.config_training import MAX_SEED
from tfrcnn.errors import InputError


def train(
    out: Annotated[Path, typer.Option(metavar="RUN", help="The run folder, new or empty unless --resume.")],
    train: Annotated[
        str | None, typer.Option(metavar="DATA", help=f"Data to learn from: {DATA_HELP}. Needed unless --resume.")
    ] = None,
    val: Annotated[
        str | None,
        typer.Option(
            metavar="DATA|FRACTION",
            help="Data to choose the best epoch by; classes are matched by name. Or a part of --train to split off for "
            "it, for example 0.2: by image, with the rare classes on both sides, recorded in RUN/split.json. Default: "
            "none; the newest weights are kept.",
        ),
    ] = None,
    images: Annotated[str | None, typer.Option(metavar="DIR", help=IMAGES_HELP)] = None,
    val_images: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder of the --val images. Default: as --images.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="PRESET",
            help=f"{', '.join(PRESETS)}, or a preset of your own, FILE.json. Default: {DEFAULT_MODEL}.",
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="Start from the detector in this folder (of tfrcnn train or import-weights), instead of --model and "
            "--backbone-weights. All is kept except the outputs for categories that it does not know by name.",
        ),
    ] = None,
    backbone_weights: Annotated[
        str | None,
        typer.Option(
            metavar="imagenet|none|FILE",
            help="Weights that the backbone starts from: imagenet (Keras downloads them once), none (random, nothing "
            "frozen), or a file. The file is made by keras.applications.NAME(include_top=False).save_weights (for "
            "vgg16 also with include_top=True: the box head then starts from its fc1 and fc2), or is torchvision's "
            "classifier for the presets fasterrcnn_... Default: imagenet; none for tiny_fpn.",
        ),
    ] = None,
    image_size: ImageSize = None,
    anchors: Annotated[
        Literal["auto"] | None,
        typer.Option(
            help="auto: fit sizes and ratios of the anchors to the boxes of --train, as many as the model has. The run "
            "prints how many objects they can reach, before and after. Default: the model's.",
        ),
    ] = None,
    scheme: Annotated[
        Scheme | None,
        typer.Option(
            help="How RPN and Fast R-CNN are trained (section 3.2 of the paper). joint: both at once. alternating: the "
            "four steps. rpn-only: proposals alone. fast-rcnn-only: on the proposals of --proposals. unshared: two "
            "networks, the first two of the four steps. Default: joint.",
        ),
    ] = None,
    proposals: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="For --scheme fast-rcnn-only: the detector in this folder proposes, in training and afterwards, and "
            "is not changed. Its network replaces --model.",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Times through the data for the RPN and for Fast R-CNN, both at once in joint training; each of the "
            "four steps takes half of them. With --resume: the new number of a run that is extended or cut short. "
            "Default: the preset's.",
        ),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(metavar="N", help="Images per step. Default: the preset's.")] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="For 16 images per step; the run takes X * batch size / 16. Default: the preset's.",
        ),
    ] = None,
    mixed_precision: Annotated[
        bool | None,
        typer.Option(
            "--mixed-precision",
            help="Compute the network in 16 bits (mixed_float16 on a GPU, else mixed_bfloat16), boxes in 32.",
        ),
    ] = None,
    ema: Annotated[
        bool | None,
        typer.Option(
            help=f"Evaluate and keep moving averages of the weights (decay {DEFAULT_EMA}). Default: the preset's."
        ),
    ] = None,
    metric: Annotated[
        Metric | None,
        typer.Option(help="Metric after every epoch; its first number chooses the best. Default: coco."),
    ] = None,
    max_detections: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Detections that the detector keeps per image, for images of more than 100 objects. Short for --set "
            "detector.detections.max_detections=N.",
        ),
    ] = None,
    score_threshold: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Score in [0, 1) that the detector's detections exceed. Short for --set "
            "detector.detections.score_threshold=X.",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, max=MAX_SEED, help="Seed of order, augmentation and sampling. Default: 0."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="Change any field of TrainingConfig or DetectorConfig, for example training.horizontal_flip=false, "
            "training.milestones=[0.5,0.8] or detector.rpn.match.foreground_iou=0.6. VALUE is JSON, or else text. "
            "Repeat it for more fields.",
        ),
    ] = None,
    cache: Annotated[bool, typer.Option("--cache", help="Keep the decoded training images in memory.")] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue the run in RUN from its last complete epoch, as if it had never stopped. It remembers its "
            "options: --out is enough. --train, --val and --images say where data are that have moved.",
        ),
    ] = False,
) -> None:
    """Train a detector on your boxes, measure it after every epoch, and keep the best.

    First all options and both data sets are checked, and every fault is reported at once, before any time is spent.
    You can stop a run at any moment (Ctrl-C, a power cut): --resume continues it.

    \b
    Examples:
      tfrcnn train --train cells/VOC@train --val cells/VOC@val --out runs/cells
      tfrcnn train --train cells/all.json --val 0.2 --out runs/split
      tfrcnn train --train cells/train.json --val cells/val.json --out runs/cells2 \\
                   --model resnet50_fpn --image-size 640 --batch-size 8 --epochs 12
      tfrcnn train --train cells/VOC@train --val cells/VOC@val --out runs/flat \\
                   --set training.horizontal_flip=false --set detector.rpn.match.foreground_iou=0.6
      tfrcnn train --train cells/VOC@train --val cells/VOC@val --out runs/four --scheme alternating
      tfrcnn train --out runs/cells --resume
      tfrcnn train --out runs/cells --resume --epochs 80
    """
    load_tensorflow()
    fields = {
        "train": train,
        "val": val,
        "images": images,
        "val_images": val_images,
        "model": model,
        "init": init,
        "backbone_weights": backbone_weights,
        "image_size": image_size,
        "proposals": proposals,
        "metric": metric,
    }
    options = {
        "scheme": scheme,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "precision": "mixed" if mixed_precision else None,
        "ema": ema or None,
        "seed": seed,
    }
    changes: dict[str, Any] = {f"training.{name}": value for name, value in options.items() if value is not None}
    limits = {"max_detections": max_detections, "score_threshold": score_threshold}
    changes.update({f"detector.detections.{name}": value for name, value in limits.items() if value is not None})
    if anchors:
        changes["detector.anchors"] = anchors
    if ema is False:
        changes["training.ema"] = None
    changes.update(_parsed(text) for text in settings or ())
    _train(out, {name: value for name, value in fields.items() if value is not None}, changes, resume, cache)


def _train(out: Path, fields: dict[str, Any], changes: dict[str, Any], resume: bool, cache: bool) -> None:
    """Train, and print the result and what to do next."""
    from tfrcnn.training.folder import SETUP, is_complete
    from tfrcnn.training.recipe import Recipe

    if resume:
        recipe = Recipe.of_run(out).replace(**fields, changes=changes)
    else:
        if "train" not in fields:
            raise InputError("--train DATA is needed, unless a run is resumed")
        recipe = Recipe(**fields, changes=changes)
    was_complete = resume and is_complete(out, changes.get("training.epochs"))
    try:
        run = recipe.run(out, resume, cache)
    except KeyboardInterrupt:
        if (out / SETUP).is_file():
            print(f"\ninterrupted; to go on: tfrcnn train --out {quoted(out)} --resume", file=sys.stderr)
        raise typer.Exit(130) from None
    recipe = Recipe.of_run(out)
    print("" if was_complete else result(recipe, run))
    print(next_steps(recipe, out))


def _parsed(text: str) -> tuple[str, Any]:
    """Read FIELD=VALUE."""
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set: expected FIELD=VALUE, found {text!r}")
    try:
        return name, json.loads(value)
    except (ValueError, RecursionError):  # text, or a number or nesting that no field takes
        return name, value
