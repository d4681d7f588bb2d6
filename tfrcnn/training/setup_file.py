"""Read `training.json`, which says how a run was set up; see `folder`. Imports neither TensorFlow nor Keras."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfrcnn.buckets.models import local_setup
from tfrcnn.config import DetectorConfig, TrainingConfig
from tfrcnn.config_base import Config, shown
from tfrcnn.errors import InputError
from tfrcnn.files import check_path, is_free, read_json
from tfrcnn.run_description import SETUP as SETUP

FORMAT = 2


@dataclass(frozen=True)
class Source(Config):
    """A data set in `training.json`, see `data_identity`."""

    source: str
    images: int
    annotations: str


@dataclass(frozen=True)
class Setup(Config):
    """The content of `training.json`."""

    format: int
    train: Source
    validation: Source | None
    metric: str
    training: TrainingConfig
    detector: DetectorConfig
    options: dict[str, Any]
    class_weights: dict[str, Any] | None = None


def check_folder(out: Path, resume: bool) -> None:
    """Check that a folder can become a new run's, or holds a run to resume; write nothing.

    Raises:
        InputError: the run is new, but the folder is not empty; or there is no run to resume.
    """
    if not resume and not is_free(out):
        raise InputError(f"{out} exists and is not an empty folder: choose another, or resume=True for the run in it")
    if resume and not (out / SETUP).is_file():
        raise InputError(f"{out}: expected a run, found no {SETUP} in the folder")


def read_setup(out: str | Path) -> dict[str, Any]:
    """Read how the run in a folder, or at an address, was set up.

    Raises:
        InputError: there is no run, or an earlier release of tfrcnn wrote it.
    """
    check_path(out, "folder")
    out = local_setup(out)
    check_folder(out, resume=True)
    setup: Any = read_json(out / SETUP)
    if not isinstance(setup, dict):
        raise InputError(f"{out / SETUP} must be an object, found {shown(setup)}")
    if setup.get("format") != FORMAT:
        raise InputError(
            f"{out / SETUP} was written by tfrcnn 0.1, whose runs cannot be resumed: use the detector in {out} as it "
            f"is, or start a new run from it (init={out})"
        )
    try:
        return Setup.from_dict(setup).to_dict()  # with the fields that this release has added
    except InputError as error:
        raise InputError(f"{out / SETUP}: {error}") from error
