"""Results at an address: a command writes them on this machine, whole, and then they are moved there."""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from functools import wraps
from pathlib import Path
from typing import Any, TextIO

import typer

from tfrcnn.errors import InputError
from tfrcnn.files import address_in, cache_folder, is_temporary


def sending(command: Callable[..., None], *names: str, new: bool = False) -> Callable[..., None]:
    """Let options of a command be addresses to write to.

    Args:
        command: the command.
        names: its options with a file or folder to write.
        new: whether there must be nothing at the address.

    Returns:
        The command with the same options. Results go to a folder in the cache first. They stay there if the command is
        interrupted or cannot send them. What the command prints names the address, not this folder.
    """

    @wraps(command)
    def run(**options: Any) -> None:
        values = {name: options[name] for name in names if options.get(name) is not None}
        addresses = {name: address for name, value in values.items() if (address := address_in(value)) is not None}
        if not addresses:
            return command(**options)
        if options.get("resume"):
            raise InputError("--resume: expected a folder on this machine as --out, found an address")
        if options.get("engine") == "ray":
            raise InputError("--engine ray: expected a folder that all machines see as --out, found an address")
        from tfrcnn.buckets.transfers import writable

        for address in addresses.values():
            if writable(address).exists() and new:
                raise InputError(f"{address}: expected a new path, found something there: choose another")
        cache_folder("results").mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=cache_folder("results")))
        places = {name: work / name / Path(address).name for name, address in addresses.items()}
        try:
            try:
                with redirect_stdout(_Renamed(sys.stdout, _names(places, addresses))):
                    command(**{**options, **places})
            except typer.Exit:  # a verdict on the results, which are whole
                _move(places, addresses)
                raise
            _move(places, addresses)
        finally:
            if not any(path.is_file() for path in work.rglob("*")):
                shutil.rmtree(work, ignore_errors=True)

    return run


class _Renamed(io.TextIOBase):
    """Replaces texts in what is written to a stream."""

    def __init__(self, stream: TextIO, names: Mapping[str, str]) -> None:
        self.stream, self.names = stream, names

    def write(self, text: str) -> int:
        for name, replacement in self.names.items():
            text = text.replace(name, replacement)
        return self.stream.write(text)

    def flush(self) -> None:
        self.stream.flush()

    def isatty(self) -> bool:
        return self.stream.isatty()


def _names(places: dict[str, Path], addresses: dict[str, str]) -> dict[str, str]:
    """Return the folder above each address, by the folder here; a command writes next to a result too."""
    return {f"{place.parent}/": f"{addresses[name].rpartition('/')[0]}/" for name, place in places.items()}


def _move(places: dict[str, Path], addresses: dict[str, str]) -> None:
    from tfrcnn.buckets.transfers import send_folder, writable

    for name, address in addresses.items():
        folder = places[name].parent
        if not folder.is_dir():
            continue
        try:
            send_folder(writable(address), folder)
        except InputError as error:
            raise InputError(f"{error}; the whole result is in {places[name]}: copy it from there") from error
        for path in sorted(folder.iterdir()):
            if not is_temporary(path.name):
                print(f"{address.rpartition('/')[0]}/{path.name} is written.")
        shutil.rmtree(folder)
