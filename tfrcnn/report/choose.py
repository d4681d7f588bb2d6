"""Chooses the pictures of a report: the same for the same seed, each class and each fault among them if possible."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from tfrcnn.report.pictures import NOTHING, Item
from tfrcnn.report.splits import Split

# Square roots of areas in pixels of the network's input. Under 16 px few anchors fit; 32 and 96 are COCO's limits.
SIZES = {"tiny": 16.0, "small": 32.0, "medium": 96.0, "large": np.inf}
IGNORED = "ignored"  # the size of crowd and difficult boxes, which nothing learns from


def items_of(split: Split) -> list[tuple[Item, ...]]:
    """Return what each image of a split can be found by: (class, size, fault, split) of its objects."""
    boxes = split.boxes
    names = (*SIZES, IGNORED)
    sizes = np.searchsorted([*SIZES.values()], np.sqrt(boxes.sides.prod(axis=1)), side="right")
    sizes[np.isnan(boxes.best_iou)] = len(SIZES)
    objects: defaultdict[int, list[tuple[str, str]]] = defaultdict(list)
    for owner, label, size in np.unique(np.stack([boxes.owners, boxes.labels, sizes], axis=1), axis=0).tolist():
        objects[owner].append((str(label), names[size]))
    kinds: defaultdict[int, set[str]] = defaultdict(set)
    for fault in split.report.faults:
        if (number := split.position_of(fault)) is not None:
            kinds[number].add(fault.kind)
    return [
        tuple(
            (label, size, kind, split.name)
            for label, size in objects.get(number, [(NOTHING, NOTHING)])
            for kind in sorted(kinds.get(number, {NOTHING}))
        )
        for number in range(len(split.dataset))
    ]


def choose(items: Sequence[tuple[Item, ...]], count: int, seed: int) -> list[int]:
    """Choose images, so that each class, size, fault and split is shown if `count` allows it.

    Args:
        items: of each image.
        count: of images to choose; all if there are fewer.
        seed: of the choice.

    Returns:
        Positions, ascending.
    """
    order = np.random.default_rng(seed).permutation(len(items)).tolist()
    values = [{(place, value) for item in entry for place, value in enumerate(item)} for entry in items]
    images: defaultdict[tuple[int, str], list[int]] = defaultdict(list)
    for number in order:
        for value in values[number]:
            images[value].append(number)
    chosen: dict[int, None] = {}  # a set that keeps its order
    shown: set[tuple[int, str]] = set()
    rarity = Counter({value: len(numbers) for value, numbers in images.items()})
    for value in sorted(images, key=lambda value: (rarity[value], value)):
        if len(chosen) < count and value not in shown:
            chosen[images[value][0]] = None
            shown |= values[images[value][0]]
    for number in order:
        if len(chosen) >= count:
            break
        chosen.setdefault(number)
    return sorted(chosen)
