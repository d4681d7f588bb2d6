"""Recognises Pascal VOC files of tools whose coordinates are not the original data set's.

| tool | xmin, xmax | recognised by |
|---|---|---|
| Pascal VOC | x + 1, x + width: from 1, with the last pixel | no mark below |
| CVAT, Datumaro | x, x + width, with decimals | `<attributes>` next to `<occluded>`, or decimals |
| Label Studio | x, x + width, cut to integers | `<owner><name>Label Studio</name></owner>` |
| Roboflow | x + 1, x + width + 1, rounded | `<source><database>roboflow.com</database></source>` |
"""

from __future__ import annotations

import re
from typing import NamedTuple
from xml.etree.ElementTree import Element

_OFFICIAL = re.compile("VOC ?20[01][0-9]")  # in "The VOC2012 Database"
_DECIMALS = re.compile(r"-?[0-9]*\.[0-9]*[1-9]")  # not in 5.0


class Origin(NamedTuple):
    """What a tool adds to continuous coordinates.

    Attributes:
        first: to xmin and ymin.
        last: to xmax and ymax.
        kind: of the fault that says so, a key of `tfrcnn.data.faults.KINDS`; "" if nothing is to be said.
        message: of that fault.
    """

    first: int
    last: int
    kind: str = ""
    message: str = ""

    def yxyx(self, ymin: float, xmin: float, ymax: float, xmax: float) -> tuple[float, float, float, float]:
        """Return continuous coordinates."""
        return ymin - self.first, xmin - self.first, ymax - self.last, xmax - self.last

    def show(self, y1: float, x1: float, y2: float, x2: float) -> str:
        """Return a box as the file has it."""
        xmin, ymin, xmax, ymax = x1 + self.first, y1 + self.first, x2 + self.last, y2 + self.last
        return f"xmin {xmin:g}, ymin {ymin:g}, xmax {xmax:g}, ymax {ymax:g}"


VOC = Origin(1, 0)
_EXPECTED = "expected whole pixels from 1 to the last one"


def origin_of(tree: Element) -> Origin | None:
    """Return the origin that an <annotation> shows; None if it may be any."""
    database = tree.findtext("source/database") or ""
    if _OFFICIAL.search(database):
        return None  # some boxes of VOC2012 have decimals
    if database.strip().lower().startswith("roboflow."):
        message = f"{_EXPECTED}, found a file of Roboflow: 1 is taken from the coordinates of all files"
        return Origin(1, 1, "coordinates-of-roboflow", message)
    if mark := _counts_from_zero(tree):
        message = f"{_EXPECTED}, found {mark}: the coordinates of all files count from 0"
        return Origin(0, 0, "coordinates-from-zero", message)
    return None


def _counts_from_zero(tree: Element) -> str:
    """Return what shows that the coordinates count from 0; "" if nothing does."""
    if (tree.findtext("owner/name") or "").strip() == "Label Studio":
        return "a file of Label Studio"
    for item in tree.findall("object"):
        if item.find("attributes") is not None and item.find("occluded") is not None:
            return "a file of CVAT with <attributes>"
        for corner in ("xmin", "ymin", "xmax", "ymax"):
            text = (item.findtext(f"bndbox/{corner}") or "").strip()
            if _DECIMALS.match(text):
                return f"{corner} {text}"
    return ""
