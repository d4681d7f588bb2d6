"""How far an exported file may differ from the Keras model: one table by precision, and when two boxes are the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

MAX_PARTNER_PIXELS = 2.0  # a detection further away is another detection; at a longer side of 640
MIN_PARTNER_IOU = 0.5  # of a detection and its partner, where rounding moves boxes by pixels
ROUNDED_MARGIN = 0.05  # `Tolerance.margin` of precisions that round
SAME_PROPOSAL = 0.05  # pixels
SAME_CROP = 1e-3  # pixels within which two boxes pool the same features, up to round-off

# The share of detections with a partner that a file needs. Measured on 40 pictures of digits, 770 detections, with the
# detector of `tfrcnn demo`: files whose AP stays within 0.01 have 0.975 to 1.0 (float16 1.0, dynamic 0.991, int8 0.999,
# int8 with ranges of one picture 0.975). int8 with ranges of noise has 0.950, and AP falls by 0.016; weights with noise
# of 8 % of their deviation have 0.951 and 0.961, and AP falls by up to 0.020; with noise of 20 %, 0.84 and 0.095.
MIN_PARTNERS = 0.97
# One of few detections, for example of the 31 in the built-in pictures, is 3 %: these files have 0.906 to 1.0 there.
FEW, MIN_PARTNERS_OF_FEW = 100, 0.9


@dataclass(frozen=True)
class Tolerance:
    """The largest differences that a precision may show; None does not limit.

    Attributes:
        score: Difference of a score.
        pixels: Difference of a box side, in pixels of an image whose longer side is 640.
        ap: Loss of AP, in [0, 1].
        partners: Smallest share of detections with a partner, in [0, 1]; counts where AP cannot be measured. If
            there are fewer than `FEW` detections, `MIN_PARTNERS_OF_FEW` is enough.
        stage: Difference of a stage, see `differences`. In precisions that round, it only separates wrong stages from
            rounded ones.
    """

    score: float | None
    pixels: float | None
    ap: float | None
    partners: float | None = None
    stage: float = 0.1

    @property
    def margin(self) -> float:
        """Detections within this of a score threshold need no partner: round-off decides whether they exist."""
        return self.score or ROUNDED_MARGIN

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
    "float32": Tolerance(score=1e-3, pixels=0.05, ap=0.001, stage=1e-3),
    "float16": Tolerance(score=None, pixels=None, ap=0.005, partners=MIN_PARTNERS, stage=0.02),
    "dynamic": Tolerance(score=None, pixels=None, ap=0.01, partners=MIN_PARTNERS, stage=0.1),
    "int8": Tolerance(score=None, pixels=None, ap=0.01, partners=MIN_PARTNERS, stage=0.1),
}
