"""The table of data formats, and the choice of the one that reads a DATA argument."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tfrcnn.data import coco, csv_boxes, cvat, tfds, tfrecord, voc
from tfrcnn.data.data_format import DataFormat, Parse
from tfrcnn.data.suggest import not_understood
from tfrcnn.errors import InputError

# A format's key is its prefix in DATA: "coco:PATH".
FORMATS: dict[str, DataFormat] = {
    "coco": coco.Coco(),
    "voc": voc.Voc(),
    "csv": csv_boxes.CsvBoxes(),
    "cvat": cvat.Cvat(),
    "tfrecord": tfrecord.TfRecord(),
    "tfds": tfds.Tfds(),
}
# Tools name the validation split differently: Roboflow's folder is `valid`, its data.yaml says `val`.
_SYNONYMS = ({"val", "valid", "validation"}, {"train", "training"}, {"test", "testing"})


class Place(NamedTuple):
    """The parts of a DATA argument "PREFIX:PATH@SPLIT".

    Attributes:
        prefix: key of `FORMATS`; "" if the format is to be found by looking.
        path: the path.
        split: name of the split; None if there is no "@".
    """

    prefix: str
    path: str
    split: str | None


def place_of(data: str) -> Place:
    """Split a DATA argument into its parts. A path that exists may contain "@" and ":"."""
    prefix, colon, path = data.partition(":")
    if not colon or prefix not in FORMATS or Path(data).exists():
        prefix, path = "", data
    if "@" not in path or Path(path).exists():
        return Place(prefix, path, None)
    path, _, split = path.rpartition("@")
    return Place(prefix, path, split)


def find_sets(place: Place) -> dict[str, dict[str, Parse]]:
    """Return the parsers of the data sets at a place by format and split, of all formats that have one there.

    Formats of names, not paths, are asked only if their prefix is there.
    """
    paths = {name: data_format for name, data_format in FORMATS.items() if data_format.is_path}
    formats = {place.prefix: FORMATS[place.prefix]} if place.prefix else paths
    return {name: sets for name, data_format in formats.items() if (sets := data_format.find(place.path))}


def exists(data: str) -> bool:
    """Return whether a DATA argument names a data set, or a file that may be a damaged one."""
    place = place_of(data)
    splits = [split for sets in find_sets(place).values() for split in sets]
    return Path(data).is_file() or (bool(splits) if place.split is None else bool(_named(place.split, splits)))


def looks_complete(data: str) -> bool:
    """Return whether the text ends like a DATA argument; it need not exist."""
    extensions = tuple(extension for data_format in FORMATS.values() for extension in data_format.extensions)
    return "@" in data or data.lower().endswith(extensions)


def choose(data: str) -> Parse:
    """Find the data set that a DATA argument names, and return its parser.

    Raises:
        InputError: there is none, or several formats or splits are there. The message lists what to type.
    """
    place = place_of(data)
    matches = find_sets(place)
    if not matches:
        formats = {place.prefix: FORMATS[place.prefix]} if place.prefix else FORMATS
        raise not_understood(place.path, formats)
    split = place.split
    if split is not None:
        splits = [each for sets in matches.values() for each in sets]
        matches = {name: sets for name, sets in matches.items() if _named(split, sets)}
        if not matches:
            raise InputError(f"data: {_no_such_split(place, splits)}")
    if len(matches) > 1:
        choices = [f"{name}:{data}" for name in matches]
        raise InputError(
            f"data: expected one format, found {' and '.join(matches)} in {place.path}; type {' or '.join(choices)}"
        )
    ((name, sets),) = matches.items()
    if split is None and len(sets) > 1:
        choices = [f"{data}@{each}" for each in sets]
        raise InputError(
            f"data: expected one split, found the folder {place.path} with {len(sets)} ({name}); "
            f"did you mean {' or '.join(choices)}?"
        )
    return sets[next(iter(sets)) if split is None else _named(split, sets)[0]]


def _named(split: str, splits: list[str] | dict[str, Parse]) -> list[str]:
    """Return the split of a name, else the splits that mean the same."""
    if split in splits:
        return [split]
    same = next((names for names in _SYNONYMS if split in names), set())
    return [each for each in splits if each in same]


def _no_such_split(place: Place, splits: list[str]) -> str:
    names = [split for split in splits if split]
    expected = f"one of the splits {', '.join(names)} in" if names else "no split, since there is one data set in"
    return f"expected {expected} {place.path}, found {place.split or 'no name'!r} after the @"
