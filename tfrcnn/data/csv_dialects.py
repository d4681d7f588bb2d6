"""Recognises whose boxes a CSV file holds, by its first row.

The TF Object Detection tutorial and Roboflow, with pixels:

    filename,width,height,class,xmin,ymin,xmax,ymax

RetinaNet, with pixels and without a header. Empty fields are an image without boxes. classes.csv next to the file may
list the names and ids:

    path,x1,y1,x2,y2,class

Open Images, with shares of the image's width and height. Mind the order. A file of class descriptions next to the boxes
names the classes. A box around a group is a crowd:

    ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside

Columns are found by their names, so their order and further columns do not matter.
"""

from __future__ import annotations

import csv
import math
import re
from typing import NamedTuple

CORNERS = ("ymin", "xmin", "ymax", "xmax")
MAX_ROW = 1 << 16  # characters that hold the first row
# Names of columns in lower case without signs, as the tools write them.
_COLUMNS = {
    "image": ("filename", "imageid", "image", "imagepath", "path", "file", "imagename", "img", "imgpath"),
    "label": ("class", "labelname", "label", "classname", "category", "name"),
    "xmin": ("xmin", "x1"),
    "ymin": ("ymin", "y1"),
    "xmax": ("xmax", "x2"),
    "ymax": ("ymax", "y2"),
    "width": ("width", "imagewidth"),
    "height": ("height", "imageheight"),
    "group": ("isgroupof",),
}
_HEADERLESS = {"image": 0, "xmin": 1, "ymin": 2, "xmax": 3, "ymax": 4, "label": 5}


class Dialect(NamedTuple):
    """The places of the fields in a row.

    Attributes:
        columns: position of each field that the file has.
        header: number of rows above the boxes, 0 or 1.
        shares: coordinates are shares of the image's width and height.
        delimiter: between fields. Numbers may have decimal commas unless it is a comma.
        repeated: names of columns of these fields that are there twice.
    """

    columns: dict[str, int]
    header: int
    shares: bool
    delimiter: str
    repeated: tuple[str, ...] = ()

    def number(self, text: str) -> float:
        """Read a number.

        Raises:
            ValueError: the text is none.
        """
        return _number(text, self.delimiter)


def find_dialect(text: str) -> Dialect | None:
    """Recognise the dialect by the first row, or return None."""
    first = next((line for line in text[:MAX_ROW].splitlines() if line.strip()), "")
    delimiter = max(",;\t", key=first.count)  # Excel writes semicolons where the comma is the decimal sign
    row = next(csv.reader([first], delimiter=delimiter), [])
    names = [re.sub("[^a-z0-9]", "", name.lower()) for name in row]
    columns = {
        key: names.index(alias) for key, aliases in _COLUMNS.items() for alias in reversed(aliases) if alias in names
    }
    if {"image", "label", *CORNERS} <= set(columns):
        repeated = tuple(row[place].strip() for place in columns.values() if names.count(names[place]) > 1)
        return Dialect(columns, 1, "imageid" in names and "labelname" in names, delimiter, repeated)
    is_box = len(row) == len(_HEADERLESS) and all(_is_number(field, delimiter) for field in row[1:5])
    is_negative = len(row) == len(_HEADERLESS) and bool(row[0]) and not any(field.strip() for field in row[1:])
    return Dialect(_HEADERLESS, 0, False, delimiter) if is_box or is_negative else None


def _number(text: str, delimiter: str) -> float:
    return float(text if delimiter == "," else text.replace(",", ".", 1))


def _is_number(text: str, delimiter: str) -> bool:
    try:
        return math.isfinite(_number(text, delimiter))
    except ValueError:
        return False
