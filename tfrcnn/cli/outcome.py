"""The end of `tfrcnn train`: the result, the files in the run folder, and the next commands."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfrcnn.training.recipe import Recipe
    from tfrcnn.training.run import Run


def result(recipe: Recipe, run: Run) -> str:
    """Say how good the best detector is, as it was written, and what else is in the run folder."""
    if run.validation is None:
        return f"\nThe newest detector is in {run.folder}.\n"
    if _scheme(recipe) == "rpn-only":
        return _result_of_rpn(recipe, run)
    from tfrcnn.evaluation.evaluate import evaluate
    from tfrcnn.evaluation.report import render
    from tfrcnn.inference import Predictor
    from tfrcnn.training.schemes import SCHEMES

    detections = Predictor(run.detector).detect_dataset(run.validation, progress=sys.stderr.isatty())
    steps = ", ".join(f"{phase.name}/" for phase in SCHEMES[_scheme(recipe)][:-1])
    return f"""
The best detector, loaded from {run.folder}, on {_val(recipe)}:

{render(evaluate(run.validation, detections, recipe.metric, run.detector.config.detections))}
{run.folder} holds
  config.json, model-*.weights.h5    the best detector
  last/                              the newest one
  history.csv, curves.png            losses and scores of every epoch
  evaluation.json, predictions.png   the best detector on the validation data
{steps and f"  {steps:<34} the detectors that the earlier steps left{chr(10)}"}"""


def next_steps(recipe: Recipe, out: str | Path) -> str:
    """Suggest the commands that a user is likely to want next."""
    val = quoted(str(recipe.val or "DATA"))
    data = val if isinstance(recipe.val, str) else "DATA"
    if _scheme(recipe) == "rpn-only":
        folders = _option("--images", recipe.images) + _option("--val-images", recipe.val_images)
        return f"""Next, a detector that learns from its proposals:
  tfrcnn train --scheme fast-rcnn-only --proposals {quoted(out)} --train {quoted(recipe.train)} --val {val} \\
               --out {quoted(out)}-fast-rcnn{folders}"""
    images = _option("--images", recipe.val_images)
    return f"""Next, with data that the run has not seen instead of the validation data:
  tfrcnn evaluate --model {quoted(out)} --data {data}{images}
  tfrcnn predict --model {quoted(out)} IMAGE_OR_FOLDER --out {quoted(f"{out}/pictures")}"""


def _val(recipe: Recipe) -> str:
    """Name the validation data."""
    return recipe.val if isinstance(recipe.val, str) else f"{recipe.val} of {recipe.train}"


def _option(name: str, value: str | None) -> str:
    return f" {name} {quoted(value)}" if value else ""


def quoted(path: str | Path) -> str:
    """Quote a path for a shell."""
    return shlex.quote(str(path))


def _scheme(recipe: Recipe) -> str:
    assert recipe.training is not None  # the recipe of a run is complete
    return recipe.training.scheme


def _result_of_rpn(recipe: Recipe, run: Run) -> str:
    loss = min(row["val_rpn_loss"] for row in run.history)
    return f"""
The best RPN, loaded from {run.folder}, has losses of {loss:.4f} together on {_val(recipe)}.

{run.folder} holds
  config.json, model-*.weights.h5    the best RPN, in a detector whose box head is as it began
  last/                              the newest one
  history.csv, curves.png            losses of every epoch
"""
