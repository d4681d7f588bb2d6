"""Checks of the options of `tfrcnn evaluate` against each other, before anything slow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfrcnn.cli.detecting import ViewOptions
from tfrcnn.errors import InputError


def check_exported(model: Path, proposals: bool, write_thresholds: bool) -> None:
    """Raise InputError if an option needs a run folder."""
    if proposals:
        raise InputError(f"--proposals needs a run folder; {model} gives detections only")
    if write_thresholds:
        raise InputError(f"--write-thresholds needs a run folder; {model} keeps the thresholds of its export")


def check_proposals(
    metric: str | None,
    max_detections: int | None,
    score_threshold: str | None,
    changes: dict[str, Any],
    views: ViewOptions,
    report: Path | None,
) -> None:
    """Raise InputError if an option is set that has no meaning for proposals."""
    options = {
        "--metric": metric is not None,
        "--max-detections and --score-threshold": (max_detections, score_threshold) != (None, None),
        "--set and the options of views": bool(changes) or views != ViewOptions(),
        "--report": report is not None,
    }
    for option, is_set in options.items():
        if is_set:
            raise InputError(f"{option} cannot be combined with --proposals")


def check_page(
    report: Path | None,
    json: Path | None,
    compare: str | None,
    min_precision: float,
    min_recall: float,
    write_thresholds: bool,
) -> Path | None:
    """Check the options of the report; return its page."""
    if report is None:
        if compare is not None:
            raise InputError("--compare needs --report, the page of the comparison")
        if write_thresholds:
            raise InputError("--write-thresholds needs --report, which finds them")
        return None
    from tfrcnn.report.evaluation import check_report, numbers_path

    page = check_report(report, min_precision, min_recall)
    if json is not None and json.absolute() == numbers_path(page).absolute():
        raise InputError(f"--json: expected another file than the numbers of --report, found {json}")
    return page


def check_engine(engine: str, metric: str, proposals: bool) -> None:
    """Raise InputError if the engine cannot compute this metric, or is not installed."""
    from tfrcnn.installed import check_package

    if engine == "pycocotools":
        return
    if metric != "coco" or proposals:
        raise InputError(f"--engine {engine} computes the COCO metric of detections only")
    check_package("faster_coco_eval", "--engine")
