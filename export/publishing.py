"""Publish a detector as the next version of a model: whole, verified and under a new number, or not at all.

A version is written and verified in a hidden folder next to the others, flushed to the disk, and renamed to its number.
A rename is atomic on local disks and NFS. Servers ignore names that are no numbers, so they never see half a version.
"""

from __future__ import annotations

import datetime
import os
import shutil
import tempfile
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from ..data.example import Dataset
from ..errors import InputError
from ..files import TEMPORARY, check_path, write_json
from ..models import FasterRCNN
from .check.report import Report
from .exporting import export
from .options import ExportOptions
from .serving.versions import STEM
from .versions import PREFIX, RECORD, Version, check_folder, list_versions, number_of

MAX_AGE = 24 * 3600.0  # seconds; no export takes a day, so an older folder is what a killed process left


class NotPublishedError(InputError):
    """A version did not pass its verification, so nothing was published.

    Args:
        folder: The folder of versions.
        report: How the file compares with the Keras model.

    Attributes:
        report: The same report.

    Example:
        try:
            publish(detector, "models/cells", ExportOptions("onnx"))
        except NotPublishedError as error:
            print(error.report.to_markdown())
    """

    def __init__(self, folder: Path, report: Report) -> None:
        reason = "; ".join(report.faults) or "there is no detection to compare: verify on images with objects"
        super().__init__(f"{folder}: the new version is {report.verdict}, and is not published: {reason}")
        self.report = report


def publish(
    detector: FasterRCNN,
    folder: str | Path,
    options: ExportOptions,
    images: Dataset | None = None,
    check: bool = True,
) -> Version:
    """Export a detector, verify the file, and publish it as the next version of a model.

    The folder is what TensorFlow Serving takes as `base_path`, what Triton takes as the folder of a model, and what
    `tfrcnn serve --follow` takes. The highest number is served. The version appears with all its files at once. Several
    processes can publish at the same time: each gets a number for itself.

    Args:
        detector: The detector to export.
        folder: Holds the versions of this model, all of one format; it is made if it does not exist.
        options: The format and its options.
        images: Data set to compare on; None takes the representative images, or else built-in edge cases.
        check: False skips the comparison, and the version's verdict is "not verified".

    Returns:
        The new version.

    Raises:
        NotPublishedError: The file is out of tolerance, or there is no detection to compare.
        InputError: The folder holds something else, or see `export`.

    Example:
        version = publish(detector, "models/cells", ExportOptions("saved_model"))
        print(version.number, version.verdict)
    """
    folder = check_path(folder, "folder")
    check_folder(folder, options.format)
    folder.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(folder)
    work = Path(tempfile.mkdtemp(prefix=PREFIX, suffix=TEMPORARY, dir=folder))
    try:
        model = work / f"{STEM}{options.target.suffix}"
        report = export(detector, model, options, images, check)
        if report is not None and not report.passed:
            raise NotPublishedError(folder, report)
        staged = _stage(model, report, options)
        for name, text in options.target.server_files.items():
            if not (folder / name).exists():
                (work / name).write_text(text, encoding="utf-8")
                (work / name).replace(folder / name)
        number = _move(staged, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return next(version for version in list_versions(folder) if version.number == number)


def digest(model: Path) -> str:
    """Return the SHA-256 of a model.

    A file has the checksum that `sha256sum` prints. A SavedModel has the checksum of the lines that `sha256sum` prints
    for its files, sorted by their paths.
    """
    if model.is_file():
        return sha256(model.read_bytes()).hexdigest()
    paths = sorted(path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file())
    lines = (f"{sha256((model / path).read_bytes()).hexdigest()}  {path}\n" for path in paths)
    return sha256("".join(lines).encode()).hexdigest()


def _stage(model: Path, report: Report | None, options: ExportOptions) -> Path:
    """Put a model, its record and its reports into one folder."""
    checksum = digest(model)
    folder = model
    if options.target.suffix:
        folder = model.parent / "version"
        folder.mkdir()
        model.rename(folder / model.name)
    for kind in ("json", "md") if report else ():
        model.with_name(f"{model.name}.report.{kind}").rename(folder / f"report.{kind}")
    record = {
        "published": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "format": options.format,
        "precision": options.precision,
        "verdict": report.verdict if report else "not verified",
        "sha256": checksum,
    }
    write_json(folder / RECORD, record)
    _flush(folder)
    return folder


def _move(staged: Path, folder: Path) -> int:
    """Give a staged version the next number that no version has or had, and return it."""
    while True:
        number = max((number_of(path) or 0 for path in folder.iterdir()), default=0) + 1
        try:
            staged.rename(folder / str(number))
        except OSError:
            if (folder / str(number)).exists():  # another process took the number: a rename replaces no version
                continue
            raise
        _flush(folder, content=False)
        return number


def _flush(folder: Path, content: bool = True) -> None:
    """Write a folder to the disk, so that a power failure does not leave a version with half of its content."""
    if os.name == "nt":  # it cannot flush folders, nor files that are open for reading
        return
    for path in [*(folder.rglob("*") if content else ()), folder]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove_leftovers(folder: Path) -> None:
    for path in folder.glob(f"{PREFIX}*{TEMPORARY}"):
        with suppress(FileNotFoundError):  # another publisher has just finished
            if time.time() - path.stat().st_mtime > MAX_AGE:
                shutil.rmtree(path, ignore_errors=True)
