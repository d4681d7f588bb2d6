"""The outcome of each detection and each object: correct, or an error of one of the six types of TIDE.

TIDE (Bolya et al., arXiv 2008.08115) gives each false positive one reason, and calls an object missed if no detection
with another class or a better box would have been correct. An object is the target of the best detection that overlaps
it, as in the COCO metric.

Legend: N detections and M objects of the data set, n and m of one image, T IoU thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfrcnn.data.example import Dataset, Example, ImageDetections
from tfrcnn.data.example_table import column_of, objects_of, owners_of
from tfrcnn.evaluation.inputs import align, best, joined
from tfrcnn.overlap import pairwise_iou

ERRORS = ("cls", "loc", "both", "dup", "bkg", "miss")
MEANING = {
    "cls": "right place, wrong class",
    "loc": "right class, poor box",
    "both": "wrong class and poor box",
    "dup": "second detection of an object",
    "bkg": "background taken for an object",
    "miss": "object without any detection near it",
}
CORRECT = len(ERRORS)  # an entry of `Outcomes.kinds` is a position in ERRORS, or this
IOU, BACKGROUND_IOU = 0.5, 0.1  # TIDE's
MAX_DETECTIONS = 100  # per image, TIDE's and COCO's


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects of a data set.

    Attributes:
        images: [M] position of its image in the data set.
        labels: [M] 0..C-1.
        boxes: [M, 4] yxyx pixels.
        areas: [M] pixels^2.
        ignored: [M] bool, crowd or difficult: neither to detect nor to miss.
        matches: [M] the correct detection of the object, -1 if there is none.
        candidates: [M] the best detection that would be correct with another class or a better box, -1 if there is none
            or the object is detected.
    """

    images: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    ignored: np.ndarray
    matches: np.ndarray
    candidates: np.ndarray

    @property
    def missed(self) -> np.ndarray:
        """[M] bool, the objects of the error type "miss"."""
        missed: np.ndarray = ~self.ignored & (self.matches < 0) & (self.candidates < 0)
        return missed


@dataclass(frozen=True, eq=False)
class Outcomes:
    """The outcomes of all detections, by image and there by descending score.

    Attributes:
        num_images: images of the data set.
        num_classes: classes of the data set.
        images: [N] position of its image in the data set.
        labels: [N] 0..C-1.
        scores: [N] float64.
        boxes: [N, 4] yxyx pixels.
        kinds: [N] a position in `ERRORS`, or `CORRECT`.
        ignored: [N] bool: in a crowd region or on a difficult object, so it does not count.
        targets: [N] the object that the detection matches or that its error is about, -1 for none.
        ious: [N] IoU with this object, 0 for none.
        objects: the objects of the data set.
    """

    num_images: int
    num_classes: int
    images: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    kinds: np.ndarray
    ignored: np.ndarray
    targets: np.ndarray
    ious: np.ndarray
    objects: Objects

    @property
    def correct(self) -> np.ndarray:
        """[N] bool."""
        correct: np.ndarray = self.kinds == CORRECT
        return correct


def outcomes_of(
    dataset: Dataset,
    detections: Sequence[ImageDetections],
    iou: float = IOU,
    background_iou: float = BACKGROUND_IOU,
    max_detections: int = MAX_DETECTIONS,
) -> Outcomes:
    """Judge every detection and every object.

    Args:
        dataset: images with ground truth.
        detections: at most one entry per image, in any order.
        iou: lowest IoU of a correct detection, in (0, 1].
        background_iou: highest IoU of a detection that is of the background, below `iou`.
        max_detections: the detections per image that take part, best first.

    Raises:
        InputError: the detections do not fit the data set.

    Example:
        outcomes = outcomes_of(dataset, predictor.detect_dataset(dataset))
        print(outcomes.correct.mean(), outcomes.objects.missed.sum())
    """
    entries = align(dataset, detections)
    images, parts = [], []
    first_object = first_detection = 0
    for example, entry in zip(dataset.examples, entries):
        image = best(entry, max_detections)
        images.append(image)
        parts.append(_judge(example, image, iou, background_iou).shifted(first_detection, first_object))
        first_object += len(example.boxes)
        first_detection += len(image)
    examples = dataset.examples
    objects = Objects(
        images=owners_of(examples),
        labels=column_of(examples, "labels").astype(np.int64),
        boxes=column_of(examples, "boxes").astype(np.float64),
        areas=column_of(examples, "area").astype(np.float64),
        ignored=~objects_of(examples),
        matches=joined([part.matches for part in parts], np.int64),
        candidates=joined([part.candidates for part in parts], np.int64),
    )
    return Outcomes(
        num_images=len(examples),
        num_classes=len(dataset.categories),
        images=np.repeat(np.arange(len(images)), [len(image.scores) for image in images]),
        labels=joined([image.labels for image in images], np.int64),
        scores=joined([image.scores for image in images], np.float64),
        boxes=np.concatenate([np.zeros([0, 4]), *(image.boxes for image in images)]),
        kinds=joined([part.kinds for part in parts], np.int64),
        ignored=joined([part.ignored for part in parts], bool),
        targets=joined([part.targets for part in parts], np.int64),
        ious=joined([part.ious for part in parts], np.float64),
        objects=objects,
    )


def match(class_iou: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Match detections with objects: each, best score first, takes the free object that it overlaps most.

    Args:
        class_iou: [n, m] IoU of detections, best first, with objects; 0 for pairs of different classes.
        thresholds: [T] lowest IoU of a match.

    Returns:
        [T, n] the object of each detection, -1 for none.
    """
    matched = np.full([len(thresholds), len(class_iou)], -1)
    if class_iou.size == 0:
        return matched
    rows = np.arange(len(thresholds))
    taken = np.zeros([len(thresholds), class_iou.shape[1]], bool)
    for detection in np.flatnonzero(class_iou.max(axis=1) >= thresholds.min()):
        free = np.where(taken, -1.0, class_iou[detection])
        best = free.argmax(axis=1)
        hits = free[rows, best] >= thresholds
        matched[hits, detection] = best[hits]
        taken[rows[hits], best[hits]] = True
    return matched


def to_ignore(example: Example, image: ImageDetections, thresholds: np.ndarray) -> np.ndarray:
    """Return which detections are in a crowd region or on a difficult object of their class.

    A detection is in a crowd region if more than a threshold of its area is, as in the COCO metric.

    Args:
        example: the image with M objects.
        image: its n detections.
        thresholds: [T] IoU thresholds.

    Returns:
        [T, n] bool.
    """
    ignored = np.flatnonzero(example.crowd | example.difficult)
    if not len(ignored) or not len(image.boxes):
        return np.zeros([len(thresholds), len(image.boxes)], bool)
    same = image.labels[:, None] == example.labels[ignored]
    boxes, regions = image.boxes.astype(np.float64), example.boxes[ignored].astype(np.float64)
    sides = np.minimum(boxes[:, None, 2:], regions[:, 2:]) - np.maximum(boxes[:, None, :2], regions[:, :2])
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)[:, None]
    inside = np.prod(np.maximum(sides, 0.0), axis=-1) / np.where(area > 0, area, 1.0)
    limits = thresholds[:, None, None]
    hit = np.where(example.crowd[ignored], inside > limits, pairwise_iou(boxes, regions) >= limits)
    ignore: np.ndarray = np.any(same & hit, axis=-1)
    return ignore


@dataclass(frozen=True, eq=False)
class _Image:
    """The outcomes of one image; `Outcomes` and `Objects` have the same attributes."""

    kinds: np.ndarray
    ignored: np.ndarray
    targets: np.ndarray
    ious: np.ndarray
    matches: np.ndarray
    candidates: np.ndarray

    def shifted(self, detections: int, objects: int) -> _Image:
        """Return the same with numbers that count over the data set."""
        shift = [
            np.where(values < 0, -1, values + first)
            for values, first in ((self.targets, objects), (self.matches, detections), (self.candidates, detections))
        ]
        return _Image(self.kinds, self.ignored, shift[0], self.ious, *shift[1:])


def _judge(example: Example, image: ImageDetections, iou: float, background_iou: float) -> _Image:
    count = len(image.scores)
    counted = np.flatnonzero(~(example.crowd | example.difficult))
    matches, candidates = np.full([2, len(example.boxes)], -1)
    kinds = np.full(count, ERRORS.index("bkg"))
    targets, ious = np.full(count, -1), np.zeros(count)
    ignored = to_ignore(example, image, np.array([iou]))[0]
    if not count or not len(counted):
        return _Image(kinds, ignored, targets, ious, matches, candidates)
    overlap = pairwise_iou(image.boxes, example.boxes[counted])
    same = image.labels[:, None] == example.labels[counted]
    own_class = overlap * same
    matched = match(own_class, np.array([iou]))[0]
    hits = np.flatnonzero(matched >= 0)
    used = np.isin(np.arange(len(counted)), matched[hits])
    # In TIDE's order: the first type whose IoU is within its limits is the reason.
    reasons = (
        ("loc", own_class, background_iou, iou),
        ("cls", overlap * ~same, iou, np.inf),
        ("dup", own_class * used, iou, np.inf),
        ("bkg", overlap, 0.0, background_iou),
        ("both", overlap, 0.0, np.inf),
    )
    rows, pending = np.arange(count), matched < 0
    kinds[hits], matched_to = CORRECT, matched.copy()
    for name, values, low, high in reasons:
        best = values.argmax(axis=1)
        highest = values[rows, best]
        chosen = pending & (highest >= low) & (highest <= high)
        kinds[chosen] = ERRORS.index(name)
        if name != "bkg":
            matched_to[chosen] = best[chosen]
        pending &= ~chosen
    has_target = matched_to >= 0
    targets[has_target] = counted[matched_to[has_target]]
    ious[has_target] = overlap[rows[has_target], matched_to[has_target]]
    matches[targets[hits]] = hits
    ignored[hits] = False
    fixable = np.flatnonzero(np.isin(kinds, [ERRORS.index("loc"), ERRORS.index("cls")]))
    for detection in fixable[::-1]:  # the best comes last, and stays
        if matches[targets[detection]] < 0:
            candidates[targets[detection]] = detection
    return _Image(kinds, ignored, targets, ious, matches, candidates)
