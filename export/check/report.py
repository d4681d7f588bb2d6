"""How an exported file compares with the Keras model, and how far a precision may differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ...deprecation import warn_deprecated
from ...files import atomic, write_json
from .operators import render

# The share of detections with a partner that a file needs. Measured on 40 pictures of digits, 770 detections, with the
# detector of `tfrcnn demo`: files whose AP stays within 0.01 have 0.975 to 1.0 (float16 1.0, dynamic 0.991, int8 0.999,
# int8 with ranges of one picture 0.975). int8 with ranges of noise has 0.950, and AP falls by 0.016; weights with noise
# of 8 % of their deviation have 0.951 and 0.961, and AP falls by up to 0.020; with noise of 20 %, 0.84 and 0.095.
MIN_PARTNERS = 0.97
# Of few detections, for example the 31 in the built-in pictures, one is 3 %: these files have 0.906 to 1.0 there.
FEW, MIN_PARTNERS_OF_FEW = 100, 0.9


@dataclass(frozen=True)
class Tolerance:
    """The largest differences that a precision may show; None does not limit.

    Attributes:
        score: Difference of a score.
        pixels: Difference of a box side, in pixels of an image whose longer side is 640.
        ap: Loss of AP, in [0, 1].
        partners: Smallest share of detections with a partner, in [0, 1]; counts where AP cannot be measured. Of fewer
            than `FEW` detections, `MIN_PARTNERS_OF_FEW` is enough.
    """

    score: float | None
    pixels: float | None
    ap: float | None
    partners: float | None = None

    def faults(
        self,
        score: float,
        box: float,
        unmatched: int,
        ap: float | None,
        keras_ap: float | None,
        partners: float | None = None,
        compared: int = FEW,
    ) -> Iterator[str]:
        """Yield a sentence for each value out of tolerance; the arguments are fields of `Report`."""
        if self.score is not None and score > self.score:
            yield f"scores differ by up to {score:.2g}, allowed {self.score:g}"
        if self.pixels is not None and box > self.pixels:
            yield f"boxes differ by up to {box:.2g} px, allowed {self.pixels:g}"
        if self.score is not None and unmatched:
            yield f"{unmatched} detections have no partner"
        if self._judges_ap(keras_ap):
            if ap is not None and keras_ap is not None and self.ap is not None and keras_ap - ap > self.ap:
                yield f"AP falls from {keras_ap:.4f} to {ap:.4f}, allowed {self.ap:g}"
        elif self.partners is not None and partners is not None:
            limit = self.partners if compared >= FEW else min(self.partners, MIN_PARTNERS_OF_FEW)
            if partners < limit:
                yield f"{partners:.1%} of {compared} detections have a partner, expected {limit:.0%} at least"

    def judges(self, detections: int, keras_ap: float | None, partners: float | None) -> bool:
        """Return whether there is something to judge a file by.

        Args:
            detections: Number of detections of the side that has more.
            keras_ap: AP of the Keras model; None without annotations.
            partners: Share of detections with a partner; None if no detection needs one.
        """
        if self.score is not None:
            return detections > 0
        return self._judges_ap(keras_ap) or partners is not None

    def _judges_ap(self, keras_ap: float | None) -> bool:
        """Return whether AP can fall by more than allowed: not from zero, nor from NaN."""
        return self.ap is not None and keras_ap is not None and keras_ap > self.ap


TOLERANCES = {
    "float32": Tolerance(1e-3, 0.05, 0.001),
    "float16": Tolerance(None, None, 0.005, MIN_PARTNERS),
    "dynamic": Tolerance(None, None, 0.01, MIN_PARTNERS),
    "int8": Tolerance(None, None, 0.01, MIN_PARTNERS),
}


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
