"""The published versions of a model: list them, and go back to the one before.

    DIR/3/                   the model, version.json (`Version`), report.json and report.md
    DIR/rolled-back-4/       a version that was taken back; no server loads it, and no other version gets its number
    DIR/.publish-X.tmp/      a version that is not finished, or the remains of one

Servers serve the highest number. `publishing.publish` adds versions. Nothing here needs TensorFlow.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..files import address_in, check_path, read_object
from . import TARGETS
from .artefact import size_bytes
from .serving.versions import SAVED_MODEL, is_number, model_in

RECORD = "version.json"
PREFIX = ".publish-"  # of the folder in which a version is made
ROLLED_BACK = "rolled-back-"  # in front: Triton takes the digits that a name starts with as a number
FIELDS = ("published", "format", "precision", "verdict", "sha256")


@dataclass(frozen=True)
class Version:
    """A version of a model in its folder.

    Attributes:
        number: Its number; servers serve the highest one that is not rolled back.
        path: Its SavedModel or file.
        rolled_back: True if it was taken back.
        format: A name in `tfrcnn.export.TARGETS`; "" if unknown.
        precision: Its precision; "" if `publish` did not write it.
        published: Date and time in UTC, for example "2026-11-29T21:40:12+00:00"; "" if `publish` did not write it.
        verdict: Verdict of its verification: "within tolerance", "not verified", or "" if `publish` did not write it.
        sha256: Checksum of its model, see `publishing.digest`; "" if `publish` did not write it.
        size_bytes: Size of the model and its reports.

    Example:
        for version in list_versions("models/cells"):
            print(version.number, version.published, version.verdict, version.sha256[:12])
    """

    number: int
    path: Path
    rolled_back: bool = False
    format: str = ""
    precision: str = ""
    published: str = ""
    verdict: str = ""
    sha256: str = ""
    size_bytes: int = 0

    @property
    def folder(self) -> Path:
        """The folder whose name is the number."""
        return self.path if number_of(self.path) is not None else self.path.parent


def list_versions(folder: str | Path) -> list[Version]:
    """List the versions of a model.

    Args:
        folder: The folder that holds them; it need not exist.

    Returns:
        The complete versions in the order of their numbers, those that are rolled back too.

    Raises:
        InputError: A version's record is not JSON, or the folder is an address.

    Example:
        newest = [version for version in list_versions("models/cells") if not version.rolled_back][-1]
    """
    folder = check_path(folder, "folder")
    if (address := address_in(folder)) is not None:
        raise InputError(f"{address}: expected a folder of versions on this machine, found an address")
    places = ((path, model_in(path)) for path in folder.glob("*") if number_of(path) is not None)
    versions = [_read(path, model) for path, model in places if model is not None]
    return sorted(versions, key=lambda version: (version.number, not version.rolled_back))


def rollback(folder: str | Path) -> Version:
    """Go back to the version before the newest one.

    The newest version keeps its files under the name rolled-back-NUMBER, which no server loads. One rename does it, so
    a server sees either the one or the other. Numbers are not used again.

    Args:
        folder: The folder that holds the versions.

    Returns:
        The version that is the newest then.

    Raises:
        InputError: There is no version before the newest one.

    Example:
        print("serving", rollback("models/cells").number, "again")
    """
    served = [version for version in list_versions(folder) if not version.rolled_back]
    if len(served) < 2:
        names = f"version {served[0].number} only" if served else "no version"
        raise InputError(f"{folder}: expected two versions at least to roll back, found {names}")
    newest, previous = served[-1].folder, served[-2]
    try:
        newest.rename(newest.with_name(f"{ROLLED_BACK}{newest.name}"))
    except FileNotFoundError as error:
        raise InputError(f"{newest}: another process has rolled it back: list the versions") from error
    return previous


def number_of(path: Path) -> int | None:
    """Return the number of a version's folder, rolled back or not; None for other names."""
    name = path.name.removeprefix(ROLLED_BACK)
    return int(name) if is_number(name) else None


def check_folder(folder: Path, format: str) -> None:
    """Check that a folder can take versions of a format.

    Raises:
        InputError: It is an address, a file, a model itself, or holds versions of another format.
    """
    if (address := address_in(folder)) is not None:
        raise InputError(
            f"{address}: expected a folder on this machine for versions, found an address: a bucket cannot rename a "
            "folder, so a server could load half a version; publish here, then copy the version, saved_model.pb last"
        )
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: expected a folder for versions, found a file")
    for name, content in ((SAVED_MODEL, "a SavedModel"), ("config.json", "a run folder")):
        if (folder / name).is_file():
            raise InputError(f"{folder}: expected a folder for versions, found {content}: choose another folder")
    others = {version.format for version in list_versions(folder)} - {format, ""}
    if others:
        raise InputError(f"{folder} holds versions of format {others.pop()}: publish {format} into another folder")


def _read(folder: Path, model: Path) -> Version:
    number = number_of(folder)
    assert number is not None
    record = read_object(folder / RECORD) if (folder / RECORD).is_file() else {}
    fields = {name: str(record.get(name, "")) for name in FIELDS}
    fields["format"] = fields["format"] or next((t.name for t in TARGETS.values() if t.recognises(model)), "")
    return Version(number, model, folder.name.startswith(ROLLED_BACK), **fields, size_bytes=size_bytes(folder))
