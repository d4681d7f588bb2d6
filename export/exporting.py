"""Make an artefact, run it, and only then give it its name."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..data.decode import read_image
from ..data.example import Dataset
from ..errors import InputError
from ..inference import Predictor
from ..models import FasterRCNN
from .check.verification import Report, edge_cases, verify
from .contract import FORMATS, PRECISIONS, prepare
from .runtimes import ArtefactPredictor, load_runtime
from .stages import differences, first_divergent, run_stages

SUFFIXES = {"saved_model": "", "tflite": ".tflite", "onnx": ".onnx"}
PRECISIONS_OF = {
    "saved_model": ("float32",),
    "tflite": PRECISIONS,
    "onnx": ("float32", "float16", "int8"),
}


@dataclass(frozen=True)
class ExportOptions:
    """What is exported, and how; None keeps the detector's own value.

    `representative` are images [H, W, 3], RGB 0..255, that int8 finds its ranges on.
    """

    form: str
    precision: str = "float32"
    image_size: tuple[int, int] | None = None
    max_detections: int | None = None
    score_threshold: float | None = None
    representative: Iterable[np.ndarray] | None = None

    def with_representative(self, images: Iterable[np.ndarray]) -> ExportOptions:
        """The same with representative images."""
        return replace(self, representative=images)

    def check(self, path: Path, has_representative: bool | None = None) -> None:
        """Check all that can be checked before any work.

        Args:
            has_representative: whether representative images will be there; None looks.

        Raises:
            InputError: an unknown form or precision, int8 without representative images, or a path that exists.
        """
        if self.form not in FORMATS:
            raise InputError(f"unknown format {self.form!r}: expected one of {', '.join(FORMATS)}")
        if self.precision not in PRECISIONS_OF[self.form]:
            expected = ", ".join(PRECISIONS_OF[self.form])
            raise InputError(f"{self.form} has no precision {self.precision!r}: expected one of {expected}")
        has_representative = self.representative is not None if has_representative is None else has_representative
        if self.precision == "int8" and not has_representative:
            raise InputError(
                "int8 needs representative images to find its ranges on: give some (--representative DATA)"
            )
        suffix = SUFFIXES[self.form]
        if suffix and path.suffix != suffix:
            raise InputError(f"{path}: expected a name that ends in {suffix} for {self.form}")
        if path.exists():
            raise InputError(f"{path} exists: choose another name, or remove it")


def export(
    detector: FasterRCNN, path: str | Path, options: ExportOptions, images: Dataset | None = None, check: bool = True
) -> Report | None:
    """Export a detector, run the file in its own runtime beside the Keras model, and write a report beside it.

    A file that is out of tolerance does not get the name `path` but keeps `path` with ".failed" in front of its suffix.

    Args:
        images: to verify on; None takes built-in edge cases.
        check: False leaves the verification out.

    Returns:
        the report, which says whether the file passed; None without a verification.

    Raises:
        InputError: see `ExportOptions.check`, and the formats' own limits.
    """
    path = Path(path)
    options.check(path)
    if options.representative is not None:  # they are read again for the stages of a file that fails
        options = options.with_representative(list(options.representative))
    path.parent.mkdir(parents=True, exist_ok=True)
    unverified = path.with_name(f"{path.stem}.unverified{path.suffix}")
    _remove(unverified)
    write(detector, unverified, options)
    if not check:
        unverified.rename(path)
        return None
    report = _verified(detector, unverified, options, images)
    final = path if report.passed else path.with_name(f"{path.stem}.failed{path.suffix}")
    _remove(final)
    unverified.rename(final)
    report.write(final)
    return report


def write(detector: FasterRCNN, path: Path, options: ExportOptions) -> None:
    """Write the artefact, unverified."""
    limits: dict[str, Any] = {
        "image_size": options.image_size,
        "max_detections": options.max_detections,
        "score_threshold": options.score_threshold,
    }
    if options.form == "saved_model":
        from .saved_model.writer import to_saved_model

        to_saved_model(detector, path, **limits)
        return
    limits.update(precision=options.precision, representative=options.representative)
    if options.form == "tflite":
        from .tflite.writer import to_tflite

        to_tflite(detector, path, **limits)
    else:
        from .onnx.writer import to_onnx

        to_onnx(detector, path, **limits)


def _verified(detector: FasterRCNN, path: Path, options: ExportOptions, images: Dataset | None) -> Report:
    artefact = ArtefactPredictor(load_runtime(path, options.form))
    static = artefact.runtime.description["image"]["static_size"]
    reference = prepare(
        detector,
        tuple(static) if static else None,
        options.max_detections,
        options.score_threshold,
        roi_align="crop_and_resize",
    )
    report = verify(Predictor(reference), artefact, path, images)
    if report.passed:
        return report
    examples = images.examples if images else ()
    picture = read_image(examples[report.worst_image].path) if examples else edge_cases()[report.worst_image]
    found = _stage_differences(reference, options, picture)
    return replace(report, stages=found, first_divergent=first_divergent(found, options.precision))


def _stage_differences(reference: FasterRCNN, options: ExportOptions, picture: np.ndarray) -> dict[str, float]:
    """How far each stage is off on a picture, in the same runtime by the same conversion."""
    if options.form == "saved_model":
        from .saved_model.writer import stage_outputs
    elif options.form == "tflite":
        from .tflite.writer import stage_outputs
    else:
        from .onnx.writer import stage_outputs

    ours = stage_outputs(reference, options.precision, options.representative, picture)
    prepared = reference.get_layer("preprocessor")(picture[None].astype(np.float32))
    theirs = run_stages(reference, prepared["images"], prepared["image_sizes"])
    return differences(ours, {name: value.numpy() for name, value in theirs.items()})


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
