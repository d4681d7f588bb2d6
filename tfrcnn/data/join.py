"""Join several data sets into one: "VOC2007@trainval+VOC2012@trainval", the paper's 07+12.

The first data set decides the categories; others are matched by name. An image keeps its id, prefixed with its set's
DATA if an earlier image has the same id. Annotations are renumbered.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from tfrcnn.data.columns import IdColumn
from tfrcnn.data.example import Dataset
from tfrcnn.data.example_table import concatenated
from tfrcnn.data.faults import Fault, Report
from tfrcnn.data.formats import data_text, exists, looks_complete

PLUS = "+"


def parts_of(data: str | os.PathLike[str]) -> list[str]:
    """Split a DATA argument into the data sets that it names.

    A path may contain a plus too: the longest piece that exists is one data set. If none exists, a data set ends where
    its name looks complete, so that the error is about that name.

    Raises:
        InputError: `data` is neither text nor a path, or it is empty.
    """
    data = data_text(data)
    if PLUS not in data:
        return [data]
    pieces, parts = data.split(PLUS), []
    while pieces:
        ends = range(len(pieces), 0, -1)
        existing = (end for end in ends if exists(PLUS.join(pieces[:end])))
        named = (end for end in reversed(ends) if looks_complete(pieces[end - 1]))
        end = next(existing, None) or next(named, len(pieces))
        parts.append(PLUS.join(pieces[:end]))
        pieces = pieces[end:]
    return parts


def join(data: str, sets: Sequence[tuple[Dataset, Report]]) -> tuple[Dataset, Report]:
    """Join data sets of the same categories, and their reports.

    An image file that is in two sets is a fault, since it would be learned from twice and judged twice.

    Args:
        data: the DATA argument that names all sets.
        sets: the data sets and their reports.
    """
    faults = [fault for _, report in sets for fault in report.faults]
    ids: dict[int | str, None] = {}
    set_of: dict[Path, int] = {}
    for number, (dataset, _) in enumerate(sets):
        for example in dataset.examples:
            image_id = example.image_id
            while image_id in ids:
                image_id = f"{dataset.source}:{image_id}"
            ids[image_id] = None
            before = set_of.setdefault(example.path.resolve(), number)
            if before != number:
                sources = f"{sets[before][0].source} and {dataset.source}"
                message = f"expected it in one of the data sets, found it in {sources}"
                faults.append(Fault("duplicate-image-id", str(example.path), "", message))
    summary = _summed(report.summary for _, report in sets)
    summary["categories"] = len(sets[0][0].categories)
    examples = concatenated([dataset.examples for dataset, _ in sets], IdColumn(ids))
    return Dataset(data, sets[0][0].categories, examples), Report(data, tuple(faults), summary)


def val_folder(val: str, images: str | Path | None, val_images: str | Path | None) -> str | Path | None:
    """Return the folder of the images of validation data: `images` if they have none, and are one data set."""
    return images if val_images is None and len(parts_of(val)) == 1 else val_images


def _summed(summaries: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for summary in summaries:
        for name, value in summary.items():
            total[name] = total.get(name, 0) + value
    return total
