"""The table of data formats, and the choice of the one that reads a DATA argument."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from tfrcnn.data import coco, csv_boxes, cvat, remote, tfds, tfrecord, voc, yolo
from tfrcnn.data.data_format import DataFormat, Parse
from tfrcnn.data.layouts import is_split_name
from tfrcnn.data.media import is_address
from tfrcnn.data.suggest import not_understood
from tfrcnn.errors import InputError
from tfrcnn.printable import shorten

# A format's key is its prefix in DATA: "coco:PATH".
FORMATS: dict[str, DataFormat] = {
    "coco": coco.Coco(),
    "voc": voc.Voc(),
    "csv": csv_boxes.CsvBoxes(),
    "cvat": cvat.Cvat(),
    "tfrecord": tfrecord.TfRecord(),
    "yolo": yolo.Yolo(),
    "tfds": tfds.Tfds(),
}
_MAX_CHOICES = 8  # splits to list in a message
_MAX_NAME = 200  # letters of a path in a message
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


def data_text(data: Any) -> str:
    """Return a DATA argument as text.

    Raises:
        InputError: it is neither text nor a path, or it is empty.
    """
    if isinstance(data, os.PathLike):
        data = os.fspath(data)
    if not isinstance(data, str):
        raise InputError(f"data: expected a path, for example 'cells/VOC@train', found {type(data).__name__}")
    if not data.strip():
        raise InputError(f"data: expected a path, found {data!r}; the current folder is '.'")
    return data


def place_of(data: str) -> Place:
    """Split a DATA argument into its parts. A path that exists may contain "@" and ":", and so may an address."""
    prefix, colon, path = data.partition(":")
    prefix = prefix.lower()
    if not colon or prefix not in FORMATS or Path(data).exists():
        prefix, path = "", data
    start, at, split = path.rpartition("@")
    if not at or Path(path).exists() or (is_address(path) and "/" in split):  # the login of an address
        return Place(prefix, path, None)
    return Place(prefix, start, split)


def find_sets(place: Place) -> dict[str, dict[str, Parse]]:
    """Return the parsers of the data sets at a place by format and split, of all formats that have one there.

    Formats of names, not paths, are asked only if their prefix is there.
    """
    paths = {name: data_format for name, data_format in FORMATS.items() if data_format.is_path}
    formats = {place.prefix: FORMATS[place.prefix]} if place.prefix else paths
    matches = {name: sets for name, data_format in formats.items() if (sets := data_format.find(place.path))}
    return {name: sets for name, sets in matches.items() if len(matches) == 1 or not FORMATS[name].is_guess(place.path)}


def exists(data: str) -> bool:
    """Return whether a DATA argument names a data set, or a file that may be a damaged one. A name without "+" does."""
    place = place_of(data)
    if place.prefix and not FORMATS[place.prefix].is_path:
        return "+" not in data or os.path.isdir(place.path)
    if is_address(place.path):
        return remote.exists(place.path)
    splits = [split for sets in find_sets(place).values() for split in sets]
    return Path(data).is_file() or (bool(splits) if place.split is None else bool(_named(place.split, splits)))


def absolute(data: str) -> str:
    """Make the path in a DATA argument absolute, so that it means the same in any folder."""
    prefix, path, split = place_of(data)
    is_path = not prefix or FORMATS[prefix].is_path or os.path.isdir(path)
    path = os.path.abspath(path) if is_path and not is_address(path) else path
    return f"{prefix and f'{prefix}:'}{path}{'' if split is None else f'@{split}'}"


def looks_complete(data: str) -> bool:
    """Return whether the text ends like a DATA argument; it need not exist."""
    extensions = tuple(extension for data_format in FORMATS.values() for extension in data_format.extensions)
    return "@" in data or data.lower().endswith(extensions)


def holds_images(data: str) -> bool:
    """Return whether the data set that a DATA argument names has its images inside, see `DataFormat`.

    Raises:
        InputError: see `choose`.
    """
    return FORMATS[_choose(data)[0]].holds_images


def choose(data: str) -> Parse:
    """Find the data set that a DATA argument names, and return its parser.

    Raises:
        InputError: there is none, or several formats or splits are there. The message lists what to type.
    """
    return _choose(data)[1]


def _choose(data: str) -> tuple[str, Parse]:
    """Return the format and the parser of a data set."""
    try:
        place = place_of(data)
        data_text(place.path)
        if is_address(place.path) and (not place.prefix or FORMATS[place.prefix].is_path):
            place = place._replace(path=remote.local_copy(place.path))
        matches = find_sets(place)
    except OSError as error:  # for example of a name that is too long
        name = shorten(str(error.filename or data), _MAX_NAME)
        raise InputError(f"data: {name} cannot be read: {error.strerror or error}") from error
    if not matches:
        formats = {place.prefix: FORMATS[place.prefix]} if place.prefix else FORMATS
        raise not_understood(place.path, formats)
    split = place.split
    if split is not None:
        splits = [each for sets in matches.values() for each in sets]
        damaged = [name for name in matches if FORMATS[name].is_damaged(place.path)]
        named = {name: sets for name, sets in matches.items() if _named(split, sets) and name not in damaged}
        if damaged and not named:
            return damaged[0], next(iter(matches[damaged[0]].values()))  # which reports why
        matches = named
        if not matches:
            raise InputError(f"data: {_repeated_split(place) or _no_such_split(place, splits)}")
    if len(matches) > 1:
        choices = [f"{name}:{data}" for name in matches]
        raise InputError(
            f"data: expected one format, found {' and '.join(matches)} in {place.path}; type {' or '.join(choices)}"
        )
    ((name, sets),) = matches.items()
    if split is None and len(sets) > 1:
        choices = [f"{data}@{each}" if each else f"{data}@ (what is in no split)" for each in _usual_first(sets)]
        more = f" or one of {len(choices) - _MAX_CHOICES:,} more" if len(choices) > _MAX_CHOICES else ""
        kind = "file" if Path(place.path).is_file() else "folder"
        raise InputError(
            f"data: expected one split, found the {kind} {place.path} with {len(sets)} ({name}); "
            f"did you mean {' or '.join(choices[:_MAX_CHOICES])}{more}?"
        )
    return name, sets[next(iter(sets)) if split is None else _named(split, sets)[0]]


def validation_split(data: str) -> str | None:
    """Return the DATA argument of the validation split that belongs to a training split.

    Args:
        data: that `choose` takes; `cells@train` may have `cells@valid`, and `coco@train2017` has `coco@val2017`.

    Returns:
        None if there is no such split, or `data` is no split or has the validation data in it, as `trainval` has.
    """
    place = place_of(data)
    if not place.split or is_address(place.path) or "val" in place.split.lower():
        return None
    year = re.sub("[^0-9]", "", place.split)
    sets = [splits for splits in find_sets(place).values() if _named(place.split, splits)]
    names = [each for splits in sets for each in splits if each.lower().startswith("val") and is_split_name(each)]
    same_year = [name for name in names if re.sub("[^0-9]", "", name) == year]
    return f"{data.rpartition('@')[0]}@{same_year[0]}" if same_year else None


def _named(split: str, splits: Iterable[str]) -> list[str]:
    """Return the split of a name, else the splits that mean the same."""
    if split in splits:
        return [split]
    name = split.lower()
    same = {name}.union(*(names for names in _SYNONYMS if name in names))
    return [each for each in splits if each.lower() in same]


def _usual_first(splits: Iterable[str]) -> list[str]:
    """Sort the lists of one class behind the whole splits: Pascal VOC's aeroplane_train, CVAT's cell_default."""
    names = list(splits)
    of_class = {name for name in names if any(name != split and name.endswith(f"_{split}") for split in names if split)}
    return sorted(names, key=lambda split: (split in of_class, not is_split_name(split)))


def _repeated_split(place: Place) -> str:
    """Return the message for a split that has the images of another one; "" for others."""
    prefixes = (
        [place.prefix] if place.prefix else [name for name, data_format in FORMATS.items() if data_format.is_path]
    )
    for prefix in prefixes:
        repeated = FORMATS[prefix].repeated(place.path)
        for split in _named(place.split or "", repeated):
            return (
                f"expected other images than those of {repeated[split]}, found the same ones in the split {split} of "
                f"{place.path}; split some off: --val 0.2"
            )
    return ""


def _no_such_split(place: Place, splits: list[str]) -> str:
    names = _usual_first(split for split in splits if split)
    typed = place.split or "no name"
    if not names:
        alone = place.path if not place.prefix else f"{place.prefix}:{place.path}"
        return f"expected no split, since there is one data set in {place.path}, found {typed!r}; type {alone}"
    more = ", ..." if len(names) > _MAX_CHOICES else ""
    listed = f"{', '.join(names[:_MAX_CHOICES])}{more}"
    return f"expected one of the splits {listed} in {place.path}, found {typed!r} after the @"
