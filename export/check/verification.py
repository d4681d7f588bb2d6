"""Compare an exported file with the Keras model, detection by detection."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...config import DetectionConfig
from ...data.decode import read_image
from ...data.example import Dataset, ImageDetections
from ...evaluation.evaluate import Metric, evaluate
from ...files import check_path
from ...models import FasterRCNN
from .. import TARGETS
from ..artefact import size_bytes
from ..contract import check_weights
from .edge_cases import edge_cases as edge_cases
from .partners import count_partners, lowest_scores
from .report import Report
from .ties import replays
from .tolerances import MAX_PARTNER_PIXELS, TOLERANCES


def verify(
    reference: Any,
    artefact: Any,
    path: Path,
    images: Dataset | None = None,
    metric: Metric = "coco",
    pictures: Sequence[np.ndarray] | None = None,
) -> Report:
    """Compare an exported file with the Keras model.

    float32 is judged by each detection. The precisions that round are judged by AP, and where AP is not measured by the
    share of detections with a partner, see `check.partners`. Without a detection the file is not judged.

    Args:
        reference: A `Predictor` of the detector, with the options of the export.
        artefact: An `ArtefactPredictor` of the file.
        path: The file.
        images: Data set to compare on, and to measure AP on if it has objects. None, or an empty one, takes `pictures`.
        metric: The metric of AP.
        pictures: [H, W, 3] uint8 each, to compare on without a data set; None takes `edge_cases`.

    Returns:
        The report.

    Raises:
        InputError: A weight of the Keras model is not finite.

    Example:
        report = verify(Predictor(detector), load("cells.onnx"), Path("cells.onnx"), dataset)
    """
    check_path(path, "path")
    check_weights(reference.detector)
    if images:
        pictures, ids = (
            [read_image(e.path, e.orientation) for e in images.examples],
            [e.image_id for e in images.examples],
        )
    else:
        pictures = pictures or edge_cases()
        ids = list(range(len(pictures)))
    expected, keras_ms = _timed(reference, pictures, ids)
    actual, ms = _timed(artefact, pictures, ids)
    tolerance = TOLERANCES[artefact.precision]
    matches = [
        match(a, b, max(picture.shape[:2]), artefact.detections, tolerance.margin)
        for a, b, picture in zip(actual, expected, pictures)
    ]
    ap, keras_ap = None, None
    if images and any((~example.crowd).any() for example in images.examples):
        ap, keras_ap = (next(iter(evaluate(images, d, metric).headline.values())) for d in (actual, expected))
    score = max((m[0] for m in matches), default=0.0)
    box = max((m[1] for m in matches), default=0.0)
    alone = [len(m[2]) + len(m[3]) for m in matches]
    ties = [0] * len(matches)
    if tolerance.score is not None:  # other precisions round, so that detections lack a partner for many reasons
        for i, (_, _, *indices) in enumerate(matches):
            if alone[i]:
                ties[i] = count_ties(reference.detector, pictures[i], actual[i], expected[i], *indices)
    unmatched = sum(alone) - sum(ties)
    counts = [sum(len(detections.scores) for detections in side) for side in (expected, actual)]
    partners = count_partners(actual, expected, pictures, artefact.detections)
    faults = [*_not_finite(actual), *tolerance.faults(score, box, unmatched, ap, keras_ap, *partners)]
    return Report(
        format=artefact.format,
        precision=artefact.precision,
        images=len(pictures),
        detections=counts[0],
        max_score_error=score,
        max_box_error=box,
        unmatched=unmatched,
        ties=sum(ties),
        size_bytes=size_bytes(path),
        milliseconds=ms,
        keras_milliseconds=keras_ms,
        ap=ap,
        keras_ap=keras_ap,
        faults=tuple(faults),
        worst_image=max(range(len(matches)), key=lambda i: (alone[i] - ties[i], *matches[i][:2]), default=0),
        operators=tuple(TARGETS[artefact.format].operators(path)),
        file_detections=counts[1],
        partners=partners.share,
        compared=partners.compared,
        judged=tolerance.judges(max(counts), keras_ap, partners.share),
    )


def _not_finite(detections: Iterable[ImageDetections]) -> Iterator[str]:
    """Yield a fault if a file returns NaN or infinity, which no comparison with a limit finds."""
    count = sum(int(np.sum(~np.isfinite(np.column_stack([d.boxes, d.scores])).all(axis=1))) for d in detections)
    if count:
        yield f"{count} detections have boxes or scores that are not finite"


def match(
    candidate: ImageDetections,
    reference: ImageDetections,
    longer_side: int,
    limits: DetectionConfig,
    score_tolerance: float,
) -> tuple[float, float, list[int], list[int]]:
    """Pair the detections in one image: each of the reference with the nearest free candidate of its label.

    Args:
        candidate: Detections of the file.
        reference: Detections of the Keras model.
        longer_side: The image's longer side in pixels.
        limits: The score thresholds and the most detections per image.
        score_tolerance: The margin of `lowest_scores`: detections below it need no partner.

    Returns:
        The largest score error, the largest box error (pixels at 640), and the positions of candidates and of
        references without a partner.
    """
    scale = 640 / max(longer_side, 1)
    free = np.ones(len(candidate.scores), bool)
    score_error, box_error, alone = 0.0, 0.0, []
    for i in range(len(reference.scores)):
        errors = np.abs(candidate.boxes - reference.boxes[i]).max(axis=1, initial=0.0) * scale
        scores = np.abs(candidate.scores - reference.scores[i])
        possible = free & (candidate.labels == reference.labels[i]) & (errors <= MAX_PARTNER_PIXELS)
        if not possible.any():
            alone.append(i)
            continue
        best = int(np.flatnonzero(possible)[np.argmin(errors[possible] + scores[possible])])
        free[best] = False
        score_error, box_error = max(score_error, float(scores[best])), max(box_error, float(errors[best]))
    floors, reference_floors = lowest_scores(candidate, reference, limits, score_tolerance)
    candidate_alone = [i for i in np.flatnonzero(free).tolist() if candidate.scores[i] > floors[i]]
    return score_error, box_error, candidate_alone, [i for i in alone if reference.scores[i] > reference_floors[i]]


def count_ties(
    detector: FasterRCNN,
    picture: np.ndarray,
    candidate: ImageDetections,
    reference: ImageDetections,
    candidate_alone: list[int],
    reference_alone: list[int],
) -> int:
    """Count the detections without a partner that round-off decides in the Keras model too.

    A candidate is a tie if some replay of the Keras model detects it; a reference, if some replay does not.

    Args:
        detector: The Keras model.
        picture: [H, W, 3].
        candidate: Detections of the file.
        reference: Detections of the Keras model.
        candidate_alone: Positions without a partner, see `match`.
        reference_alone: Positions without a partner, see `match`.
    """
    scale = 640 / max(picture.shape[:2])
    appearing, missing = set(), set()
    for replay in replays(detector, picture):
        appearing |= {i for i in candidate_alone if _is_in(replay, candidate, i, scale)}
        missing |= {i for i in reference_alone if not _is_in(replay, reference, i, scale)}
    return len(appearing) + len(missing)


def _is_in(detections: ImageDetections, others: ImageDetections, i: int, scale: float) -> bool:
    errors = np.abs(detections.boxes - others.boxes[i]).max(axis=1, initial=0.0) * scale
    return bool(np.any((detections.labels == others.labels[i]) & (errors <= MAX_PARTNER_PIXELS)))


def _timed(
    predictor: Any, pictures: Sequence[np.ndarray], ids: Iterable[int | str]
) -> tuple[list[ImageDetections], float]:
    """Detect in each picture, and return the median milliseconds per picture too; the first picture warms up."""
    predictor.detect(pictures[0])
    detections, seconds = [], []
    for picture, image_id in zip(pictures, ids):
        started = time.perf_counter()
        detections.append(predictor.detect(picture, image_id))
        seconds.append(time.perf_counter() - started)
    return detections, 1000 * float(np.median(seconds))
