"""The configuration of the last stage: from head outputs to detections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Literal

from tfrcnn.config_base import Config, shown
from tfrcnn.config_rpn import MAX_LENGTH
from tfrcnn.errors import InputError

MAX_DETECTIONS = 100_000  # per image, far above any use


@dataclass(frozen=True)
class DetectionConfig(Config):
    """From head outputs to detections.

    Attributes:
        score_threshold: detections of lower or equal score are dropped, in [0, 1).
        nms_iou: the IoU above which two boxes compete; "soft_gaussian" does not use it.
        max_detections: detections kept per image, best first.
        min_size: boxes with a shorter side are dropped, in pixels.
        nms: what happens to a box that overlaps a better one, see `tfrcnn.layers.suppression`. "hard" drops it,
            "soft_linear" and "soft_gaussian" lower its score, "weighted_fusion" averages both.
        class_agnostic_nms: True lets boxes of different classes compete; False only boxes of one class.
        nms_sigma: of "soft_gaussian", whose scores fall by exp(-IoU^2 / sigma).
        class_score_thresholds: thresholds of single classes in place of `score_threshold`, by category name, for
            example {"cell": 0.6}.

    Example:
        tfrcnn.DetectionConfig(score_threshold=0.3, max_detections=20, class_agnostic_nms=True)
    """

    score_threshold: float = 0.05
    nms_iou: float = 0.5
    max_detections: int = 100
    min_size: float = 1e-2
    nms: Literal["hard", "soft_linear", "soft_gaussian", "weighted_fusion"] = "hard"
    class_agnostic_nms: bool = False
    nms_sigma: float = 0.5
    class_score_thresholds: dict[str, float] | None = None

    def _check_ranges(self) -> None:
        self._require(0 <= self.score_threshold < 1, "score_threshold", "in [0, 1)")
        self._require(0 < self.nms_iou <= 1, "nms_iou", "in (0, 1]")
        self._require(self.max_detections >= 1, "max_detections", "at least 1")
        self._require(self.nms_sigma > 0, "nms_sigma", "above 0")
        self._require_at_most(max_detections=MAX_DETECTIONS, min_size=MAX_LENGTH, nms_sigma=1e6)
        if self.class_score_thresholds is not None:
            fits = all(_is_threshold(value) for value in self.class_score_thresholds.values())
            fits = fits and all(isinstance(name, str) for name in self.class_score_thresholds)
            self._require(fits, "class_score_thresholds", "category names with numbers in [0, 1)")
            numbers = {name: float(value) for name, value in self.class_score_thresholds.items()}  # NumPy's too
            object.__setattr__(self, "class_score_thresholds", numbers)

    def score_thresholds(self, names: Sequence[str]) -> list[float]:
        """Return the threshold of each class.

        Args:
            names: of the detector's categories, in their order.

        Example:
            tfrcnn.DetectionConfig(class_score_thresholds={"dog": 0.6}).score_thresholds(["cat", "dog"])  # [0.05, 0.6]
        """
        return [(self.class_score_thresholds or {}).get(name, self.score_threshold) for name in names]

    def with_thresholds(self, common: float | None, of_classes: Mapping[str, float]) -> DetectionConfig:
        """Return a copy with other thresholds.

        Args:
            common: threshold of all classes, which also replaces their own; None keeps both.
            of_classes: thresholds of single classes, by name.
        """
        kept = (self.class_score_thresholds or {}) if common is None else {}
        common = self.score_threshold if common is None else common
        return self.replace(score_threshold=common, class_score_thresholds={**kept, **of_classes} or None)

    def for_names(self, names: Sequence[str]) -> DetectionConfig:
        """Return a copy without the thresholds of other categories than these."""
        kept = {name: value for name, value in (self.class_score_thresholds or {}).items() if name in names}
        return self.replace(class_score_thresholds=kept or None)

    def check_names(self, names: Sequence[str]) -> None:
        """Check that the thresholds of single classes are of a detector's categories.

        Raises:
            InputError: a name is not among `names`.
        """
        for name in self.class_score_thresholds or {}:
            if name not in names:
                raise InputError(
                    "DetectionConfig.class_score_thresholds: expected names of the detector's categories "
                    f"({shown(', '.join(names))}), found {shown(name)}"
                )


def _is_threshold(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and 0 <= float(value) < 1
