"""Reads the annotation files that users hand over: regular files only, as text of any declared encoding."""

from __future__ import annotations

import codecs
import io
import json
import os
import re
import stat
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

from tfrcnn.errors import InputError

MAX_SMALL = 1 << 26  # bytes of a split or of the annotation of one image
_HEAD = 1 << 16  # bytes, to recognise a file by
_BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_DECLARATION = re.compile(rb"""\s*<\?xml[^>]*?encoding\s*=\s*["']([\w.-]+)["']""")
# The XML parser reads these by itself, and names the line of an error.
_KNOWN_TO_PARSER = {"utf-8", "utf-16", "ascii", "iso8859-1"}
# Files that declare the older sets hold characters of the newer one.
_SUPERSETS = {"gb2312": "gb18030", "gbk": "gb18030"}


def read_bytes(path: Path, max_size: int | None = None) -> bytes:
    """Read a regular file.

    A pipe would block for ever, and a device has no end.

    Args:
        path: the file.
        max_size: in bytes; None is the memory.

    Raises:
        InputError: the path is not a regular file, cannot be read or is too large. The message says what it is.
    """
    try:
        # without O_NONBLOCK, opening a pipe waits for its writer
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"expected a regular file, found {_kind(status.st_mode)}")
            if max_size is not None and status.st_size > max_size:
                raise InputError(f"expected at most {max_size:,} bytes, found {status.st_size:,}")
            with open(descriptor, "rb", closefd=False) as file:
                return file.read()
        finally:
            os.close(descriptor)
    except FileNotFoundError as error:
        actual = "a link to nothing" if path.is_symlink() else "none"
        raise InputError(f"expected a regular file, found {actual}") from error
    except MemoryError as error:
        raise InputError("expected a file that fits into memory, found a larger one") from error
    except OSError as error:
        raise InputError(f"expected a readable file, found: {error.strerror}") from error


def read_head(path: Path) -> bytes:
    """Read the first bytes of a file; none if it is not a regular file or cannot be read."""
    try:
        with open(path, "rb") if path.is_file() else io.BytesIO() as file:
            return file.read(_HEAD)
    except (OSError, ValueError):  # ValueError: a path that no system can have
        return b""


def json_text(path: Path) -> str:
    """Read a JSON file as text, so that its bytes do not stay in memory while it is parsed.

    Raises:
        InputError: as `read_bytes`.
        UnicodeDecodeError: the file is not in UTF-8, UTF-16 or UTF-32.
    """
    data = read_bytes(path)
    return data.decode(json.detect_encoding(data), "surrogatepass")


def xml_source(data: bytes) -> bytes | str:
    """Return what an XML parser needs: the data, or their text in an encoding that the parser does not know.

    Raises:
        LookupError: the declared encoding does not exist.
        UnicodeDecodeError: the data are not in the declared encoding.
    """
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if data.startswith(mark):
            return data.decode(encoding)
    declaration = _DECLARATION.match(data)
    if declaration is None:
        return data
    name = codecs.lookup(declaration[1].decode()).name
    return data if name in _KNOWN_TO_PARSER else data.decode(_SUPERSETS.get(name, name))


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text file in UTF-8, or in UTF-16 with a byte order mark, as Windows writes it.

    Raises:
        InputError: as `read_bytes` and `plain_text`.
    """
    return plain_text(read_bytes(path, MAX_SMALL)).splitlines()


def plain_text(data: bytes) -> str:
    """Decode a text file in UTF-8, or in UTF-16 with a byte order mark, as Windows writes it.

    Raises:
        InputError: the data are in another encoding.
    """
    encoding = text_encoding(data)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise not_unicode(error) from error


def text_encoding(data: bytes) -> str:
    """Return "utf-8", or the encoding of the byte order mark at the start of a text file."""
    return next((name for mark, name in _BYTE_ORDER_MARKS.items() if data.startswith(mark)), "utf-8")


def not_unicode(error: UnicodeDecodeError) -> InputError:
    """Return the error for a text file in another encoding: a guess could merge or change names."""
    actual = error.object[error.start : error.start + 1]
    return InputError(f"expected UTF-8 or UTF-16 with a byte order mark, found the byte {actual!r}; save it as UTF-8")


def walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield each folder below `folder`, also behind links, with the names of its files; no folder twice."""
    visited: set[tuple[int, int]] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in visited:  # a link that leads back
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        yield Path(place), names


def subfolders(folder: Path) -> list[Path]:
    """List the visible folders in a folder, sorted; none if it cannot be listed."""
    return [folder / name for name in names_in(folder, folders=True)]


def names_in(folder: Path, folders: bool) -> list[str]:
    """List the visible files, or folders, in a folder, sorted; none if it cannot be listed. No call per file."""
    try:
        with os.scandir(folder) as scan:
            entries = [(entry.name, entry.is_dir if folders else entry.is_file) for entry in scan]
    except (OSError, ValueError):  # ValueError: a path that no system can have
        return []
    return sorted(name for name, is_kind in entries if name[0] != "." and is_true(is_kind))


def is_true(is_kind: Callable[[], bool]) -> bool:
    """Ask an entry of a folder whether it is a file or a folder; False for a link that leads in a circle."""
    try:
        return is_kind()
    except OSError:
        return False


def nfc(text: str) -> str:
    """Return a text in Unicode's composed form: macOS writes names in the decomposed one."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _kind(mode: int) -> str:
    kinds = {stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket"}
    return next((name for is_kind, name in kinds.items() if is_kind(mode)), "a device")
