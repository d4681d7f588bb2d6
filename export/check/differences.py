"""How far each stage of an exported file is from the Keras model's, and which stage diverges first."""

from __future__ import annotations

import numpy as np

from ...models import FasterRCNN
from ..options import ExportOptions
from ..stages import STAGES, run_stages
from .tolerances import MAX_PARTNER_PIXELS, SAME_CROP, SAME_PROPOSAL, TOLERANCES


def stage_differences(reference: FasterRCNN, options: ExportOptions, picture: np.ndarray) -> dict[str, float]:
    """Compare each stage with its export, on one picture.

    Args:
        reference: The detector with the options of the export.
        options: The format and its precision.
        picture: [H, W, 3] uint8.

    Returns:
        The difference by stage, see `differences`; empty if the format cannot compute stages.
    """
    candidate = options.target.stage_outputs(reference, options, picture)
    if not candidate:
        return {}
    prepared = reference.get_layer("preprocessor")(picture[None].astype(np.float32))
    expected = run_stages(reference, prepared["images"], prepared["image_sizes"])
    return differences(candidate, {name: value.numpy() for name, value in expected.items()})


def differences(candidate: dict[str, np.ndarray], reference: dict[str, np.ndarray]) -> dict[str, float]:
    """Compare two results of `run_stages`.

    Returns:
        The difference by stage. For "proposals" and "detections", the share of the reference's boxes without a
        candidate within 0.05 and 2 pixels, in any order. For the other stages, the largest difference over the largest
        value; "roi_align" and "head" compare the proposals that both have.
    """
    boxes, others = (outputs["proposals_0"][0] for outputs in (reference, candidate))
    present = np.flatnonzero(boxes.any(axis=1))
    partners, distances = _nearest(boxes[present], others)
    same = distances <= SAME_CROP
    result: dict[str, float] = dict.fromkeys(STAGES, 0.0)
    for name, value in reference.items():
        stage, other = name.rsplit("_", 1)[0], candidate[name]
        if stage == "proposals":
            difference = float((distances > SAME_PROPOSAL).mean()) if len(present) else 0.0
        elif name == "detections_1":
            continue  # scores: they say which boxes are present
        elif stage == "detections":
            detected = value[0][reference["detections_1"][0] > 0]
            far = _nearest(detected, candidate["detections_0"][0])[1] > MAX_PARTNER_PIXELS
            difference = float(far.mean()) if len(far) else 0.0
        elif stage in ("roi_align", "head"):
            difference = _relative(other[0][partners[same]], value[0][present[same]])
        else:
            difference = _relative(other, value)
        result[stage] = float(np.maximum(result[stage], difference))  # keeps NaN, unlike max
    return result


def first_divergent(differences: dict[str, float], precision: str) -> str | None:
    """Return the first stage that differs by more than the precision explains; None if there is none."""
    return next((stage for stage in STAGES if not differences.get(stage, 0.0) <= TOLERANCES[precision].stage), None)


def _nearest(boxes: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each of [N, 4], the position of the nearest of [M, 4] and the largest distance of a side."""
    distances = np.abs(boxes[:, None] - others[None]).max(axis=2)
    return distances.argmin(axis=1), distances.min(axis=1)


def _relative(candidate: np.ndarray, reference: np.ndarray) -> float:
    if not reference.size:
        return 0.0
    return float(np.abs(candidate - reference).max() / max(float(np.abs(reference).max()), 1e-12))
