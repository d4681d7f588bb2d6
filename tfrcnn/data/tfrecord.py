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
from tfrcnn.data.checks import BoxRecord, ImageRecord, Parsed, in_threads
from tfrcnn.data.class_lists import ClassList, classes_of_names, find_label_map
from tfrcnn.data.data_format import DataFormat, Parse
from tfrcnn.data.decimals import shortest
from tfrcnn.data.faults import Fault
from tfrcnn.data.records import Record, parse_api, read_shards, size_of
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
    if not records and not faults:
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


def assemble(records: Sequence[Record], classes: ClassList) -> Parsed:
    """Make images and boxes of records; a class that the list does not have is a fault."""
    parsed = Parsed(inclusive=False, box_field="object {}", show_box=_show_box, categories=classes.categories)
    parsed.faults += classes.faults
    label_of_id = {category.id: label for label, category in enumerate(classes.categories)}
    sizes = in_threads(size_of, records, "reading image sizes")
    for image, (record, image_id, size) in enumerate(zip(records, _image_ids(records), sizes)):
        fields, file = record.fields, str(record.path)
        size_field = "image/height" if fields.size is not None else ""
        parsed.images.append(ImageRecord(image_id, (record.path,), size, file, "image/encoded", size_field))
        boxes = _pixels(fields.boxes, size or (1, 1))
        for place, box in enumerate(boxes.tolist()):
            text = fields.texts[place] if fields.texts else None
            number = fields.numbers[place] if fields.numbers else None
            by_text = classes.labels.get(text) if text is not None else None
            by_number = label_of_id.get(number) if number is not None else None
            label = by_number if by_text is None else by_text
            if label is None:
                message = f"expected a class of {classes.path or 'the records'}, found {text!r} with label {number}"
                parsed.faults.append(Fault("unknown-category", file, f"object {place}", message))
            elif by_number is not None and by_number != label:
                message = f"expected label {classes.categories[label].id} for {text!r}, found {number}"
                parsed.faults.append(Fault("bad-value", file, f"object {place}, image/object/class/label", message))
            else:
                flags = bool(fields.crowd[place]), bool(fields.difficult[place])
                area = float(fields.areas[place])
                parsed.boxes.append(BoxRecord(image, place, tuple(box), label, *flags, area))
    return parsed


def _classes_of(records: Sequence[Record]) -> ClassList:
    """Return the classes that records have without a label map: their labels, named by their texts."""
    names: dict[int, str] = {}
    classes = ClassList()
    for record in records:
        for place, (number, name) in enumerate(zip(record.fields.numbers, record.fields.texts)):
            if names.setdefault(number, name) != name:
                message = f"expected one text for label {number}, found {names[number]!r} and {name!r}"
                classes.faults.append(Fault("duplicate-category", str(record.path), f"object {place}", message))
    for number in {number for record in records for number in record.fields.numbers}:
        names.setdefault(number, str(number))
    texts = {text for record in records for text in record.fields.texts}
    if not names or len(set(names.values())) < len(names):  # labels that do not say which class it is
        return classes_of_names(texts)
    classes.categories = tuple(Category(number, names[number]) for number in sorted(names))
    classes.labels = {category.name: label for label, category in enumerate(classes.categories)}
    if not texts:
        classes.fault("numbered-categories", "", "expected image/object/class/text or a label map, found labels only")
    return classes


def _image_ids(records: Sequence[Record]) -> Sequence[int | str]:
    """Return the ids of the records' images: numbers if all are numbers, their names if they have no id."""
    ids = [record.fields.source_id or record.fields.name for record in records]
    if not all(ids) or len(set(ids)) < len(ids):
        return range(1, len(ids) + 1)
    return [int(each) for each in ids] if all(re.fullmatch("0|[1-9][0-9]{0,17}", each) for each in ids) else ids


def _pixels(shares: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Convert boxes [N, 4] to the shortest numbers of pixels that have the same shares in float32."""
    sides = np.array([*size, *size], np.float64)

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
