"""`tfrcnn train`: from data sets to a trained, measured detector in a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfrcnn.cli.job import DEFAULT_EMA, DEFAULT_MODEL, make_job, run_job
from tfrcnn.cli.options import DATA_HELP, IMAGES_HELP, PRESETS, ImageSize, Metric, Scheme
from tfrcnn.cli.startup import load_tensorflow

LARGEST_SEED = 2**30 - 1  # two streams of random numbers are drawn, with int32 seeds


def train(
    out: Annotated[Path, typer.Option(metavar="RUN", help="The folder of the run, new or empty unless --resume.")],
    train: Annotated[
        str | None, typer.Option(metavar="DATA", help=f"To learn from: {DATA_HELP}. Needed unless --resume.")
    ] = None,
    val: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="To choose the best epoch by; its classes are matched by name. Needed unless --resume.",
        ),
    ] = None,
    images: Annotated[str | None, typer.Option(metavar="DIR", help=IMAGES_HELP)] = None,
    val_images: Annotated[
        str | None, typer.Option(metavar="DIR", help="That of the --val images. Default: as --images.")
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
            help="Start from the detector in this folder (of tfrcnn train or import-weights) in place of --model and "
            "--backbone-weights: all is kept but the outputs for categories it does not know by name.",
        ),
    ] = None,
    backbone_weights: Annotated[
        str | None,
        typer.Option(
            metavar="imagenet|none|FILE",
            help="What the backbone starts from: imagenet (downloaded once by Keras), none (random, nothing frozen), "
            "or a file: made by keras.applications.NAME(include_top=False).save_weights (for vgg16 with "
            "include_top=True too: the box head then starts from its fc1 and fc2), or torchvision's classifier for "
            "the presets fasterrcnn_... Default: imagenet; none for tiny_fpn.",
        ),
    ] = None,
    image_size: ImageSize = None,
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
            help="For --scheme fast-rcnn-only: the detector in this folder proposes, unchanged, in training and ever "
            "after. Its network is taken in place of --model.",
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Times through the data for the RPN and for Fast R-CNN, both at once in joint training; the four "
            "steps take half of them each. Default: the preset's.",
        ),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(metavar="N", help="Images a step. Default: the preset's.")] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="For 16 images a step; the run takes X * batch size / 16. Default: the preset's.",
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
        typer.Option(help="What is measured after every epoch; the first number chooses the best. Default: coco."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, max=LARGEST_SEED, help="Of order, augmentation and sampling. Default: 0."),
    ] = None,
    cache: Annotated[bool, typer.Option("--cache", help="Keep the decoded training images in memory.")] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the run in RUN from its last complete epoch, as if it had never stopped. It remembers "
            "its options: --out is enough.",
        ),
    ] = False,
) -> None:
    """Train a detector on your boxes, measure it after every epoch, and keep the best.

    First all options and both data sets are checked, and every fault is reported at once, before any time is spent.
    A run can be stopped at any moment (Ctrl-C, a power cut): --resume goes on.

    \b
    Examples:
      tfrcnn train --train cells/VOC@train --val cells/VOC@val --out runs/cells
      tfrcnn train --train cells/train.json --val cells/val.json --out runs/cells2 \\
                   --model resnet50_fpn --image-size 640 --batch-size 8 --epochs 12
      tfrcnn train --train cells/VOC@train --val cells/VOC@val --out runs/four --scheme alternating
      tfrcnn train --out runs/cells --resume
    """
    load_tensorflow()
    asked = {
        "train": train,
        "val": val,
        "images": images,
        "val_images": val_images,
        "model": model,
        "init": init,
        "backbone_weights": backbone_weights,
        "image_size": image_size,
        "scheme": scheme,
        "proposals": proposals,
        "metric": metric,
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "precision": mixed_precision,
        "seed": seed,
    }
    asked = {name: value for name, value in asked.items() if value is not None}
    if ema is not None:
        asked["ema"] = ema or None
    run_job(make_job(out, asked, resume), out, resume, cache)
