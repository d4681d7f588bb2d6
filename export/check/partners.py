"""The share of detections that have a partner on the other side: the judgement of files without annotated images.

A precision that rounds moves boxes by pixels and scores by hundredths, so that no limit on either separates good files
from bad ones. It does not make objects appear or vanish.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...categories import score_limits
from ...config import DetectionConfig
from ...data.example import ImageDetections
from ...overlap import pairwise_iou
from .tolerances import MIN_PARTNER_IOU, ROUNDED_MARGIN


class Partners(NamedTuple):
    """Detections of both sides that need a partner.

    Attributes:
        share: The share that has one, in [0, 1]; None if there is no such detection.
        compared: Their number.
    """

    share: float | None
    compared: int


def count_partners(
    candidates: Sequence[ImageDetections],
    references: Sequence[ImageDetections],
    pictures: Sequence[np.ndarray],
    limits: DetectionConfig,
) -> Partners:
    """Count both sides' detections that have a partner of their label and place.

    Pictures of one colour do not count: on them a detector's answers are those to its padding.

    Args:
        candidates: Detections of the file in each picture.
        references: Detections of the Keras model in each picture.
        pictures: [H, W, 3] each.
        limits: The score thresholds and the most detections per image. Detections below `lowest_scores` need no
            partner.
    """
    needed = partnered = 0
    for candidate, reference, picture in zip(candidates, references, pictures):
        if np.ptp(picture.reshape(-1, picture.shape[-1]), axis=0).any():
            floors, candidate_floors = lowest_scores(reference, candidate, limits, ROUNDED_MARGIN)
            free = np.ones(len(candidate.scores), bool)
            overlaps = pairwise_iou(reference.boxes, candidate.boxes)
            possible = (overlaps >= MIN_PARTNER_IOU) & (reference.labels[:, None] == candidate.labels[None])
            for i in np.argsort(-reference.scores, kind="stable"):
                partners = np.flatnonzero(possible[i] & free)
                if len(partners):
                    free[partners[np.argmax(overlaps[i, partners])]] = False
                if reference.scores[i] > floors[i]:
                    needed, partnered = needed + 1, partnered + bool(len(partners))
            needed += int(np.sum(candidate.scores > candidate_floors))
            partnered += int(np.sum((candidate.scores > candidate_floors) & ~free))
    return Partners(partnered / needed if needed else None, needed)


def lowest_scores(
    one: ImageDetections, other: ImageDetections, limits: DetectionConfig, margin: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores up to which detections need no partner.

    Args:
        one: Detections of one side in an image.
        other: Detections of the other side in the same image.
        limits: The score thresholds and the most detections per image.
        margin: Detections within this of the threshold, or of the lowest score of a full list, need no partner:
            round-off decides whether they exist.

    Returns:
        one: [N] for its detections.
        other: [M] for its detections.
    """
    full = max([0.0, *(float(d.scores[-1]) for d in (one, other) if len(d.scores) == limits.max_detections)])
    floors = (np.maximum(score_limits(d.labels, limits, d.categories), full) + margin for d in (one, other))
    return next(floors), next(floors)
