"""What `tfrcnn train` says when it is done: the result, what is in the run's folder, and what to do next."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfrcnn.cli.job import Job
    from tfrcnn.data.example import Dataset
    from tfrcnn.training.run import Run


def result(job: Job, run: Run, validation: Dataset) -> str:
    """The score of the best detector as it was written, and what else is in the run's folder."""
    if job.scheme == "rpn-only":
        return _result_of_rpn(job, run)
    from tfrcnn.evaluation.evaluate import evaluate
    from tfrcnn.evaluation.report import render
    from tfrcnn.inference import Predictor
    from tfrcnn.training.schemes import SCHEMES

    detections = Predictor(run.detector).detect_dataset(validation, progress=sys.stderr.isatty())
    steps = ", ".join(f"{phase.name}/" for phase in SCHEMES[job.scheme][:-1])
    return f"""
The best detector, loaded from {run.folder}, on {job.val}:

{render(evaluate(validation, detections, job.metric))}
{run.folder} holds
  config.json, model-*.weights.h5    the best detector
  last/                              the newest one
  history.csv, curves.png            losses and scores of every epoch
  evaluation.json, predictions.png   the best detector on the validation data
{steps and f"  {steps:<34} the detectors that the earlier steps left{chr(10)}"}"""


def next_steps(job: Job, out: Path) -> str:
    """The commands that a user is likely to want next."""
    if job.scheme == "rpn-only":
        return f"""Next, a detector that learns from its proposals:
  tfrcnn train --scheme fast-rcnn-only --proposals {quoted(out)} --train {quoted(job.train)} --val {quoted(job.val)} \\
               --out {quoted(out)}-fast-rcnn"""
    images = f" --images {quoted(job.val_images)}" if job.val_images else ""
    return f"""Next, with data of your own that the run has not seen:
  tfrcnn evaluate --model {quoted(out)} --data {quoted(job.val)}{images}
  tfrcnn predict --model {quoted(out)} IMAGE_OR_FOLDER --out {quoted(out / "pictures")}"""


def quoted(path: str | Path) -> str:
    """A path as a shell takes it."""
    return shlex.quote(str(path))


def _result_of_rpn(job: Job, run: Run) -> str:
    loss = min(row["val_rpn_loss"] for row in run.history)
    return f"""
The best RPN, loaded from {run.folder}, has losses of {loss:.4f} together on {job.val}.

{run.folder} holds
  config.json, model-*.weights.h5    the best RPN, in a detector whose box head is as it began
  last/                              the newest one
  history.csv, curves.png            losses of every epoch
"""
