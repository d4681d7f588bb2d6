"""The pictures of TFRecord shards, read without TensorFlow.

A record is 8 bytes of its length, 4 of a checksum, its content and 4 of another checksum. The content is a
`tf.train.Example` in protobuf's encoding: https://protobuf.dev/programming-guides/encoding. The keys are the TF Object
Detection API's: image/encoded and image/filename.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

from tfrcnn.errors import InputError

ENCODED, FILENAME = "image/encoded", "image/filename"
_LENGTH = struct.Struct("<Q4x")
_BEHIND = 4  # bytes of the last checksum
_GZIP = b"\x1f\x8b"
_SKIPPED = {1: 8, 5: 4}  # bytes of protobuf's wire types that have a fixed size
_VARINT, _SIZED = 0, 2
_LAST_SHIFT = 63  # of the tenth byte, the last one of a number


def offsets(path: Path, every: int) -> tuple[list[int], str]:
    """Find where records start; only their lengths are read.

    Args:
        path: the shard.
        every: of so many records, the first is returned.

    Returns:
        The first bytes of records 0, `every`, 2 `every` and so on, and what is wrong with the shard, "" if nothing is.
    """
    places: list[int] = []
    at, count, size = 0, 0, path.stat().st_size
    with open(path, "rb") as file:
        if file.read(len(_GZIP)) == _GZIP:
            return [], f"{path}: expected an uncompressed TFRecord, found a compressed one: unpack it with gzip -d"
        while at < size:
            file.seek(at)
            length = _length(file.read(_LENGTH.size))
            if length is None or at + _LENGTH.size + length + _BEHIND > size:
                return places, f"{path}: expected whole records, found after {count:,} of them one that is cut off"
            if count % every == 0:
                places.append(at)
            at, count = at + _LENGTH.size + length + _BEHIND, count + 1
    return places, "" if count else f"{path}: expected at least one record, found none"


def read_pictures(path: Path, offset: int, count: int) -> Iterator[tuple[str, bytes | InputError]]:
    """Yield the names and pictures of records.

    Args:
        path: the shard.
        offset: first byte of the first record.
        count: maximum number of records.

    Yields:
        name: of the picture; "" if the record has none.
        content: of the image file, or the reason why there is none.
    """
    with open(path, "rb") as file:
        file.seek(offset)
        for _ in range(count):
            length = _length(file.read(_LENGTH.size))
            if length is None:
                return
            record = file.read(length)
            file.seek(_BEHIND, os.SEEK_CUR)
            try:
                features = parse_example(record)
            except (IndexError, UnicodeDecodeError):
                yield "", InputError(f"{path}: expected a tf.train.Example, found other data ({length:,} bytes)")
                continue
            name = features.get(FILENAME, b"").decode(errors="replace")
            content = features.get(ENCODED)
            yield name, content or InputError(f"{path}: expected {ENCODED}, found {', '.join(features) or 'nothing'}")


def parse_example(record: bytes) -> dict[str, bytes]:
    """Read the first value of each feature of bytes in a `tf.train.Example`; features of numbers are b"".

    Raises:
        IndexError: the record is cut off or other data.
        UnicodeDecodeError: the same.
    """
    values = {}
    for features in _messages(record, 1):
        for entry in _messages(features, 1):
            key = next(_messages(entry, 1), b"").decode()
            lists = (part for feature in _messages(entry, 2) for part in _messages(feature, 1))
            values[key] = next((value for part in lists for value in _messages(part, 1)), b"")
    return values


def _messages(data: bytes, field: int) -> Iterator[bytes]:
    """Yield the texts, bytes and messages of a field.

    Raises:
        IndexError: the data is cut off.
    """
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == _VARINT:
            _, at = _varint(data, at)
            continue
        size = _SKIPPED.get(kind)
        if kind == _SIZED:
            size, at = _varint(data, at)
        if size is None or at + size > len(data):
            raise IndexError("cut off")
        if kind == _SIZED and key >> 3 == field:
            yield data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of at most 64 bits, and the position after it.

    Raises:
        IndexError: the data is cut off, or the number is longer.
    """
    value = shift = 0
    while True:
        if shift > _LAST_SHIFT:  # each further byte would take longer than the one before
            raise IndexError("longer than 64 bits")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _length(start: bytes) -> int | None:
    return _LENGTH.unpack(start)[0] if len(start) == _LENGTH.size else None
