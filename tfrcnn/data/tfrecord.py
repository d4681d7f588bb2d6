"""TFRecord shards with the keys of the TF Object Detection API.

    image/encoded, image/filename, image/source_id, image/height, image/width,
    image/object/bbox/ymin, xmin, ymax, xmax, image/object/class/text, image/object/class/label,
    image/object/difficult, image/object/is_crowd, image/object/group_of, image/object/area

Boxes are float32 shares of the image's height and width, which is a resolution of 1/16,777,216 of a side. A box becomes
the shortest decimal number of pixels that has the same shares: integers and hundredths of a pixel come back exactly.

Ids come from the label map next to the shards. If there is none, they are the labels of the records, and the texts are
the names.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from tfrcnn.config import Category
from tfrcnn.data.checks import ImageRecord, Parsed, in_threads
from tfrcnn.data.class_lists import ClassList, classes_of_names, find_label_map
from tfrcnn.data.data_format import DataFormat, Parse
from tfrcnn.data.decimals import shortest
from tfrcnn.data.faults import Fault
from tfrcnn.data.headers import BadImageError, read_header
from tfrcnn.data.record_table import NO_NUMBER, NO_TEXT, RecordTable
from tfrcnn.data.records import parse_api, read_shards
from tfrcnn.data.sources import names_in, subfolders

_EXTENSIONS = (".tfrecord", ".tfrecords", ".tfrec", ".record", ".records")
_SHARD = re.compile(r"(?P<base>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<extension>\.\w+)?")
_CHECKPOINT = ".data"  # TensorFlow's checkpoints have shards too: model.data-00000-of-00001


class TfRecord(DataFormat):
    """`path/train.tfrecord`, `path/train.tfrecord-?????-of-00010`, or the folder."""

    expected = "a .tfrecord file (TF Object Detection API), its shards NAME-?????-of-00010, or their folder"
    extensions = _EXTENSIONS
    holds_images = True

    def find(self, path: str) -> dict[str, Parse]:
        if os.path.isfile(path):
            return {"": partial(parse_tfrecord, [Path(path)], path)} if _base(Path(path).name) else {}
        if os.path.isdir(path):
            below = {folder.name: _sets(folder) for folder in subfolders(Path(path))}  # Roboflow's split folders
            sets = _sets(Path(path)) or {split: next(iter(s.values())) for split, s in below.items() if len(s) == 1}
            patterns = {split: os.path.join(glob.escape(str(files[0].parent)), "*") for split, files in sets.items()}
            return {split: partial(parse_tfrecord, files, patterns[split]) for split, files in sets.items()}
        place = Path(path)  # without "./" and "//", as the paths of the shards
        in_folder = os.path.join(glob.escape(str(place.parent)), place.name)
        for pattern in (in_folder, str(place), f"{glob.escape(str(place))}-?????-of-?????"):
            files = [Path(file) for file in sorted(glob.glob(pattern)) if _base(os.path.basename(file))]
            if files:
                return {"": partial(parse_tfrecord, files, pattern)}
        return {}


def _sets(folder: Path) -> dict[str, list[Path]]:
    """Return the files of the sets in a folder by the name of the set."""
    sets: dict[str, list[Path]] = {}
    for name in names_in(folder, folders=False):
        if _base(name):
            sets.setdefault(_set_of(name), []).append(folder / name)
    return sets


def parse_tfrecord(shards: Sequence[Path], pattern: str, images: Path | None = None) -> Parsed:
    """Read the annotations of TFRecord shards. Images stay in the shards.

    Args:
        shards: the files.
        pattern: that names them. A shard that it names and that does not exist is a fault.
        images: None, since the images are in the shards.

    Returns:
        Images, boxes and categories that can be used, and a fault for each that cannot.
    """
    faults = [
        Fault("missing-shard", str(path), "", f"expected all shards of {pattern}, found {len(shards)} without this one")
        for path in missing_shards(shards, pattern)
    ]
    for place, counts in _shard_counts(shards).items():
        if len(counts) > 1:
            message = f"expected one number of shards, found {' and '.join(counts)}"
            faults.append(Fault("shards-written-twice", str(place), "", message))
    records, record_faults = read_shards(shards, parse_api)
    faults += record_faults
    classes = find_label_map(shards[0].parent, _set_of(shards[0].name)) or _classes_of(records)
    parsed = assemble(records, classes)
    parsed.faults[:0] = faults
    if not parsed.images and not faults:
        parsed.faults.append(Fault("empty-split", pattern, "", "expected at least one record, found none"))
    return parsed


def missing_shards(shards: Iterable[Path], pattern: str) -> Iterator[Path]:
    """Yield the shards that do not exist, of those that the names of the others promise and the pattern names."""
    present = set(shards)
    for path in sorted({path for path in present if _SHARD.fullmatch(path.name)}):
        match = _SHARD.fullmatch(path.name)
        assert match is not None
        for number in range(int(match["count"])):
            name = f"{match['base']}-{number:05}-of-{match['count']}{match['extension'] or ''}"
            other = path.with_name(name)
            if other not in present and fnmatch.fnmatch(str(other), pattern):
                present.add(other)
                yield other


def assemble(tables: Sequence[RecordTable], classes: ClassList) -> Parsed:
    """Make images and boxes of records; a class that the list does not have is a fault."""
    parsed = Parsed(inclusive=False, box_field="object {}", show_box=_show_box, categories=classes.categories)
    parsed.faults += classes.faults
    ids = iter(_image_ids(tables))
    for table in tables:
        start, sizes = len(parsed.images), _sizes_of(table)
        for path, image_id, size, annotated in zip(table.paths, ids, sizes.tolist(), table.sizes[:, 0].tolist()):
            size_field = "image/height" if annotated else ""
            used = (size[0], size[1]) if size[0] else None
            parsed.images.append(ImageRecord(image_id, (path,), used, str(path), "image/encoded", size_field))
        labels, good = _labels_of(table, classes, parsed)
        owners = table.owners
        boxes = _pixels(table.boxes, np.maximum(sizes, 1)[owners])
        columns = start + owners, table.places, boxes, labels, table.crowd, table.difficult, table.areas
        parsed.boxes.extend(*(column[good] for column in columns))
    return parsed


def _sizes_of(table: RecordTable) -> np.ndarray:
    """Return the (height, width) [n, 2] that records have, else of their upright images; 0 if these cannot be read."""
    sizes = table.sizes
    missing = np.flatnonzero(sizes[:, 0] == 0).tolist()
    if missing:
        sizes[missing] = in_threads(lambda i: _upright_size(table.paths[i]), missing, "reading image sizes")
    return sizes


def _upright_size(path: Path) -> tuple[int, int]:
    try:
        return read_header(path).upright
    except BadImageError:
        return 0, 0


def _labels_of(table: RecordTable, classes: ClassList, parsed: Parsed) -> tuple[np.ndarray, np.ndarray]:
    """Return the label of each box [N], and which boxes have one [N] bool; add a fault for each other box."""
    codes, numbers = table.codes, table.numbers
    text_labels = np.array([*(classes.labels.get(text, -1) for text in table.texts), -1], np.int64)
    by_text = text_labels[codes]  # the last one is for `NO_TEXT`
    label_of_id = {category.id: label for label, category in enumerate(classes.categories)}
    unique, inverse = np.unique(numbers, return_inverse=True)
    by_number = np.array([label_of_id.get(number, -1) for number in unique.tolist()], np.int64)[inverse]
    labels = np.where(by_text < 0, by_number, by_text)
    unknown = labels < 0
    differs = (by_number >= 0) & (by_number != labels)
    names, owners, places = list(table.texts), table.owners, table.places
    for box in np.flatnonzero(unknown | differs):
        text = None if codes[box] == NO_TEXT else names[codes[box]]
        number = None if numbers[box] == NO_NUMBER else int(numbers[box])
        file, field = str(table.paths[int(owners[box])]), f"object {places[box]}"
        if unknown[box]:
            message = f"expected a class of {classes.path or 'the records'}, found {text!r} with label {number}"
            parsed.faults.append(Fault("unknown-category", file, field, message))
        else:
            message = f"expected label {classes.categories[labels[box]].id} for {text!r}, found {number}"
            parsed.faults.append(Fault("bad-value", file, f"{field}, image/object/class/label", message))
    return labels, ~(unknown | differs)


def _classes_of(tables: Sequence[RecordTable]) -> ClassList:
    """Return the classes that records have without a label map: their labels, named by their texts."""
    names: dict[int, str] = {}
    classes = ClassList()
    for table in tables:
        texts, codes, numbers = list(table.texts), table.codes, table.numbers
        both = np.flatnonzero((codes != NO_TEXT) & (numbers != NO_NUMBER))
        pairs = np.column_stack([numbers, codes])[both]
        for box in both[np.sort(np.unique(pairs, axis=0, return_index=True)[1])]:
            names.setdefault(int(numbers[box]), texts[codes[box]])
        # the position of each label's name among the texts
        unique, inverse = np.unique(numbers, return_inverse=True)
        expected = np.array([table.texts.get(names.get(number, ""), -2) for number in unique.tolist()], np.int64)
        owners, places = table.owners, table.places
        for box in both[expected[inverse][both] != codes[both]]:
            number, text = int(numbers[box]), texts[codes[box]]
            message = f"expected one text for label {number}, found {names[number]!r} and {text!r}"
            path = table.paths[int(owners[box])]
            classes.faults.append(Fault("duplicate-category", str(path), f"object {places[box]}", message))
    for number in {number for table in tables for number in np.unique(table.numbers).tolist()} - {NO_NUMBER}:
        names.setdefault(number, str(number))
    all_texts = {text for table in tables for text in table.texts}
    if not names or len(set(names.values())) < len(names):  # labels that do not say which class it is
        return classes_of_names(all_texts)
    classes.categories = tuple(Category(number, names[number]) for number in sorted(names))
    classes.labels = {category.name: label for label, category in enumerate(classes.categories)}
    if not all_texts:
        classes.fault("numbered-categories", "", "expected image/object/class/text or a label map, found labels only")
    return classes


def _image_ids(tables: Sequence[RecordTable]) -> Iterable[int | str]:
    """Return the ids of the records' images: numbers if all are numbers, their names if they have no id."""

    def ids() -> Iterator[str]:
        return (image_id for table in tables for image_id in table.ids)

    count = sum(len(table) for table in tables)
    # few ids have the hash of another, so that the ids themselves need not be compared
    if not all(ids()) or (len(np.unique(np.fromiter(map(hash, ids()), np.int64))) < count and len(set(ids())) < count):
        return range(1, count + 1)
    return map(int, ids()) if all(re.fullmatch("0|[1-9][0-9]{0,17}", image_id) for image_id in ids()) else ids()


def _pixels(shares: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Convert boxes [N, 4] to the shortest numbers of pixels that have the same shares in float32.

    Args:
        shares: [N, 4] of the sides of the boxes' images.
        sizes: [N, 2] (height, width) of these images.
    """
    sides = np.tile(sizes, 2).astype(np.float64)

    def is_same(pixels: np.ndarray) -> np.ndarray:
        """Return where a writer would have made these shares, from float64 or from float32 pixels."""
        ways = (pixels / sides, pixels.astype(np.float32) / sides)
        same: np.ndarray = np.logical_or(*(way.astype(np.float32) == shares for way in ways))
        return same

    return shortest(shares * sides, is_same)


def is_tfrecord(name: str) -> bool:
    """Return whether a file is a TFRecord or a shard of one, by its name."""
    return bool(_base(name))


def _base(name: str) -> str:
    """Return the name of the set that a file is a shard of, or its own name; "" if it is no TFRecord."""
    match = _SHARD.fullmatch(name)
    if match is not None:
        is_other = (
            match["base"].endswith(_CHECKPOINT) or (match["extension"] or _EXTENSIONS[0]).lower() not in _EXTENSIONS
        )
        return "" if is_other else match["base"]
    return name if name.lower().endswith(_EXTENSIONS) else ""


def _set_of(name: str) -> str:
    """Return the name of a file's set without an extension: cells.v2-train of cells.v2-train.tfrecord."""
    base = _base(name) or name
    stem, extension = os.path.splitext(base)
    return stem if extension.lower() in _EXTENSIONS else base


def _shard_counts(shards: Sequence[Path]) -> dict[Path, list[str]]:
    """Return the numbers behind "-of-" by set; "no number" is a file that is a whole set."""
    counts: dict[Path, dict[str, None]] = {}
    for path in shards:
        match = _SHARD.fullmatch(path.name)
        count = "no number" if match is None else f"{int(match['count']):,}"
        counts.setdefault(path.with_name(_set_of(path.name)), {})[count] = None
    return {place: list(values) for place, values in counts.items()}


def _show_box(y1: float, x1: float, y2: float, x2: float) -> str:
    return f"ymin {y1:g}, xmin {x1:g}, ymax {y2:g}, xmax {x2:g} px"
