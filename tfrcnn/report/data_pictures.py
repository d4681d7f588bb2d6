"""The pictures of a report on data: with boxes, with a fault marked, in pairs, and as training sees them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from tfrcnn.data.checks import in_threads
from tfrcnn.data.decode import read_image
from tfrcnn.data.example import Dataset, Example
from tfrcnn.data.faults import KINDS, Fault
from tfrcnn.data.image_source import image_errors
from tfrcnn.data.pipeline import training_data
from tfrcnn.drawing import draw_detections
from tfrcnn.drawing.palette import WHITE
from tfrcnn.drawing.pen import Pen
from tfrcnn.errors import InputError
from tfrcnn.models.preset_table import Preset
from tfrcnn.report.choose import choose, items_of
from tfrcnn.report.pictures import Item, Pair, Picture, embed
from tfrcnn.report.splits import Split

SIDE = 400  # pixels of the longer side
PAIR_SIDE = 240
FAULT_PICTURES, FAULT_MESSAGES = 4, 10  # per kind
MAX_PAIRS = 12
AUGMENTED = 12


class FaultGroup(NamedTuple):
    """The faults of one kind.

    Attributes:
        kind: key of `KINDS`.
        action: what is done about it.
        meaning: of the kind.
        total: number of them in all splits.
        pictures: of some of them.
        messages: of some of them.
    """

    kind: str
    action: str
    meaning: str
    total: int
    pictures: list[Picture]
    messages: list[str]


def gallery(splits: Sequence[Split], count: int, seed: int) -> list[Picture]:
    """Draw `count` images with their boxes, chosen by seed so that each class and each fault is shown."""
    pool = [(split, example) for split in splits for example in split.dataset.examples]
    items = [entry for split in splits for entry in items_of(split)]
    jobs = [(*pool[number], items[number]) for number in choose(items, count, seed)]

    def draw(job: tuple[Split, Example, tuple[Item, ...]]) -> Picture | None:
        split, example, entry = job
        image = _drawn(split, example)
        return None if image is None else embed(image, *_texts(split, example), entry)

    return [picture for picture in in_threads(draw, jobs, "drawing pictures") if picture is not None]


def fault_groups(splits: Sequence[Split], seed: int) -> list[FaultGroup]:
    """Gather the doctor's faults by kind, with pictures of some that an image shows."""
    by_kind: defaultdict[str, list[tuple[Split, Fault]]] = defaultdict(list)
    for split in splits:
        for fault in split.report.faults:
            by_kind[fault.kind].append((split, fault))
    groups = []
    for kind in (kind for kind in KINDS if kind in by_kind):
        entries = by_kind[kind]
        order = np.random.default_rng(seed).permutation(len(entries))
        pictures: list[Picture] = []
        for number in order:
            if len(pictures) == FAULT_PICTURES:
                break
            pictures += _fault_picture(*entries[number])
        messages = [fault.render() for _, fault in entries[:FAULT_MESSAGES]]
        groups.append(FaultGroup(kind, *KINDS[kind], len(entries), pictures, messages))
    return groups


def pairs(entries: Sequence[tuple[Split, Example, Split, Example, str]]) -> list[Pair]:
    """Draw images next to each other, each with its split, and a text; leave out those that cannot be read."""
    result = []
    for split, example, other_split, other, text in entries[:MAX_PAIRS]:
        image, other_image = _drawn(split, example, PAIR_SIDE), _drawn(other_split, other, PAIR_SIDE)
        if image is not None and other_image is not None:
            first = embed(image, *_texts(split, example))
            result.append(Pair(first, embed(other_image, *_texts(other_split, other)), text))
    return result


def augmented(split: Split, preset: Preset, count: int = AUGMENTED) -> tuple[list[Picture], list[str]]:
    """Draw pictures of the first steps of training: augmented, resized and padded, with the boxes to learn.

    Args:
        split: whose images to take; those that are refused are left out.
        preset: the frame of the network, and the training with its augmentation and seed.
        count: of pictures.

    Returns:
        pictures: none if there is no image to take.
        names: of the augmentations.

    Raises:
        InputError: an image cannot be read.
    """
    refused = {fault.image or fault.file for fault in split.report.faults if fault.action == "refused"}
    examples = tuple(example for example in split.dataset.examples if str(example.path) not in refused)
    if not examples:
        return [], []
    dataset = Dataset(split.dataset.source, split.dataset.categories, examples)
    categories = [category.name for category in dataset.categories]
    data = training_data(dataset, preset.detector.image, preset.training)
    pictures: list[Picture] = []
    with image_errors():
        for batch in data.batches().take(-(-count // preset.training.batch_size)).as_numpy_iterator():
            for image, boxes, labels, index in zip(*(batch[k] for k in ("images", "boxes", "labels", "image_index"))):
                real = labels >= 0
                pixels = np.clip(np.round(image), 0, 255).astype(np.uint8)
                drawn = draw_detections(pixels, boxes[real], labels[real], None, categories, SIDE)
                height, width = pixels.shape[:2]
                name = examples[index].path.name
                alt = f"{name} as training sees it, {_objects(int(real.sum()))}"
                pictures.append(embed(drawn, alt, f"{name}, {width} x {height} px"))
    names = [name.replace("_", " ") for name in data.augmentation_names if name != "resize"]  # to the frame: always
    return pictures[:count], names


def _drawn(split: Split, example: Example, side: int = SIDE) -> Image.Image | None:
    """Draw an image with its boxes; None if it cannot be read."""
    try:
        image = read_image(example.path, example.orientation)
    except InputError:
        return None
    names = [category.name for category in split.dataset.categories]
    return draw_detections(image, example.boxes, example.labels, None, names, side)


def _fault_picture(split: Split, fault: Fault) -> list[Picture]:
    """Draw the image of a fault, its box dashed; nothing if there is no image to draw."""
    if (number := split.position_of(fault)) is None:
        return []
    example = split.dataset.examples[number]
    if (image := _drawn(split, example)) is None:
        return []
    if fault.box is not None and np.isfinite(fault.box).all():
        y1, x1, y2, x2 = np.clip(fault.box, -1e6, 1e6) * SIDE / max(example.height, example.width)
        box = float(min(x1, x2)), float(min(y1, y2)), float(max(x1, x2)), float(max(y1, y2))
        pen = Pen(image)
        pen.outline(box, WHITE, dashed=True)
        pen.tag(box, fault.kind, WHITE, below=True)
    alt, _ = _texts(split, example)
    return [embed(image, f"{fault.kind}: {alt}", f"{example.path.name}: {fault.message}")]


def _texts(split: Split, example: Example) -> tuple[str, str]:
    """Return the alternative text and the caption of an image."""
    name = example.path.name
    return f"{name}, {_objects(len(example.labels))}", f"{name}, {example.width} x {example.height} px, {split.name}"


def _objects(count: int) -> str:
    return f"{count:,} object{'' if count == 1 else 's'}"
