"""Sends files to an address: each whole, and again after a failure."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from tfrcnn.data.remote_files import Remote, is_bucket
from tfrcnn.errors import InputError
from tfrcnn.files import is_temporary
from tfrcnn.printable import without_login

_WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds before each new try


def writable(address: str) -> Remote:
    """Return an address to write to.

    Raises:
        InputError: it is on a web server, a package is missing, access is refused, or the connection fails.
    """
    if not is_bucket(address):  # before its packages are looked for: they would not help
        raise InputError(f"{without_login(address)}: expected a path on this machine or in a bucket to write to")
    return Remote(address.rstrip("/"))


def send_file(remote: Remote, path: Path, target: str) -> None:
    """Send a file, and try again if that fails.

    Args:
        remote: the file system.
        path: the file.
        target: its path there. A file of this name is replaced when the new one is whole, in object stores.

    Raises:
        InputError: access is refused, or the connection fails.
    """
    for wait in (*_WAITS, None):
        try:
            with remote.errors("written"):
                remote.filesystem.put_file(str(path), target)
            return
        except InputError:
            if wait is None:
                raise
            time.sleep(wait)


def send_folder(remote: Remote, folder: Path) -> None:
    """Send the files in a folder to the folder above an address.

    Deeper files go first, and of a model and its reports the model goes last: who sees `saved_model.pb` or `a.onnx` can
    load it.

    Raises:
        InputError: as `send_file`.
    """
    parent = remote.path.rpartition("/")[0]
    for path in sorted(files_in(folder), key=lambda path: (len(path.parts), path.as_posix()), reverse=True):
        send_file(remote, path, f"{parent}/{path.relative_to(folder).as_posix()}")


def files_in(folder: Path) -> Iterable[Path]:
    """Return the files in a folder and below it; neither links nor files that are being written."""
    for path in folder.rglob("*"):
        names = path.relative_to(folder).parts
        if path.is_file() and not path.is_symlink() and not any(map(is_temporary, names)):
            yield path
