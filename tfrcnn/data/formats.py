"""The table of data formats."""

from __future__ import annotations

from tfrcnn.data import coco, voc
from tfrcnn.data.data_format import DataFormat

# The first that recognises DATA reads it.
FORMATS: dict[str, DataFormat] = {
    "coco": coco.Coco(),
    "voc": voc.Voc(),
}


def find_format(data: str) -> DataFormat | None:
    """Return the format that reads a DATA argument, or None."""
    return next((format_ for format_ in FORMATS.values() if format_.recognises(data)), None)
