"""How an exported file compares with the Keras model, and how far a precision may differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...deprecation import warn_deprecated
from ...files import atomic, write_json
from .operators import render


@dataclass(frozen=True)
class Tolerance:
    """The largest differences that a precision may show; None does not limit.

    Attributes:
        score: Difference of a score.
        pixels: Difference of a box side, in pixels of an image whose longer side is 640.
        ap: Loss of AP, in [0, 1].
    """

    score: float | None
    pixels: float | None
    ap: float | None

    def faults(
        self, score: float, box: float, unmatched: int, ap: float | None, keras_ap: float | None
    ) -> Iterator[str]:
        """Yield a sentence for each value out of tolerance; the arguments are fields of `Report`."""
        if self.score is not None and score > self.score:
            yield f"scores differ by up to {score:.2g}, allowed {self.score:g}"
        if self.pixels is not None and box > self.pixels:
            yield f"boxes differ by up to {box:.2g} px, allowed {self.pixels:g}"
        if self.score is not None and unmatched:
            yield f"{unmatched} detections have no partner"
        if ap is not None and keras_ap is not None and self.ap is not None and keras_ap - ap > self.ap:
            yield f"AP falls from {keras_ap:.4f} to {ap:.4f}, allowed {self.ap:g}"


TOLERANCES = {
    "float32": Tolerance(1e-3, 0.05, 0.001),
    "float16": Tolerance(None, None, 0.005),
    "dynamic": Tolerance(None, None, 0.01),
    "int8": Tolerance(None, None, 0.01),
}


_NOT_IN_TABLE = ("faults", "worst_image", "stages", "first_divergent", "operators")  # `to_markdown` words them


@dataclass(frozen=True)
class Report:
    """How an exported file compares with the Keras model.

    Attributes:
        format: The file's format.
        precision: The file's precision.
        images: Number of images compared.
        detections: Number of the Keras model's detections.
        max_score_error: Largest difference of a score.
        max_box_error: Largest difference of a box side, in pixels of an image whose longer side is 640.
        unmatched: Number of detections of either side without a partner. Detections within the tolerance of the score
            threshold do not count.
        ties: Number of detections without a partner because round-off decides them, see `check.ties`.
        size_bytes: Size of the file or folder.
        milliseconds: Median time per image.
        keras_milliseconds: Median time per image of the Keras model.
        ap: First number of the metric; None without annotations.
        keras_ap: The same of the Keras model.
        faults: A sentence for each value out of tolerance; empty if the file passes.
        worst_image: Position of the image whose detections differ most.
        stages: Difference of each stage on the worst image, see `stages.differences`; None if the file passes, empty
            if the format cannot compute stages.
        first_divergent: The first stage that differs by more than its precision explains; None if there is none.
        operators: The file's operators, see `check.operators.count`.
    """

    format: str
    precision: str
    images: int
    detections: int
    max_score_error: float
    max_box_error: float
    unmatched: int
    ties: int
    size_bytes: int
    milliseconds: float
    keras_milliseconds: float
    ap: float | None
    keras_ap: float | None
    faults: tuple[str, ...]
    worst_image: int = 0
    stages: dict[str, float] | None = None
    first_divergent: str | None = None
    operators: tuple[dict[str, Any], ...] = ()

    @property
    def passed(self) -> bool:
        """True if the file is within tolerance."""
        return not self.faults

    @property
    def form(self) -> str:
        """Deprecated name of `format`."""
        warn_deprecated("Report.form", "Report.format")
        return self.format

    def to_markdown(self) -> str:
        """Render tables of the comparison and of the file's operators."""
        numbers = {key: value for key, value in asdict(self).items() if key not in _NOT_IN_TABLE}
        rows = [(key.replace("_", " "), _shown(value)) for key, value in numbers.items()]
        rows.append(("verdict", "within tolerance" if self.passed else "; ".join(self.faults)))
        if self.stages:
            rows.append(("first stage that diverges", self.first_divergent or "none: round-off adds up"))
            rows += [(f"difference of {stage} on the worst image", _shown(d)) for stage, d in self.stages.items()]
        table = "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows), ""])
        return f"{table}\n{render(self.operators)}\n" if self.operators else table

    def write(self, path: Path) -> None:
        """Write PATH.report.json and PATH.report.md next to the file."""
        write_json(path.with_name(f"{path.name}.report.json"), asdict(self))
        with atomic(path.with_name(f"{path.name}.report.md")) as temporary:
            temporary.write_text(self.to_markdown(), encoding="utf-8")


def _shown(value: Any) -> str:
    if value is None:
        return "not measured"
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
