"""Detectors at an address: they are copied to the cache, checked by size and version at each use, and loaded there.

| address | copied |
|---|---|
| a run folder, or `last` in it | the detector, and how the run was set up |
| a SavedModel | all files in it |
| an exported file | the file |

A run may go on while its detector is copied: its weights are then replaced, and the copy starts again.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from tfrcnn.errors import InputError
from tfrcnn.files import address_in
from tfrcnn.printable import without_login
from tfrcnn.run_description import CONFIG, SETUP, SPLIT, read_description

SAVED_MODEL = "saved_model.pb"
_NAMING_DATA = (SETUP, SPLIT)  # files of a run folder that name its validation data
_MAX_TRIES = 3  # copies of a detector that its run replaces meanwhile


def local_model(model: str | Path) -> Path:
    """Return the path of a detector on this machine; one at an address is copied to the cache first.

    Args:
        model: the path or address of a run folder, a SavedModel or an exported file. A path stays as it is.

    Raises:
        InputError: there is no detector at the address, a package is missing, access is refused, the connection fails,
            or the disk is full.

    Example:
        local_model("s3://bucket/runs/cells")  # ~/.cache/tfrcnn/data/s3/bucket/runs/cells
    """
    address = address_in(model)
    if address is None:
        return Path(model)
    from tfrcnn.data.copies import copy_files
    from tfrcnn.data.remote import local_copy
    from tfrcnn.data.remote_files import WEB, Remote

    url = urlsplit(address)
    if url.scheme.lower() in WEB and not Path(url.path).suffix:
        raise InputError(
            f"{without_login(address)}: expected an exported file, because a web server does not list its files; "
            "download the folder first"
        )
    remote = Remote(address.rstrip("/"))
    entry = remote.entry()
    if entry is not None:
        copy_files(remote, [entry])
    elif remote.file(CONFIG):
        return _copy_run(address.rstrip("/"))
    elif remote.file(SAVED_MODEL):
        local_copy(address)
    else:
        raise InputError(
            f"{remote.address}: expected a run folder (with {CONFIG}), a SavedModel or an exported file, found another "
            "folder"
        )
    return remote.copy


def local_setup(run: str | Path) -> Path:
    """Return a run folder on this machine; of one at an address, the files that say how it was set up are copied.

    Raises:
        InputError: as `local_model`, but the files need not exist.
    """
    address = address_in(run)
    if address is None:
        return Path(run)
    from tfrcnn.data.remote import fetch, local_path

    fetch([f"{address.rstrip('/')}/{name}"] for name in _NAMING_DATA)
    return local_path(address.rstrip("/"))


def newest_version(folder: str) -> str | None:
    """Return the address of the model of the highest version in a folder at an address; None if it holds no version.

    Raises:
        InputError: as `local_model`.
    """
    from tfrcnn.data.remote_files import Remote

    folder = folder.rstrip("/")
    names = [name for name, kind in Remote(folder).children().items() if kind == "directory" and name.isdecimal()]
    for number in sorted(names, key=int, reverse=True):
        version = Remote(f"{folder}/{number}").children()
        if SAVED_MODEL in version:
            return f"{folder}/{number}"
        if models := [name for name in version if name.startswith("model.")]:
            return f"{folder}/{number}/{min(models)}"
    return None


def _copy_run(address: str) -> Path:
    """Copy the detector in a run folder, and remove older weights from the copy."""
    from tfrcnn.data.remote import fetch, local_path

    folder, parent = local_path(address), address.rpartition("/")[0]
    for _ in range(_MAX_TRIES):
        fetch([[f"{address}/{CONFIG}"]])
        weights = folder / read_description(folder)["weights"]
        fetch([[f"{address}/{weights.name}"]])
        if weights.is_file():
            break
    fetch([f"{place}/{name}"] for place in (address, parent) for name in _NAMING_DATA)
    for path in folder.glob("model-*.weights.h5"):
        if path != weights:
            path.unlink(missing_ok=True)
    return folder
