"""Recognises Pascal VOC files whose coordinates are continuous and count from 0, not from 1.

| tool | xmin, xmax | recognised by |
|---|---|---|
| CVAT, Datumaro | x, x + width, with decimals | `<attributes>` next to `<occluded>`, or decimals |
| Label Studio | x, x + width, cut to integers | `<owner><name>Label Studio</name></owner>` |
"""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element

_OFFICIAL = re.compile("VOC ?20[01][0-9]")  # in "The VOC2012 Database"
_DECIMALS = re.compile(r"-?[0-9]*\.[0-9]*[1-9]")  # not in 5.0


def counts_from_zero(tree: Element) -> str:
    """Return what shows that the coordinates of an <annotation> count from 0; "" if nothing does."""
    if _OFFICIAL.search(tree.findtext("source/database") or ""):
        return ""  # some boxes of VOC2012 have decimals
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
