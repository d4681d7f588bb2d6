"""Write a file, run it, and only then give it its name."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import islice
from pathlib import Path

from ..data.decode import read_image
from ..data.example import Dataset
from ..files import check_path
from ..inference import Predictor
from ..models import FasterRCNN
from .artefact import representative_images
from .check.differences import first_divergent, stage_differences
from .check.report import Report
from .check.verification import edge_cases, verify
from .contract import config_of_export, copy_with
from .options import ExportOptions
from .runtimes import ArtefactPredictor

# Representative images to compare: a few objects in each make more than a hundred detections, enough to see 3 % go.
MAX_PICTURES = 32
NAMES = {"within tolerance": "", "out of tolerance": ".failed", "not judged": ".unjudged"}


def export(
    detector: FasterRCNN, path: str | Path, options: ExportOptions, images: Dataset | None = None, check: bool = True
) -> Report | None:
    """Export a detector, compare the file with the Keras model, and write a report next to it.

    A file that is out of tolerance is named NAME.failed.SUFFIX instead of NAME.SUFFIX. A file without a detection to
    compare is named NAME.unjudged.SUFFIX.

    Args:
        detector: The detector to export.
        path: The file or folder to write; it must not exist.
        options: The format and its options.
        images: Data set to compare on; None takes the representative images, or else built-in edge cases.
        check: False skips the comparison and the report.

    Returns:
        The report; `report.verdict` says whether the file is within tolerance. None if `check` is False.

    Raises:
        InputError: An option is out of range, see `ExportOptions.check`; the path exists; or the detector cannot be
            exported, see `contract.prepare` and `contract.category_ids`.

    Example:
        report = export(detector, "cells.onnx", ExportOptions("onnx"))
        assert report.passed, report.faults
    """
    path = check_path(path, "path")
    options.check(path)
    if options.representative is not None:  # read twice: the stages of a failed file need them again
        options = options.with_representative(list(options.representative))
    path.parent.mkdir(parents=True, exist_ok=True)
    unverified = path.with_name(f"{path.stem}.unverified{path.suffix}")
    _remove(unverified)
    options.target.write(detector, unverified, options)
    if not check:
        unverified.rename(path)
        return None
    report = _verify(detector, unverified, options, images)
    final = path.with_name(f"{path.stem}{NAMES[report.verdict]}{path.suffix}")
    _remove(final)
    unverified.rename(final)
    report.write(final)
    return report


def _verify(detector: FasterRCNN, path: Path, options: ExportOptions, images: Dataset | None) -> Report:
    artefact = ArtefactPredictor(options.target.load(path))
    static = artefact.runtime.description["image"]["static_size"]
    size = tuple(static) if static else None
    config = config_of_export(detector.config, size, options.max_detections, options.score_threshold)
    reference = detector
    if config != detector.config or detector.dtype_policy.name != "float32":  # a copy takes as much memory again
        # if the format cannot have these kernels, the file must differ
        reference = copy_with(detector, config, detector.kernels)
    pictures = []
    if not images:
        chosen = options.representative and representative_images(options.representative)
        pictures = list(islice(chosen, MAX_PICTURES)) if chosen else edge_cases()
    report = verify(Predictor(reference), artefact, path, images, pictures=pictures)
    if not report.faults:
        return report
    worst = report.worst_image
    example = images.examples[worst] if images else None
    picture = read_image(example.path, example.orientation) if example else pictures[worst]
    stages = stage_differences(reference, options, picture)
    return replace(report, stages=stages, first_divergent=first_divergent(stages, options.precision))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
