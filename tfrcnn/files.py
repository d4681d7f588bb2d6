"""Write files so that a kill at any moment leaves either the old content or the new, never half of it."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from tfrcnn.errors import InputError

TEMPORARY = ".tmp"
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+):(?:/+|$)")  # two letters or more; one is a drive of Windows
MAX_DIGITS = 308  # of a whole number that fits into a float
MAX_SHOWN = 40  # characters of a wrong number that an error repeats


def check_path(path: Any, name: str) -> Path:
    """Return an argument that is a path, or an address, as a `Path`.

    Args:
        path: the argument.
        name: of the argument, for the error.

    Raises:
        InputError: it is neither text nor a path, for example None or bytes; or no file can have this name.
    """
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not isinstance(text, str):
        raise InputError(f"{name}: expected a path, found {type(path if text is None else text).__name__}")
    if not text.strip():
        raise InputError(f"{name}: expected a path, found {text!r}; the current folder is '.'")
    if "\0" in text:
        raise InputError(f"{name}: expected a path, found the null character in {text!r}")
    return Path(text)


def cache_folder(*names: str) -> Path:
    """Return a folder in the cache, which is TFRCNN_CACHE, or else tfrcnn in XDG_CACHE_HOME or ~/.cache.

    Raises:
        InputError: the folder is below "~", and the system knows no home of the user.
    """
    home = os.environ.get("TFRCNN_CACHE") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "tfrcnn")
    # no shell expands a "~" in a Dockerfile, a service's file or Python
    expanded = os.path.expanduser(home)
    if expanded.startswith("~"):
        raise InputError(f"{home}: expected a folder for downloads, found no home folder: set TFRCNN_CACHE to a path")
    return Path(expanded).absolute().joinpath(*names)


def address_in(path: str | Path) -> str | None:
    """Return the address that a text or a path is, for example "s3://bucket/run"; None for a path on this machine.

    `Path("s3://bucket/run")` has one slash less; the address has both again.
    """
    text = os.fspath(path)
    match = _SCHEME.match(text)
    if match is None or match[0].endswith("//"):
        return match and text
    return f"{match[1]}://{text[match.end() :]}"


def check_local(path: Path) -> Path:
    """Return a path to write to, unless it is an address: s3://bucket/run would become a folder called "s3:".

    Raises:
        InputError: it is an address, or begins with a "~" that no shell has replaced.
    """
    if path.parts[:1] == ("~",):
        raise InputError(f"{path}: expected a path, found a ~ that the shell has left; write $HOME in its place")
    if (address := address_in(path)) is not None:
        raise InputError(
            f"{address}: expected a path on this machine to write to, found an address; write to a folder here and "
            "copy it, for example with aws s3 sync, gcloud storage rsync or hdfs dfs -put"
        )
    return path


def check_replaceable(path: Path) -> Path:
    """Return the path of a file to write or to replace, behind all links.

    Raises:
        InputError: it is a device or a pipe, such as /dev/null, in whose place a file would be.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(f"{path}: expected a file to write, found a device or a pipe")
    return path.resolve() if path.is_symlink() else path


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`, with the same suffix, and move it there if the block raises no error."""
    path = check_replaceable(check_local(check_path(path, "path")))
    path.parent.mkdir(parents=True, exist_ok=True)
    # one fixed name, so that the next process overwrites the leftovers of a killed one
    suffixes = "".join(path.suffixes)  # Keras looks at both of .weights.h5
    temporary = path.with_name(f".{path.name.removesuffix(suffixes)}{TEMPORARY}{suffixes}")
    try:
        with _naming(path, temporary):
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        with suppress(OSError):  # the error that stopped the block is the one to report
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder next to `path`, and move it there if the block raises no error.

    Raises:
        InputError: `path` exists, or is an address.
    """
    path = check_local(check_path(path, "path"))
    if path.exists():
        raise InputError(f"{path} exists: expected a new path")
    temporary = path.with_name(f".{path.name}{TEMPORARY}")
    shutil.rmtree(temporary, ignore_errors=True)  # left by a killed process
    try:
        with _naming(path, temporary):
            temporary.mkdir(parents=True)
            yield temporary
            os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def reserve(path: str | Path, size: int) -> None:
    """Make sure that the disk takes a file, by giving it room for `size` bytes; the file is empty afterwards.

    Libraries that write in native code may crash on a full disk: HDF5 ends the process.

    Raises:
        OSError: the disk is full, the quota is used up, or files of this size are not allowed.
    """
    with open(path, "wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        file.truncate(0)


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Name a file in the errors of the system that name none: a full disk stops a `write`, which knows no name."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def _naming(path: Path, temporary: Path) -> Iterator[None]:
    """Name the file that is written in the errors of the system, not its temporary or the source of a copy."""
    try:
        yield
    except OSError as error:
        names = [Path(os.fsdecode(name)) for name in (error.filename2, error.filename) if name is not None]
        inside = [name.relative_to(temporary) for name in names if name.is_relative_to(temporary)]
        if error.errno is not None and (inside or not names):
            error.filename, error.filename2 = str(path.joinpath(*inside[:1])), None
        raise


def is_free(folder: Path) -> bool:
    """Return whether a folder does not exist, or holds only the leftovers of a killed process.

    Raises:
        InputError: the folder is an address.
    """
    check_local(folder)
    if not folder.is_dir():
        return not folder.exists()
    return all(is_temporary(path.name) for path in folder.iterdir())


def is_temporary(name: str) -> bool:
    """Return whether a file or folder is one that a process is writing, a lock, or the leftover of a killed process."""
    return re.fullmatch(rf"\..*{re.escape(TEMPORARY)}(\..*)?", name) is not None


def check_empty(out: Path, record: str) -> None:
    """Check that a folder is new or empty, as `is_free` counts.

    Args:
        out: the folder.
        record: name of the file in it by which a run can be continued.

    Raises:
        InputError: the folder is not empty.
    """
    if not is_free(out):
        hint = ", or continue it with --resume (Python: resume=True)" if (out / record).is_file() else ""
        raise InputError(f"{out} exists and is not an empty folder: choose another{hint}")


def to_json(value: Any, indent: int | None = None) -> str:
    """Write JSON that UTF-8 can hold: letters as they are, lone surrogates escaped (a file's name may have them)."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON atomically, indented so that people can read it."""
    with atomic(path) as temporary:
        temporary.write_bytes(f"{to_json(value, indent=2)}\n".encode())


def read_json(path: str | Path) -> Any:
    """Read JSON in UTF-8, UTF-16 or UTF-32, with a byte order mark or without.

    Raises:
        InputError: there is no such file, or it is not JSON; the message names file, line and column.
    """
    try:
        return parse_json(Path(path).read_bytes())
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise InputError(f"{path}: expected a JSON file, found a folder") from error
    except RecursionError as error:
        raise InputError(f"{path}: not JSON that can be read: it is nested too deeply") from error
    except ValueError as error:  # of the syntax, the encoding or a number
        raise InputError(f"{path}: not JSON: {error}") from error


def read_object(path: str | Path) -> dict[str, Any]:
    """Read JSON that is an object.

    Raises:
        InputError: see `read_json`; or the file holds something else.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(content).__name__}")
    return content


def parse_json(text: str | bytes) -> Any:
    """Parse JSON whose numbers are finite and fit into a float, so that code can compute with each of them.

    Raises:
        ValueError: the text is not JSON, or a number is NaN, infinite or beyond 1.8e308.
        RecursionError: it is nested too deeply.
    """
    return json.loads(text, parse_constant=_refuse_number, parse_float=_finite, parse_int=_whole)


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"expected finite numbers up to 1.8e308, found {text[:MAX_SHOWN]}")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse_number(text)


def _whole(text: str) -> int:
    return int(text) if len(text) <= MAX_DIGITS else _refuse_number(text)


def digest_of(value: Any, *contents: bytes) -> str:
    """Return a short checksum of JSON values and of bytes."""
    checksum = zlib.crc32(json.dumps(value, sort_keys=True, default=str).encode())
    for content in contents:
        checksum = zlib.crc32(content, checksum)
    return f"{checksum:08x}"
