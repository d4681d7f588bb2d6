"""`tfrcnn train`: from data sets to a trained, measured detector in a run folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import typer

from tfrcnn.cli import train_options as opt
from tfrcnn.cli.outcome import next_steps, quoted, result
from tfrcnn.cli.startup import load_tensorflow
from tfrcnn.errors import InputError
from tfrcnn.files import address_in, check_local


def train(
    out: opt.Out,
    train: opt.Train = None,
    val: opt.Val = None,
    images: opt.Images = None,
    val_images: opt.ValImages = None,
    model: opt.Model = None,
    init: opt.Init = None,
    backbone_weights: opt.BackboneWeights = None,
    image_size: opt.ImageSize = None,
    anchors: opt.Anchors = None,
    scheme: opt.Scheme = None,
    proposals: opt.Proposals = None,
    epochs: opt.Epochs = None,
    batch_size: opt.BatchSize = None,
    accumulation_steps: opt.AccumulationSteps = None,
    optimizer: opt.Optimizer = None,
    learning_rate: opt.LearningRate = None,
    freeze: opt.Freeze = None,
    patience: opt.Patience = None,
    mixed_precision: opt.MixedPrecision = None,
    ema: opt.Ema = None,
    swa: opt.Swa = None,
    metric: opt.Metric = None,
    max_detections: opt.MaxDetections = None,
    score_threshold: opt.ScoreThreshold = None,
    seed: opt.Seed = None,
    settings: opt.Settings = None,
    loggers: opt.Loggers = None,
    cache: opt.Cache = False,
    feeders: opt.Feeders = None,
    resume: opt.Resume = False,
    lr_finder: opt.LRFinder = False,
    strategy: opt.Strategy = "auto",
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
    from tfrcnn.training.strategy import make_strategy
    from tfrcnn.training.workers import run_folder

    # before TensorFlow runs anything, since it joins several machines then; the sweep takes one device
    devices = make_strategy("none" if lr_finder else strategy)
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
        "accumulation_steps": accumulation_steps,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "frozen_stages": freeze,
        "patience": patience,
        "precision": "mixed" if mixed_precision else None,
        "ema": ema or None,
        "swa": swa,
        "seed": seed,
    }
    changes: dict[str, Any] = {f"training.{name}": value for name, value in options.items() if value is not None}
    limits = {"max_detections": max_detections, "score_threshold": score_threshold}
    changes.update({f"detector.detections.{name}": value for name, value in limits.items() if value is not None})
    if anchors:
        changes["detector.anchors"] = anchors
    if ema is False:
        changes["training.ema"] = None
    changes |= opt.parse_settings(settings, changes)
    settings_of_run = {
        "resume": resume,
        "cache": cache,
        "loggers": loggers and loggers.split(","),
        "feeders": feeders.split(",") if feeders else (),
    }
    chosen = {name: value for name, value in fields.items() if value is not None}
    others = {
        "resume": resume,
        "cache": cache,
        "loggers": bool(loggers),
        "feeders": bool(feeders),
        "strategy": strategy != "auto",
    }
    with devices.scope():
        if lr_finder:
            _find_learning_rate(check_local(out), chosen, changes, others)
            return
        with run_folder(out, resume) as folder:
            _train(folder, address_in(out) or str(out), chosen, changes, settings_of_run)


def _find_learning_rate(out: Path, fields: dict[str, Any], changes: dict[str, Any], others: dict[str, bool]) -> None:
    """Sweep the learning rate, and print the suggestion; none of the other options may be there."""
    from tfrcnn.training.recipe import Recipe

    for name in (name for name, is_there in others.items() if is_there):
        raise InputError(f"--lr-finder cannot be combined with --{name}")
    if "train" not in fields:
        raise InputError("--train DATA is needed")
    named = out if out.name not in ("", "..") else Path(os.path.abspath(out))  # "." has no name
    folder = check_local(named.with_name(f"{named.name}-lr-finder"))
    sweep = Recipe(**fields, changes=changes).find_learning_rate()
    sweep.save(folder)
    print(f"\nThe loss over the learning rate is in {folder}: lr_finder.png, lr_finder.json.")
    if sweep.suggestion is None:
        print("The loss did not fall, so there is no suggestion: look at the boxes with tfrcnn doctor.")
    else:
        print(f"Suggestion: --learning-rate {sweep.suggestion:.2g}")


def _train(out: Path, name: str, fields: dict[str, Any], changes: dict[str, Any], options: dict[str, Any]) -> None:
    """Train with the options of `Recipe.run`, and print the result and what to do next.

    Args:
        out: the folder to write to.
        name: of the run folder, as the user typed it.
        fields: of the recipe.
        changes: of the recipe's fields.
        options: of `Recipe.run`.
    """
    from tfrcnn.training.folder import SETUP, is_complete
    from tfrcnn.training.recipe import Recipe

    resume = options["resume"]
    if resume:
        recipe = Recipe.of_run(out).replace(**fields, changes=changes)
    else:
        if "train" not in fields:
            raise InputError("--train DATA is needed, unless a run is resumed")
        recipe = Recipe(**fields, changes=changes)
    was_complete = resume and is_complete(out, changes.get("training.epochs"), changes.get("training.patience", "same"))
    try:
        run = recipe.run(out, **options)
    except KeyboardInterrupt:
        if (out / SETUP).is_file():
            print(f"\ninterrupted; to go on: tfrcnn train --out {quoted(name)} --resume", file=sys.stderr)
        raise typer.Exit(130) from None
    recipe = Recipe.of_run(out)
    print("" if was_complete else result(recipe, run))
    print(next_steps(recipe, name))
