"""How an exported file compares with the Keras model, and how far a precision may differ."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ...deprecation import warn_deprecated
from ...files import atomic, write_json
from .operators import render

_NOT_IN_TABLE = (
    "faults",
    "worst_image",
    "stages",
    "first_divergent",
    "operators",
    "judged",
)  # `to_markdown` words them
NOT_JUDGED = (
    "not judged: there is no detection to compare in these images; "
    "verify on images with objects (--verify DATA), or lower the score threshold"
)


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
        stages: Difference of each stage on the worst image, see `differences.differences`; None if the file passes,
            empty if the format cannot compute stages.
        first_divergent: The first stage that differs by more than its precision explains; None if there is none.
        operators: The file's operators, see `check.operators.count`.
        file_detections: Number of the file's detections.
        partners: Share of both sides' detections with a partner, see `check.partners`; None if none needs one.
        compared: Number of both sides' detections that need a partner.
        judged: False if there is nothing to judge the file by.
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
    file_detections: int = 0
    partners: float | None = None
    compared: int = 0
    judged: bool = True

    @property
    def passed(self) -> bool:
        """True if the file is judged and within tolerance."""
        return self.verdict == "within tolerance"

    @property
    def verdict(self) -> Literal["within tolerance", "out of tolerance", "not judged"]:
        """The judgement of the file."""
        if self.faults:
            return "out of tolerance"
        return "within tolerance" if self.judged else "not judged"

    @property
    def form(self) -> str:
        """Deprecated name of `format`."""
        warn_deprecated("Report.form", "Report.format")
        return self.format

    def to_markdown(self) -> str:
        """Render tables of the comparison and of the file's operators."""
        numbers = {key: value for key, value in asdict(self).items() if key not in _NOT_IN_TABLE}
        rows = [(key.replace("_", " "), _shown(value)) for key, value in numbers.items()]
        reasons = {"out of tolerance": "; ".join(self.faults), "not judged": NOT_JUDGED}
        rows.append(("verdict", reasons.get(self.verdict, self.verdict)))
        if self.stages:
            rows.append(("first stage that diverges", self.first_divergent or "none: round-off adds up"))
            rows += [(f"difference of {stage} on the worst image", _shown(d)) for stage, d in self.stages.items()]
        table = "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows), ""])
        return f"{table}\n{render(self.operators)}\n" if self.operators else table

    def write(self, path: Path) -> None:
        """Write PATH.report.json and PATH.report.md next to the file."""
        write_json(path.with_name(f"{path.name}.report.json"), {**asdict(self), "verdict": self.verdict})
        with atomic(path.with_name(f"{path.name}.report.md")) as temporary:
            temporary.write_text(self.to_markdown(), encoding="utf-8")


def _shown(value: Any) -> str:
    if value is None:
        return "not measured"
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
