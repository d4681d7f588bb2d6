"""Parses COCO's JSON: without masks that no box is taken from, and without lists that are there twice."""

from __future__ import annotations

import json
import re
from typing import Any

from tfrcnn.data.coco_values import has_box

LISTS = ("images", "annotations", "categories")


def parse_lists(text: str) -> Any:
    """Parse a file of COCO's.

    JSON with a key twice has the last value only, so one of the two lists would be lost without a word.

    Raises:
        json.JSONDecodeError: the text is no JSON, or an object has one of `LISTS` twice; names the place.
        ValueError: see `json.loads`.
        RecursionError: see `json.loads`.
    """
    # a function per object with a list of its pairs takes a third more time
    if all(text.count(f'"{name}"') < 2 for name in LISTS):
        return json.loads(text, object_hook=_without_spare_mask)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        item = dict(pairs)
        keys = [key for key, _ in pairs] if len(item) != len(pairs) else []
        for name in LISTS:
            if keys.count(name) > 1:
                *_, last = re.finditer(rf'"{name}"\s*:', text)
                raise json.JSONDecodeError(f"{name!r} again, expected each list once", text, last.start())
        return _without_spare_mask(item)

    return json.loads(text, object_pairs_hook=once)


def _without_spare_mask(item: dict[str, Any]) -> dict[str, Any]:
    """Drop a segmentation that no box is taken from: most of the memory of a large file."""
    if has_box(item):
        item.pop("segmentation", None)
    return item
