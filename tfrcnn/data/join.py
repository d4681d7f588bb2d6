"""Several data sets as one: "VOC2007@trainval+VOC2012@trainval", the paper's 07+12.

The categories are those of the first, by name. An image has the id that it has in its own set, with that set's DATA in
front where an earlier image has the same id; annotations are numbered anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tfrcnn.data.example import Dataset, Example
from tfrcnn.data.faults import Fault, Report
from tfrcnn.data.voc import split_names

PLUS = "+"


def parts_of(data: str) -> list[str]:
    """The data sets that a DATA argument names: one, or several joined by a plus.

    A plus may be part of a path too: as much as is a data set that is there is one. Where there is none, one ends where
    its name looks complete, so that the error is about that name.
    """
    pieces, parts = data.split(PLUS), []
    while pieces:
        ends = range(len(pieces), 0, -1)
        there = (end for end in ends if _is_there(PLUS.join(pieces[:end])))
        named = (end for end in reversed(ends) if "@" in pieces[end - 1] or pieces[end - 1].endswith(".json"))
        end = next(there, None) or next(named, len(pieces))
        parts.append(PLUS.join(pieces[:end]))
        pieces = pieces[end:]
    return parts


def _is_there(data: str) -> bool:
    root, at, split = data.rpartition("@")
    return Path(data).is_file() or (bool(at) and split in split_names(Path(root)))


def join(data: str, found: Sequence[tuple[Dataset, Report]]) -> tuple[Dataset, Report]:
    """One data set of several of the same categories, and one report.

    A file that is in two of them is a fault, since it would be learned from twice and judged twice.
    """
    examples: list[Example] = []
    faults = [fault for _, report in found for fault in report.faults]
    ids: set[int | str] = set()
    set_of: dict[Path, int] = {}
    annotations = 0
    for number, (dataset, _) in enumerate(found):
        for example in dataset.examples:
            image_id = example.image_id
            while image_id in ids:
                image_id = f"{dataset.source}:{image_id}"
            ids.add(image_id)
            numbers = annotations + np.arange(1, len(example.labels) + 1)
            examples.append(replace(example, image_id=image_id, annotation_ids=numbers))
            annotations += len(numbers)
            before = set_of.setdefault(example.path.resolve(), number)
            if before != number:
                sources = f"{found[before][0].source} and {dataset.source}"
                message = f"expected it in one of the data sets, found it in {sources}"
                faults.append(Fault("duplicate-image-id", str(example.path), "", message))
    summary = _summed(report.summary for _, report in found)
    summary["categories"] = len(found[0][0].categories)
    return Dataset(data, found[0][0].categories, tuple(examples)), Report(data, tuple(faults), summary)


def _summed(summaries: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for summary in summaries:
        for name, value in summary.items():
            total[name] = total.get(name, 0) + value
    return total
