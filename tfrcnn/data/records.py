"""Reads the records of TFRecord shards. Images stay in the shards: a record holds a path to its image's bytes.

TensorFlow reads the shards and checks their checksums. A record of n bytes takes 12 bytes before it and 4 behind it, so
the place of its image follows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tfrcnn.data.embedded import embedded_path
from tfrcnn.data.faults import Fault
from tfrcnn.data.record_table import Fields, RecordTable
from tfrcnn.data.sources import nfc
from tfrcnn.errors import InputError
from tfrcnn.printable import count_of

_BEFORE, _BEHIND = 12, 4  # bytes around a record: its length and two checksums
_PROGRESS_FROM = 1 << 30  # bytes; fewer are read in seconds
_GROUP = 16  # records; few, since each may hold a large image
_GZIP = b"\x1f\x8b"
_MAX_SHARE = 2.0  # of an image's sides; a box may leave its image, but not by as much again
_OPERATION = re.compile(r"^\{\{.*?\}\}\s*|\s*\[Op:.*")  # of TensorFlow, around the reason

Features = Mapping[str, Any]


def read_shard(path: Path, parse: Callable[[Features], Fields]) -> tuple[RecordTable, list[Fault]]:
    """Read the records of a shard.

    Args:
        path: the shard.
        parse: reads the features of a record; raises `InputError` if they cannot be used.

    Returns:
        The records that can be used, and a fault for each that cannot.
    """
    import tensorflow as tf  # here, so that the other formats are read without it

    records, faults = RecordTable(), list[Fault]()
    number = offset = 0
    try:
        if _starts_with(path, _GZIP):
            message = "expected an uncompressed TFRecord, found a compressed one; unpack it with gzip -d"
            return records, [Fault("unreadable-file", str(path), "", message)]
        for number, data in enumerate(_records_of(path), 1):
            start, offset = offset + _BEFORE, offset + _BEFORE + len(data) + _BEHIND
            try:
                fields = parse(_features(data))
            except InputError as error:
                faults.append(Fault("bad-value", str(path), f"record {number}", str(error)))
                continue
            name = fields.name.replace("\\", "/").rpartition("/")[2] or f"{path.stem}-{number:06}"
            image = embedded_path(path, start + data.find(fields.encoded), len(fields.encoded), name)
            records.append(image, fields)
        if (rest := path.stat().st_size - offset) > 0:  # TensorFlow takes fewer than 12 bytes for the end
            message = f"expected whole records, found after {number:,} of them: {count_of(rest, 'byte')}"
            faults.append(Fault("unreadable-file", str(path), "", message))
    except (tf.errors.OpError, OSError) as error:
        message = f"expected whole records, found after {number:,} of them: {_reason(error)}"
        faults.append(Fault("unreadable-file", str(path), "", message))
    return records, faults


def _records_of(path: Path) -> Iterator[bytes]:
    """Yield the records of a shard, read in groups: TensorFlow takes as long to return one as to read a small image."""
    import tensorflow as tf

    dataset, count = tf.data.TFRecordDataset(str(path)), 0
    try:
        for group in dataset.batch(_GROUP).as_numpy_iterator():
            yield from group
            count += len(group)
    except tf.errors.OpError:  # the whole records before the fault, and then its error
        yield from dataset.skip(count).as_numpy_iterator()


def read_shards(paths: Sequence[Path], parse: Callable[[Features], Fields]) -> tuple[list[RecordTable], list[Fault]]:
    """Read the records of shards, in threads; see `read_shard`. A bar is shown if they are large."""
    is_large = sum(path.stat().st_size for path in paths if path.exists()) > _PROGRESS_FROM
    with ThreadPoolExecutor() as pool:
        reading = pool.map(lambda path: read_shard(path, parse), paths)
        results = list(tqdm(reading, desc="reading shards", unit="shard", total=len(paths), disable=not is_large))
    return [records for records, _ in results], [fault for _, faults in results for fault in faults]


def parse_api(features: Features) -> Fields:
    """Read the features of the TF Object Detection API.

    Raises:
        InputError: a feature is missing, or has another type or length.
    """
    encoded = _bytes(features, "image/encoded")
    if not encoded or not encoded[0]:
        keys = ", ".join(sorted(features)[:12]) or "none"
        raise InputError(f"image/encoded: expected an image file, found none; the record's features are {keys}")
    corners = [_numbers(features, f"image/object/bbox/{corner}") for corner in ("ymin", "xmin", "ymax", "xmax")]
    count = len(corners[0])
    if any(len(values) != count for values in corners):
        raise InputError(f"image/object/bbox: expected as many of each, found {[len(values) for values in corners]}")
    boxes = np.array(corners, np.float64).T.reshape(-1, 4)
    if count and np.nanmax(np.abs(boxes)) > _MAX_SHARE:
        share = float(np.nanmax(np.abs(boxes)))
        raise InputError(f"image/object/bbox: expected shares of the image from 0 to 1, found {share:g} (pixels?)")
    texts = tuple(nfc(text.decode(errors="replace")) for text in _bytes(features, "image/object/class/text"))
    numbers = _whole_numbers(features, "image/object/class/label")
    for key, values in (("text", texts), ("label", numbers)):
        if len(values) not in (0, count):
            raise InputError(f"image/object/class/{key}: expected one per box ({count}), found {len(values)}")
    if count and not texts and not numbers:
        raise InputError("image/object/class: expected a text or a label per box, found neither")
    sides = [_whole_numbers(features, f"image/{side}") for side in ("height", "width")]
    size = (sides[0][0], sides[1][0]) if all(side and side[0] >= 1 for side in sides) else None
    crowd = _per_box(features, "image/object/is_crowd", count) + _per_box(features, "image/object/group_of", count) > 0
    return Fields(
        encoded=encoded[0],
        name=_text(features, "image/filename"),
        source_id=_text(features, "image/source_id"),
        size=size,
        boxes=boxes,
        texts=texts,
        numbers=numbers,
        crowd=crowd,
        difficult=_per_box(features, "image/object/difficult", count) > 0,
        areas=_per_box(features, "image/object/area", count),
    )


def parse_prepared(features: Features, image: str, objects: str, has_labels: bool) -> Fields:
    """Read the features of a data set that TensorFlow Datasets prepared.

    Args:
        features: of the record.
        image: key of the image.
        objects: key of the sequence of objects.
        has_labels: the objects have a label, from 0; otherwise all are of class 1.

    Raises:
        InputError: a feature is missing, or has another type or length.
    """
    encoded = _bytes(features, image)
    if not encoded:
        raise InputError(f"{image}: expected an image file, found none")
    values = _numbers(features, f"{objects}/bbox")
    count = len(values) // 4
    labels = _whole_numbers(features, f"{objects}/label") if has_labels else (0,) * count
    if len(values) != 4 * len(labels):
        raise InputError(f"{objects}: expected 4 numbers per label, found {len(values)} for {len(labels)} labels")
    flags = [_per_box(features, f"{objects}/{key}", count) > 0 for key in ("is_crowd", "is_group_of")]
    crowd: np.ndarray = np.logical_or(*flags)  # Open Images writes -1 for unknown
    return Fields(
        encoded=encoded[0],
        name=_text(features, "image/filename"),
        source_id=_text(features, "image/filename"),
        size=None,
        boxes=np.array(values, np.float64).reshape(-1, 4),
        texts=(),
        numbers=tuple(label + 1 for label in labels),
        crowd=crowd,
        difficult=_per_box(features, f"{objects}/is_difficult", count) > 0,
        areas=_per_box(features, f"{objects}/area", count),
    )


def _features(data: bytes) -> Features:
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        features: Features = tf.train.Example.FromString(data).features.feature
    except DecodeError as error:
        raise InputError(f"expected a tf.train.Example, found other data ({len(data):,} bytes)") from error
    return features


def _values(features: Features, key: str, kinds: tuple[str, ...]) -> list[Any]:
    """Return the values of a feature; none if it is missing or empty."""
    if key not in features:
        return []
    kind = features[key].WhichOneof("kind")
    values = [] if kind is None else list(getattr(features[key], kind).value)
    if values and kind not in kinds:
        raise InputError(f"{key}: expected a {kinds[0]}, found a {kind}")
    return values


def _bytes(features: Features, key: str) -> list[bytes]:
    return _values(features, key, ("bytes_list",))


def _numbers(features: Features, key: str) -> list[float]:
    return _values(features, key, ("float_list", "int64_list"))


def _whole_numbers(features: Features, key: str) -> tuple[int, ...]:
    values = _numbers(features, key)
    if not all(float(value).is_integer() and abs(value) < 2**63 for value in values):
        raise InputError(f"{key}: expected whole numbers, found {values[:8]}")
    return tuple(int(value) for value in values)


def _text(features: Features, key: str) -> str:
    return next((nfc(value.decode(errors="replace")) for value in _bytes(features, key)), "")


def _per_box(features: Features, key: str, count: int) -> np.ndarray:
    """Return a number per box; 0 if there are none."""
    values = _numbers(features, key)
    if len(values) not in (0, count):
        raise InputError(f"{key}: expected one per box ({count}), found {len(values)}")
    return np.array(values or [0.0] * count, np.float64)


def _starts_with(path: Path, start: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(start)) == start


def _reason(error: Exception) -> str:
    reason = getattr(error, "strerror", None) or getattr(error, "message", None) or str(error)
    return _OPERATION.sub("", reason.splitlines()[0])
