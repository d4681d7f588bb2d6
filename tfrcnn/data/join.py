"""Several data sets as one: "VOC2007@trainval+VOC2012@trainval", the paper's 07+12.

The categories are those of the first, by name. An image has the id that it has in its own set, with that set's DATA in
front where an earlier set has the same id; annotations are numbered anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tfrcnn.data.example import Dataset, Example
from tfrcnn.data.faults import Fault, Report

PLUS = "+"


def parts_of(data: str) -> list[str]:
    """The data sets that a DATA argument names: one, or several joined by a plus. A path that is there is one data set,
    also with a plus in it."""
    place = data.rpartition("@")[0] or data
    return [data] if Path(place).exists() else data.split(PLUS)


def join(data: str, found: Sequence[tuple[Dataset, Report]]) -> tuple[Dataset, Report]:
    """One data set of several of the same categories, and one report.

    A file that is in two of them is a fault, since it would be learned from twice and judged twice.
    """
    examples: list[Example] = []
    faults = [fault for _, report in found for fault in report.faults]
    ids: set[int | str] = set()
    source_of: dict[Path, str] = {}
    annotations = 0
    for dataset, _ in found:
        for example in dataset.examples:
            image_id = f"{dataset.source}:{example.image_id}" if example.image_id in ids else example.image_id
            numbers = annotations + np.arange(1, len(example.labels) + 1)
            examples.append(replace(example, image_id=image_id, annotation_ids=numbers))
            annotations += len(numbers)
            before = source_of.setdefault(example.path.resolve(), dataset.source)
            if before != dataset.source:
                message = f"expected it in one of the data sets, found it in {before} and {dataset.source}"
                faults.append(Fault("duplicate-image-id", str(example.path), "", message))
        ids |= {example.image_id for example in examples[-len(dataset) :]}
    summary = _summed(report.summary for _, report in found)
    summary["categories"] = len(found[0][0].categories)
    return Dataset(data, found[0][0].categories, tuple(examples)), Report(data, tuple(faults), summary)


def _summed(summaries: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for summary in summaries:
        for name, value in summary.items():
            total[name] = total.get(name, 0) + value
    return total
