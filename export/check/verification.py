"""Run an artefact beside the Keras model it was made from, and match their detections one to one."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...config import DetectionConfig
from ...data.decode import read_image
from ...data.example import Dataset, ImageDetections
from ...evaluation.evaluate import Metric, evaluate
from ...files import atomic, write_json
from ...models import FasterRCNN
from .operators import operators, render
from .ties import replays

# A detection this far from its partner is another detection.
PARTNER_PIXELS = 2.0


@dataclass(frozen=True)
class Tolerance:
    """What a precision may differ by: scores, pixels of box corners for an image side of 640, and AP in [0, 1].

    None does not limit.
    """

    score: float | None
    pixels: float | None
    ap: float | None


TOLERANCES = {
    "float32": Tolerance(1e-3, 0.05, 0.001),
    "float16": Tolerance(None, None, 0.005),
    "dynamic": Tolerance(None, None, 0.01),
    "int8": Tolerance(None, None, 0.01),
}


# Attributes of a report that its table says in words
_IN_WORDS = ("faults", "worst_image", "stages", "first_divergent", "operators")


@dataclass(frozen=True)
class Report:
    """How an artefact compares with the Keras model.

    Attributes:
        images, detections: how many were compared (detections: the Keras model's, above the score threshold).
        max_score_error; max_box_error: in pixels of an image whose longer side is 640.
        unmatched: detections of either without a partner, whose score is further from the threshold than the tolerance.
        ties: further ones, which round-off decides in the Keras model too (`ties`).
        size_bytes: of the file or folder.
        milliseconds, keras_milliseconds: medians for one image.
        ap, keras_ap: the metric's first number, where annotations are given.
        faults: what is out of tolerance, as sentences; empty if it passes.
        worst_image: position of the image whose detections differ most.
        stages: how far each stage is apart on that image (`stages.differences`), and first_divergent the first of them
            that is by more than its precision explains; None where nothing is out of tolerance, or none was found.
        operators: what the file is made of (`operators.operators`).
    """

    form: str
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
        return not self.faults

    def to_markdown(self) -> str:
        """Tables for people: what was found, and the file's operators."""
        numbers = {key: value for key, value in asdict(self).items() if key not in _IN_WORDS}
        rows = [(key.replace("_", " "), _shown(value)) for key, value in numbers.items()]
        rows.append(("verdict", "within tolerance" if self.passed else "; ".join(self.faults)))
        if self.stages is not None:
            rows.append(("first stage that diverges", self.first_divergent or "none by itself: round-off that adds up"))
            rows += [(f"difference of {stage} on the worst image", _shown(d)) for stage, d in self.stages.items()]
        table = "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows), ""])
        return f"{table}\n{render(self.operators)}\n" if self.operators else table

    def write(self, path: Path) -> None:
        """PATH.report.json and PATH.report.md, beside the artefact."""
        write_json(path.with_name(f"{path.name}.report.json"), asdict(self))
        with atomic(path.with_name(f"{path.name}.report.md")) as temporary:
            temporary.write_text(self.to_markdown(), encoding="utf-8")


def verify(reference: Any, artefact: Any, path: Path, images: Dataset | None = None, metric: Metric = "coco") -> Report:
    """Compare an artefact with the Keras model.

    Args:
        reference: a `Predictor` of the detector, with the artefact's options.
        artefact: an `ArtefactPredictor`.
        path: the artefact.
        images: a data set to run on, for AP too if it has objects; None takes `edge_cases`.
    """
    pictures = [read_image(e.path) for e in images.examples] if images else edge_cases()
    ids = [example.image_id for example in images.examples] if images else list(range(len(pictures)))
    theirs, keras_ms = _timed(reference, pictures, ids)
    ours, ms = _timed(artefact, pictures, ids)
    tolerance = TOLERANCES[artefact.precision]
    matched = [
        match(a, b, max(picture.shape[:2]), artefact.detections, tolerance.score or 0.05)
        for a, b, picture in zip(ours, theirs, pictures)
    ]
    ap, keras_ap = None, None
    if images is not None and any(len(example.boxes) for example in images.examples):
        ap, keras_ap = (next(iter(evaluate(images, found, metric).headline.values())) for found in (ours, theirs))
    score = max((m[0] for m in matched), default=0.0)
    box = max((m[1] for m in matched), default=0.0)
    alone = [len(m[2]) + len(m[3]) for m in matched]
    ties = [0] * len(matched)
    if tolerance.score is not None:  # others round, and so have unmatched ones of many kinds
        for i, (_, _, *indices) in enumerate(matched):
            if alone[i]:
                ties[i] = count_ties(reference.detector, pictures[i], ours[i], theirs[i], *indices)
    unmatched = sum(alone) - sum(ties)
    return Report(
        form=artefact.form,
        precision=artefact.precision,
        images=len(pictures),
        detections=sum(len(found.scores) for found in theirs),
        max_score_error=score,
        max_box_error=box,
        unmatched=unmatched,
        ties=sum(ties),
        size_bytes=_size(path),
        milliseconds=ms,
        keras_milliseconds=keras_ms,
        ap=ap,
        keras_ap=keras_ap,
        faults=tuple(_faults(tolerance, score, box, unmatched, ap, keras_ap)),
        worst_image=max(range(len(matched)), key=lambda i: (alone[i] - ties[i], *matched[i][:2]), default=0),
        operators=tuple(operators(path, artefact.form)),
    )


def match(
    ours: ImageDetections, theirs: ImageDetections, longer_side: int, limits: DetectionConfig, score_tolerance: float
) -> tuple[float, float, list[int], list[int]]:
    """Pair the detections of one image, each of the reference with the nearest free one of its label.

    Args:
        limits: the score threshold, and the most detections of a list.

    Returns:
        the largest score error and box error (pixels at 640) of the pairs, and which of ours and of theirs are left
        without a partner. One that is within the score tolerance of the threshold, or of the lowest score of a full
        list, is not among them: round-off decides whether it is there.
    """
    scale = 640 / max(longer_side, 1)
    free = np.ones(len(ours.scores), bool)
    score_error, box_error, alone = 0.0, 0.0, []
    for i in range(len(theirs.scores)):
        errors = np.abs(ours.boxes - theirs.boxes[i]).max(axis=1, initial=0.0) * scale
        scores = np.abs(ours.scores - theirs.scores[i])
        possible = free & (ours.labels == theirs.labels[i]) & (errors <= PARTNER_PIXELS)
        if not possible.any():
            alone.append(i)
            continue
        best = int(np.flatnonzero(possible)[np.argmin(errors[possible] + scores[possible])])
        free[best] = False
        score_error, box_error = max(score_error, float(scores[best])), max(box_error, float(errors[best]))
    full = [float(f.scores[-1]) for f in (ours, theirs) if len(f.scores) == limits.max_detections]
    floor = max([limits.score_threshold, *full]) + score_tolerance
    ours_alone = [i for i in np.flatnonzero(free).tolist() if ours.scores[i] > floor]
    return score_error, box_error, ours_alone, [i for i in alone if theirs.scores[i] > floor]


def count_ties(
    detector: FasterRCNN,
    picture: np.ndarray,
    ours: ImageDetections,
    theirs: ImageDetections,
    ours_alone: list[int],
    theirs_alone: list[int],
) -> int:
    """How many of the detections without a partner (as of `match`) round-off decides in the Keras model too: those of
    ours that are there in some replay of it, and those of theirs that are not."""
    scale = 640 / max(picture.shape[:2])
    found, missing = set(), set()
    for replay in replays(detector, picture):
        found |= {i for i in ours_alone if _is_in(replay, ours, i, scale)}
        missing |= {i for i in theirs_alone if not _is_in(replay, theirs, i, scale)}
    return len(found) + len(missing)


def _is_in(detections: ImageDetections, of: ImageDetections, i: int, scale: float) -> bool:
    errors = np.abs(detections.boxes - of.boxes[i]).max(axis=1, initial=0.0) * scale
    return bool(np.any((detections.labels == of.labels[i]) & (errors <= PARTNER_PIXELS)))


def edge_cases() -> list[np.ndarray]:
    """Pictures for a verification without data: noise, black, white, grey, a pixel high, very wide, shapes."""
    rng = np.random.default_rng(0)
    shapes = np.full((360, 480, 3), 90, np.uint8)
    for _ in range(12):
        y, x, h, w = (*rng.integers(0, 300, 2), *rng.integers(20, 160, 2))
        shapes[y : y + h, x : x + w] = rng.integers(0, 256, 3)
    grey = np.repeat(rng.integers(0, 256, (200, 300, 1), np.uint8), 3, axis=2)
    return [
        rng.integers(0, 256, (240, 320, 3), np.uint8),
        np.zeros((240, 320, 3), np.uint8),
        np.full((320, 240, 3), 255, np.uint8),
        grey,
        rng.integers(0, 256, (1, 64, 3), np.uint8),
        rng.integers(0, 256, (40, 600, 3), np.uint8),
        shapes,
    ]


def _timed(
    predictor: Any, pictures: Sequence[np.ndarray], ids: Iterable[int | str]
) -> tuple[list[ImageDetections], float]:
    """Detections of each picture, and the median milliseconds a picture; the first is run once before."""
    predictor.detect(pictures[0])
    found, seconds = [], []
    for picture, image_id in zip(pictures, ids):
        started = time.perf_counter()
        found.append(predictor.detect(picture, image_id))
        seconds.append(time.perf_counter() - started)
    return found, 1000 * float(np.median(seconds))


def _faults(
    tolerance: Tolerance, score: float, box: float, unmatched: int, ap: float | None, keras_ap: float | None
) -> Iterable[str]:
    if tolerance.score is not None and score > tolerance.score:
        yield f"scores differ by up to {score:.2g}, allowed {tolerance.score:g}"
    if tolerance.pixels is not None and box > tolerance.pixels:
        yield f"boxes differ by up to {box:.2g} px, allowed {tolerance.pixels:g}"
    if tolerance.score is not None and unmatched:
        yield f"{unmatched} detections have no partner"
    if ap is not None and keras_ap is not None and tolerance.ap is not None and keras_ap - ap > tolerance.ap:
        yield f"AP falls from {keras_ap:.4f} to {ap:.4f}, allowed {tolerance.ap:g}"


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def _shown(value: Any) -> str:
    if value is None:
        return "not measured"
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
