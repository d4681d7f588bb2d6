"""Data at an address, for example in a bucket: its files are copied to the cache once, and read there.

Training reads each image once per epoch, in an order that a seed decides, so that a run can resume exactly. In a bucket
each of these reads would be a request. A copy takes one request per file. Each use of the data compares the size and
version (ETag) of every file with the list of the bucket: changed files are copied again, and files that are gone are
removed.

A copy has the layout of the bucket, CACHE/data/SCHEME/BUCKET/PATH, so the readers of all formats work on it.

| address | copied |
|---|---|
| a folder | all files in it |
| a pattern, or a TFRecord | the shards, and the label maps next to them |
| a .json file (COCO) | the file, and the images that it names |
| a .yaml, .csv or .xml file | all files in its folder |

A web server does not list its files, so only single files and the images of a .json file are read from there. Their
versions are not compared.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tfrcnn.data.copies import copy_files
from tfrcnn.data.locate import ImageFinder
from tfrcnn.data.media import is_address
from tfrcnn.data.remote_files import WEB, Entry, Remote, can_read
from tfrcnn.errors import InputError
from tfrcnn.files import cache_folder


def local_copy(address: str) -> str:
    """Copy the data at an address to the cache.

    Args:
        address: see the table above.

    Returns:
        The path of the copy. A pattern stays a pattern.

    Raises:
        InputError: a package is missing, there is nothing at the address, access is refused, the connection fails, or
            the disk is full.
    """
    remote = Remote(address)
    entries, candidates = remote.listing()
    if not entries:
        raise InputError(f"{remote.address}: expected a file or a folder, found nothing")
    copy_files(remote, entries)
    current = {remote.local(entry.path) for entry in entries}
    for path in candidates:
        if path not in current and not path.name.startswith("."):
            path.unlink(missing_ok=True)
    return str(remote.copy)


def local_folder(address: str, whole: bool) -> Path:
    """Return the folder in the cache of the images at an address.

    Args:
        address: of a folder.
        whole: copy all of its files now; False leaves it to `fetch`.

    Raises:
        InputError: as `local_copy`.
    """
    if whole:
        return Path(local_copy(address))
    folder = Remote(address).copy
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def local_path(address: str) -> Path:
    """Return where the copy of an address is in the cache; nothing is copied."""
    return Remote(address).copy


def exists(address: str) -> bool:
    """Return whether there is something at an address.

    Raises:
        InputError: a package is missing, access is refused, or the connection fails.
    """
    return Remote(address).exists()


def address_of(path: Path) -> str | None:
    """Return the address that a path in the cache is the copy of; None for other paths."""
    try:
        folder = cache_folder("data")
    except InputError:  # without a cache there are no copies
        return None
    path = Path(os.path.normpath(path))
    parts = path.relative_to(folder).parts if path.is_relative_to(folder) else ()
    if len(parts) < 2:
        return None
    rest = "/".join(parts[1:])
    return f"{parts[0]}://{quote(rest, safe='/:') if parts[0] in WEB else rest}"


def fetch_named(names: Iterable[Any], finder: ImageFinder) -> None:
    """Copy the images that an annotation file names, if its folders are copies, or if a name is an address.

    Args:
        names: of the files; those that are no text are left out.
        finder: of the images that are here. Those with the name of an address are not copied.

    Raises:
        InputError: as `local_copy`; if a name is an address, it also says how to read files that are here.
    """
    addresses = [address for folder in finder.roots if (address := address_of(folder)) is not None]

    def candidates(name: str) -> list[str]:
        if is_address(name):
            return [name] if can_read(name) and finder.find(name) is None else []
        name = "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", ".", ".."))
        return [f"{address}/{quote(name) if address.startswith(WEB) else name}" for address in addresses]

    try:
        fetch(candidates(name) for name in names if isinstance(name, str) and name)
    except InputError as error:
        if addresses:
            raise
        advice = "set the folder of the images if they are here: --images DIR"
        raise InputError(*(f"{message}; or {advice}" for message in error.messages)) from error


def fetch(groups: Iterable[Sequence[str]]) -> None:
    """Copy files to the cache: the first of each group that exists.

    Args:
        groups: addresses of files.

    Raises:
        InputError: as `local_copy`; a file that does not exist is no error.
    """
    folders: dict[str, Remote] = {}
    chosen: dict[str, tuple[Remote, list[Entry]]] = {}
    for group in groups:
        refusal: InputError | None = None
        for address in group:
            folder, _, name = address.rpartition("/")
            remote = folders.get(folder) or folders.setdefault(folder, Remote(folder))
            try:
                entry = remote.file(name)
            except InputError as error:
                if remote.scheme not in WEB:
                    raise
                refusal = refusal or error  # some servers answer 403 for a file that they do not have
                continue
            if entry is not None:
                chosen.setdefault(remote.scheme, (remote, []))[1].append(entry)
                break
            if remote.scheme not in WEB:  # it is gone, or was never there
                remote.local(f"{remote.path.rstrip('/')}/{name}").unlink(missing_ok=True)
        else:
            if refusal is not None:
                raise refusal
    for remote, entries in chosen.values():
        copy_files(remote, entries)
