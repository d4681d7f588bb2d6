"""The configuration of the further stages of a Cascade R-CNN. `tfrcnn.config` exports it too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from tfrcnn.config_base import Config
from tfrcnn.config_rpn import MatchedConfig

MAX_STAGES = 8  # after the first; the paper finds no gain beyond two


@dataclass(frozen=True)
class CascadeConfig(Config):
    """The stages of a Cascade R-CNN after the first (Cai and Vasconcelos, arXiv 1712.00726).

    The head itself is the first stage: its `match` and `box_weights` are IoU 0.5 and (10, 10, 5, 5) by default. Each
    field has one item per further stage.

    Attributes:
        ious: a region is positive if its IoU with an object is at least this, and background if it is lower.
        box_weights: the deltas (y, x, h, w) are multiplied by these.
        loss_weights: the stage's losses are multiplied by these; the first stage's weight is 1.

    Example:
        tfrcnn.HeadConfig(class_agnostic=True, cascade=tfrcnn.CascadeConfig())
    """

    ious: tuple[float, ...] = (0.6, 0.7)
    box_weights: tuple[tuple[float, float, float, float], ...] = ((20.0, 20.0, 10.0, 10.0), (30.0, 30.0, 15.0, 15.0))
    loss_weights: tuple[float, ...] = (0.5, 0.25)

    def _check_ranges(self) -> None:
        count = len(self.ious)
        self._require(1 <= count <= MAX_STAGES, "ious", f"1 to {MAX_STAGES} numbers, one per stage after the first")
        self._require(all(0 < iou <= 1 for iou in self.ious), "ious", "in (0, 1]")
        for name in ("box_weights", "loss_weights"):
            self._require(len(getattr(self, name)) == count, name, f"one item for each of the {count} ious")
        positive = all(min(weights) > 0 for weights in self.box_weights)
        self._require(positive, "box_weights", "four positive numbers per stage")
        self._require(min(self.loss_weights) >= 0, "loss_weights", "at least 0")
        self._require_at_most(box_weights=1e6, loss_weights=1e6)


class CascadedConfig(MatchedConfig):
    """Base of the head's configuration: the options of a cascade, and the head of each of its stages."""

    box_weights: tuple[float, float, float, float]
    class_agnostic: bool
    cascade: CascadeConfig | None

    @property
    def stages(self) -> tuple[Self, ...]:
        """The head of each stage of the cascade, the first too; without a cascade the head alone."""
        if self.cascade is None:
            return (self,)
        first, heads = self.replace(cascade=None), []
        for iou, box_weights in zip(self.cascade.ious, self.cascade.box_weights):
            match = self.match.replace(foreground_iou=iou, background_iou=iou)
            heads.append(first.replace(match=match, box_weights=box_weights))
        return (first, *heads)

    @property
    def loss_weights(self) -> tuple[float, ...]:
        """The factor of each stage's losses."""
        return (1.0, *(self.cascade.loss_weights if self.cascade else ()))

    def _check_cascade(self) -> None:
        fits = self.class_agnostic or self.cascade is None
        self._require(fits, "class_agnostic", "true with a cascade, whose stages refine one box per region")
