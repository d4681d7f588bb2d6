"""Calibration: is a detection with score 0.8 correct in 80 of 100 cases?

Legend: N detections, B bins of scores.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tfrcnn.evaluation.outcomes import Outcomes

BINS = 10


def calibration(outcomes: Outcomes) -> dict[str, Any]:
    """Compare scores with the share of correct detections, in bins of equal width.

    Args:
        outcomes: of the detector. Ignored detections do not count.

    Returns:
        "ece", the expected calibration error (Guo et al., arXiv 1706.04599): the mean of |precision - score| over the
        bins, weighted by their detections; None without detections. "bins": of each, "low" and "high", "count", and
        its mean "score" and its "precision", None if it is empty. "per_class": the error of each class, by label.

    Example:
        print(calibration(outcomes_of(dataset, detections))["ece"])
    """
    counted = ~outcomes.ignored
    scores, correct = outcomes.scores[counted], outcomes.correct[counted]
    labels = outcomes.labels[counted]
    places = np.clip((scores * BINS).astype(int), 0, BINS - 1)
    count = np.bincount(places, minlength=BINS)
    score = np.bincount(places, scores, BINS) / np.maximum(count, 1)
    precision = np.bincount(places, correct, BINS) / np.maximum(count, 1)
    bins = [
        {
            "low": place / BINS,
            "high": (place + 1) / BINS,
            "count": int(count[place]),
            "score": round(float(score[place]), 4) if count[place] else None,
            "precision": round(float(precision[place]), 4) if count[place] else None,
        }
        for place in range(BINS)
    ]
    # The gap of a bin times its detections is the sum of (correct - score) over them.
    cells = labels * BINS + places
    gaps = np.abs(np.bincount(cells, correct - scores, outcomes.num_classes * BINS).reshape(-1, BINS)).sum(axis=1)
    totals = np.bincount(labels, minlength=outcomes.num_classes)
    return {
        "ece": float(np.abs(np.bincount(places, correct - scores, BINS)).sum() / len(scores)) if len(scores) else None,
        "bins": bins,
        "per_class": [float(gap / total) if total else None for gap, total in zip(gaps, totals)],
    }
