"""Checks of the options of `tfrcnn evaluate` against each other, before anything slow."""

from __future__ import annotations

from pathlib import Path

from tfrcnn.cli.detecting import DetectorOptions, ViewOptions
from tfrcnn.cli.outputs import check_outputs
from tfrcnn.errors import InputError
from tfrcnn.files import address_in

DEFAULT_TARGET = 0.9  # precision or recall


def check_exported(model: Path, proposals: bool, write_thresholds: bool) -> None:
    """Raise InputError if an option needs a run folder."""
    if proposals:
        raise InputError(f"--proposals needs a run folder; {model} gives detections only")
    if write_thresholds:
        raise InputError(f"--write-thresholds needs a run folder; {model} keeps the thresholds of its export")


def check_inputs(model: Path, data: str | None, images: str | None, write_thresholds: bool) -> None:
    """Raise InputError if images have no data set, or thresholds cannot be written into the run folder."""
    if data is None and images is not None:
        raise InputError("--images needs --data")
    if not write_thresholds:
        return
    from tfrcnn.run_description import check_not_in_use
    from tfrcnn.weights.published import is_published

    expected = "--write-thresholds: expected a run folder on this machine as --model"
    if address := address_in(model):
        raise InputError(f"{expected}, found {address}")
    if is_published(model, "detector"):  # its folder is in the cache, where it serves every project
        raise InputError(f"{expected}, found the published {model}: tfrcnn import-weights {model} --out RUN makes one")
    check_not_in_use(model)


def check_proposals(metric: str | None, options: DetectorOptions, report: Path | None) -> None:
    """Raise InputError if an option is set that has no meaning for proposals."""
    refused = {
        "--metric": metric is not None,
        "--max-detections and --score-threshold": (options.max_detections, options.score_threshold) != (None, None),
        "--set and the options of views": bool(options.changes) or options.views != ViewOptions(),
        "--report": report is not None,
    }
    for option, is_set in refused.items():
        if is_set:
            raise InputError(f"{option} cannot be combined with --proposals")


def check_page(
    report: Path | None,
    json: Path | None,
    compare: str | None,
    targets: tuple[float | None, float | None],
    write_thresholds: bool,
    data: str | None = None,
) -> tuple[Path | None, float, float]:
    """Check the files to write; return the page, and the precision and recall that its thresholds are for."""
    check_outputs({"--json": json}, data, compare)
    if report is None:
        if compare is not None:
            raise InputError("--compare needs --report, the page of the comparison")
        if targets != (None, None):
            raise InputError("--min-precision and --min-recall need --report, the page of the thresholds")
        if write_thresholds:
            raise InputError("--write-thresholds needs --report, which finds them")
        return None, DEFAULT_TARGET, DEFAULT_TARGET
    from tfrcnn.report.evaluation import check_report, numbers_path

    precision, recall = (DEFAULT_TARGET if value is None else value for value in targets)
    page = check_report(report, precision, recall)
    if json is not None and json.absolute() == numbers_path(page).absolute():
        raise InputError(f"--json: expected another file than the numbers of --report, found {json}")
    return page, precision, recall


def check_engine(engine: str, metric: str, proposals: bool) -> None:
    """Raise InputError if the engine cannot compute this metric, or is not installed."""
    from tfrcnn.installed import check_package

    if engine == "pycocotools":
        return
    if metric != "coco" or proposals:
        raise InputError(f"--engine {engine} computes the COCO metric of detections only")
    check_package("faster_coco_eval", "--engine")
