"""Checks of the files that a command is to write, before anything slow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from tfrcnn.errors import InputError
from tfrcnn.files import check_replaceable

# of all commands, with a file or a folder to write
OPTIONS = ("--out", "--json", "--plots", "--report", "--preset-out", "--publish")


def check_outputs(outputs: Mapping[str, Path | None], *inputs: str | Path | None) -> None:
    """Check that files to write are neither the same nor among the files to read.

    Args:
        outputs: a file by its option; None if the option is not set.
        inputs: paths and DATA arguments that the command reads; None is left out.

    Raises:
        InputError: a file would be lost, or a folder, a device or a pipe is in its place.
    """
    taken = {path: "a file that the command reads" for each in inputs if each is not None for path in _paths(str(each))}
    for option, output in outputs.items():
        if output is None:
            continue
        if output.is_dir():
            raise InputError(f"{option}: expected a file to write, found the folder {output}")
        check_replaceable(output)
        path = output.resolve()
        if path in taken:
            raise InputError(f"{option}: expected another file than {taken[path]}, found {output}")
        taken[path] = f"that of {option}"


def check_places(arguments: Sequence[str]) -> None:
    """Check that no option with a file or folder to write is "-" or empty, as `--out "$UNSET"` is.

    The one would make a folder that is hard to remove, the other would write to the current folder.

    Args:
        arguments: of the command line.

    Raises:
        InputError: an option is one of these. "./-" and "." are paths.
    """
    for option, value in [*pairwise(arguments), *(word.split("=", 1) for word in arguments if "=" in word)]:
        if option in OPTIONS and value == "-":
            raise InputError(f"{option}: expected a path, found -; results are written to files only")
        if option in OPTIONS and not value.strip():
            raise InputError(f"{option}: expected a path, found {value!r}; the current folder is '.'")


def check_output_folder(option: str, folder: Path | None) -> None:
    """Check that results can be written into a folder, which may be there or not.

    Raises:
        InputError: a file is in its place.
    """
    if folder is not None and folder.exists() and not folder.is_dir():
        raise InputError(f"{option}: expected a folder, found the file {folder}")


def _paths(data: str) -> set[Path]:
    """Return the files that a DATA argument may name, see `tfrcnn.data.join`."""
    from tfrcnn.data.formats import place_of  # here, so that --help is quick

    return {Path(place_of(part).path).resolve() for part in (data, *data.split("+")) if "\0" not in part}
