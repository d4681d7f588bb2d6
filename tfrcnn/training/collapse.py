"""What to say about a run whose detector finds nothing, or hits objects by chance only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfrcnn.config import TrainingConfig
from tfrcnn.evaluation.evaluate import Metric
from tfrcnn.files import read_json
from tfrcnn.printable import count_of
from tfrcnn.training.measures import score_names
from tfrcnn.training.schemes import HEAD, SCHEMES

MIN_STEPS = 200  # fewer train no detector from scratch: `tfrcnn demo` takes 1,350
FALLEN = 0.9  # a loss that ends above this share of its first value has not fallen
RISEN = 1.1  # a loss that ends above this share of its first value has risen
MIN_SCORE = 0.005  # boxes drawn by chance hit some objects: a lower AP is as good as none


def explain_collapse(out: Path, history: list[dict[str, Any]], training: TrainingConfig, metric: Metric) -> str | None:
    """Say why no epoch of a run found more objects than chance does, and what to try.

    Args:
        out: the run folder.
        history: of the run.
        training: of the run.
        metric: of the run.

    Returns:
        A sentence or two; None if an epoch scores `MIN_SCORE` or more, or the run scores no detections.
    """
    phase, report = SCHEMES[training.scheme][-1], out / "evaluation.json"
    rows = [row for row in history if row.get("phase", 1) == phase.number]
    score = f"val_{score_names(phase, metric)[0]}"
    scores = [row[score] for row in rows if row.get(score) is not None]
    if HEAD not in phase.losses or not report.is_file() or not scores or max(scores) >= MIN_SCORE:
        return None
    what, best = "next to no correct detection", f"at most {max(scores):.2g}"
    if max(scores) == 0:
        detections = read_json(report)["counts"]["detections"]
        what, best = "no detection at all" if detections == 0 else "no correct detection", "0"
    return f"warning: {what} in the validation data, {score} is {best} in every epoch. {_cause(rows, training)}"


def _cause(rows: list[dict[str, Any]], training: TrainingConfig) -> str:
    first, last, steps, rate = rows[0]["loss"], rows[-1]["loss"], rows[-1]["step"], training.learning_rate
    losses = f"the loss was {first:.3g} in the first epoch and {last:.3g} in the last"
    lower = f"a tenth of the learning rate (training.learning_rate={rate / 10:g})"
    if len(rows) > 1 and last > RISEN * first:
        return f"Probably the learning rate of {rate:g} is too high and training collapsed: {losses}. Try {lower}."
    if len(rows) > 1 and last > FALLEN * first:
        cause = f"Probably the learning rate of {rate:g} is too high, or too low to learn: {losses}."
        return f"{cause} Measure it with tfrcnn train --lr-finder."
    if steps < MIN_STEPS:
        more = f"more epochs (training.epochs={training.epochs * -(-2 * MIN_STEPS // max(steps, 1))})"
        few = f"{count_of(steps, 'step')} {'is' if steps == 1 else 'are'} too few"
        return f"Probably {few}: {losses}. Try {more}; if that does not help, {lower}."
    return (
        f"Probably the learning rate of {rate:g} does not suit the data, or boxes are wrong: {losses}. Try {lower} or "
        "start weights (backbone_weights, init), and look at the boxes in predictions.png."
    )
