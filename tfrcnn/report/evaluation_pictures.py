"""The pictures of a report on an evaluation: errors up close, the worst images, and two detectors side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from tfrcnn.data.checks import in_threads
from tfrcnn.data.decode import read_image
from tfrcnn.data.example import Example
from tfrcnn.drawing import color_of, draw_comparison
from tfrcnn.drawing.palette import WHITE
from tfrcnn.drawing.pen import Pen
from tfrcnn.errors import InputError
from tfrcnn.evaluation.inputs import align
from tfrcnn.evaluation.outcomes import ERRORS
from tfrcnn.report.evaluation_numbers import Judged
from tfrcnn.report.pictures import Item, Pair, Picture, embed

SIDE, PAIR_SIDE = 360, 300  # pixels of the longer side
MAX_PAIRS = 12
MIN_VIEW, CONTEXT = 96, 2.5  # a close-up shows at least so many pixels, and so many times the box
MAX_ZOOM = 6
KINDS = {
    "bkg": "false: background",
    "miss": "missed object",
    "cls": "wrong class",
    "loc": "poor box",
    "both": "wrong class and poor box",
    "dup": "duplicate",
}
SIZES = {"small": 32.0**2, "medium": 96.0**2, "large": np.inf}


class Error(NamedTuple):
    """An error to show.

    Attributes:
        kind: a key of `KINDS`.
        image: position of its image.
        detection: position of the detection, -1 for a missed object.
        target: position of the object, -1 for none.
    """

    kind: str
    image: int
    detection: int
    target: int


def choose_errors(judged: Judged, count: int) -> list[Error]:
    """Choose up to `count` errors of each kind: the highest scores or the largest missed objects of each class."""
    outcomes, objects = judged.outcomes, judged.outcomes.objects
    errors = []
    for kind in KINDS:
        if kind == "miss":
            near = outcomes.targets[judged.false & (outcomes.kinds < len(ERRORS)) & (outcomes.targets >= 0)]
            rows = np.flatnonzero(judged.undetected & ~np.isin(np.arange(len(objects.labels)), near))
            chosen = rows[_varied(objects.labels[rows], objects.areas[rows])[:count]]
            errors += [Error(kind, int(objects.images[row]), -1, int(row)) for row in chosen]
        else:
            rows = np.flatnonzero(judged.false & (outcomes.kinds == ERRORS.index(kind)))
            chosen = rows[_varied(outcomes.labels[rows], outcomes.scores[rows])[:count]]
            errors += [Error(kind, int(outcomes.images[row]), int(row), int(outcomes.targets[row])) for row in chosen]
    return errors


def error_pictures(judged: Judged, errors: Sequence[Error]) -> list[Picture]:
    """Draw errors up close: the detection solid with its class and score, the ground truth dashed and white.

    An image that cannot be read has no pictures.
    """
    by_image: defaultdict[int, list[int]] = defaultdict(list)
    for place, error in enumerate(errors):
        by_image[error.image].append(place)

    def draw(job: tuple[int, list[int]]) -> list[tuple[int, Picture]]:
        pixels = _read(judged.dataset.examples[job[0]])
        return [] if pixels is None else [(place, _close_up(judged, errors[place], pixels)) for place in job[1]]

    drawn = [entry for entries in in_threads(draw, list(by_image.items()), "drawing errors") for entry in entries]
    return [picture for _, picture in sorted(drawn, key=lambda entry: entry[0])]


def image_pictures(judged: Judged, images: Sequence[int], side: int = SIDE) -> dict[int, Picture]:
    """Draw whole images with ground truth and the detections above the threshold of their class."""
    entries = align(judged.dataset, judged.detections)
    names = [category.name for category in judged.dataset.categories]

    def draw(number: int) -> Picture | None:
        example, image = judged.dataset.examples[number], entries[number]
        if (pixels := _read(example)) is None:
            return None
        kept = image[image.scores > np.append(judged.thresholds, 0.0)[image.labels]]
        false, missed = judged.image_errors[number].tolist()
        text = f"{example.path.name}: {false} false, {missed} undetected of {len(example.labels)}"
        return embed(draw_comparison(pixels, example, kept, names, 0.0, side), text, text)

    pictures = zip(images, in_threads(draw, list(images), "drawing images"))
    return {number: picture for number, picture in pictures if picture is not None}


def pairs(judged: Judged, other: Judged, count: int) -> list[Pair]:
    """Draw the images where two detectors differ most, half of them better with each, next to each other."""
    gain = judged.image_errors.sum(axis=1) - other.image_errors.sum(axis=1)  # positive: the other is better
    order = np.argsort(-gain, kind="stable")
    count = min(count, MAX_PAIRS)
    better = [number for number in order[: (count + 1) // 2].tolist() if gain[number] > 0]
    worse = [number for number in order[::-1][: count // 2].tolist() if gain[number] < 0]
    images = better + worse
    first, second = (image_pictures(entry, images, PAIR_SIDE) for entry in (judged, other))
    return [
        Pair(
            first[number],
            second[number],
            f"The second has {_errors(abs(int(gain[number])))} {'fewer' if gain[number] > 0 else 'more'}.",
        )
        for number in images
        if number in first
    ]


def _errors(count: int) -> str:
    return f"{count} error{'' if count == 1 else 's'}"


def _varied(labels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Order by value within each class, and take the classes in turn."""
    order = np.lexsort((-values, labels))
    first = np.searchsorted(labels[order], labels[order])
    turn = np.arange(len(order)) - first
    varied: np.ndarray = order[np.lexsort((-values[order], turn))]
    return varied


def _read(example: Example) -> np.ndarray | None:
    try:
        return read_image(example.path, example.orientation)
    except InputError:
        return None


def _close_up(judged: Judged, error: Error, pixels: np.ndarray) -> Picture:
    outcomes, objects = judged.outcomes, judged.outcomes.objects
    example = judged.dataset.examples[error.image]
    names = [category.name for category in judged.dataset.categories]
    boxes = [outcomes.boxes[error.detection]] if error.detection >= 0 else []
    boxes += [objects.boxes[error.target]] if error.target >= 0 else []
    picture, view, scale = _view(pixels, np.array(boxes))
    pen = Pen(picture)

    def placed(box: np.ndarray) -> tuple[float, float, float, float]:
        y1, x1, y2, x2 = ((box - np.tile(view[:2], 2)) * scale).tolist()
        return x1, y1, x2, y2

    seen = np.all((example.boxes[:, 2:] > view[:2]) & (example.boxes[:, :2] < view[2:]), axis=1)
    for box in example.boxes[seen]:
        pen.outline(placed(box), WHITE, dashed=True)
    texts = []
    if error.target >= 0:
        target = names[objects.labels[error.target]]
        pen.tag(placed(objects.boxes[error.target]), target, WHITE, below=True)
        texts.append(target if error.detection < 0 else f"object {target}")
    if error.detection >= 0:
        label = int(outcomes.labels[error.detection])
        text = f"{names[label]} {outcomes.scores[error.detection]:.2f}"
        pen.outline(placed(outcomes.boxes[error.detection]), color_of(label))
        pen.tag(placed(outcomes.boxes[error.detection]), text, color_of(label))
        iou = f", IoU {outcomes.ious[error.detection]:.2f}" if error.target >= 0 else ""
        texts.insert(0, f"{text}{iou}")
    caption = f"{KINDS[error.kind]}: {'; '.join(texts)}. {example.path.name}"
    return embed(picture, caption, caption, [_item(judged, error)])


def _item(judged: Judged, error: Error) -> Item:
    """Return what a picture can be found by: kind, class of the detection, class of the object, size."""
    outcomes, objects = judged.outcomes, judged.outcomes.objects
    detected_as = str(outcomes.labels[error.detection]) if error.detection >= 0 else "-"
    is_object = error.target >= 0
    box = objects.boxes[error.target] if is_object else outcomes.boxes[error.detection]
    area = float(np.prod(box[2:] - box[:2]))
    size = next(name for name, limit in SIZES.items() if area < limit)
    return error.kind, detected_as, str(objects.labels[error.target]) if is_object else "-", size


def _view(pixels: np.ndarray, boxes: np.ndarray) -> tuple[Image.Image, np.ndarray, float]:
    """Cut out boxes with their surroundings; return the picture, its [y1, x1, y2, x2] and its scale."""
    height, width = pixels.shape[:2]
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    side = max(MIN_VIEW, CONTEXT * float((high - low).max()))
    corner = np.clip((low + high - side) / 2, 0, np.maximum([height - side, width - side], 0)).astype(int)
    end = np.minimum(corner + int(np.ceil(side)), [height, width])
    end = np.maximum(end, corner + 1)
    part = Image.fromarray(np.ascontiguousarray(pixels[corner[0] : end[0], corner[1] : end[1]]))
    scale = min(SIDE / max(part.size), MAX_ZOOM)
    resized = part.resize((max(1, round(part.width * scale)), max(1, round(part.height * scale))))
    return resized, np.append(corner, end), scale
