"""The run folder: its `training.json`, and the checks before a run is started or resumed in it.

`training.json` describes a run once:
    format                            of this file
    train, validation                 source, number of images, SHA-256 of the annotations
    metric, training, detector        how the run trains what
    options                           where the detector came from: start weights, image folders
A run is resumed only if all of it is the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfrcnn.config import DetectorConfig, TrainingConfig
from tfrcnn.config_base import Config, shown
from tfrcnn.data.example import Dataset
from tfrcnn.errors import InputError
from tfrcnn.files import is_free, read_json, write_json
from tfrcnn.training.schemes import HEAD, SCHEMES
from tfrcnn.training.state import read_meta

SETUP = "training.json"
STATE = "training_state.npz"
FORMAT = 2
_MAX_SHOWN = 5  # differences in an error message


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


def data_identity(dataset: Dataset) -> dict[str, Any]:
    """Describe a data set: if the description is the same, so are the batches of a resumed run."""
    return {"source": dataset.source, "images": len(dataset), "annotations": dataset.fingerprint()}


def prepare_folder(out: Path, setup: dict[str, Any], resume: bool) -> None:
    """Claim a new run folder, or check that the run to resume was set up the same way.

    Args:
        out: the run folder.
        setup: the content of `training.json`, without "format".
        resume: whether there is a run to resume.

    Raises:
        InputError: as `check_folder`, or the setup differs.
    """
    check_folder(out, resume)
    if resume:
        check_same(out, setup)
    else:
        write_json(out / SETUP, {"format": FORMAT, **setup})


def check_folder(out: Path, resume: bool) -> None:
    """Check that a folder can become a new run's, or holds a run to resume; write nothing.

    Raises:
        InputError: the run is new, but the folder is not empty; or there is no run to resume.
    """
    if not resume and not is_free(out):
        raise InputError(f"{out} exists and is not an empty folder: choose another, or --resume the run in it")
    if resume and not (out / SETUP).is_file():
        raise InputError(f"{out}: no run to resume, there is no {SETUP} in it")


def read_setup(out: Path) -> dict[str, Any]:
    """Read how a run was set up.

    Raises:
        InputError: there is no run, or an earlier release of tfrcnn wrote it.
    """
    check_folder(out, resume=True)
    setup: Any = read_json(out / SETUP)
    if not isinstance(setup, dict):
        raise InputError(f"{out / SETUP} must be an object, found {shown(setup)}")
    if setup.get("format") != FORMAT:
        raise InputError(
            f"{out / SETUP} was written by tfrcnn 0.1, whose runs cannot be resumed: use the detector in {out} as it "
            "is, or start a new run from it (--init)"
        )
    try:
        Setup.from_dict(setup)
    except InputError as error:
        raise InputError(f"{out / SETUP}: {error}") from error
    return setup


def check_same(out: Path, setup: dict[str, Any]) -> None:
    """Check that a run was set up the same way.

    Raises:
        InputError: the setups differ; the message lists the fields.
    """
    before = read_setup(out)
    changed = list(_differences(before, {"format": FORMAT, **setup}))
    if changed:
        more = f" and {len(changed) - _MAX_SHOWN} more" if len(changed) > _MAX_SHOWN else ""
        raise InputError(f"cannot resume {out} with other settings: {', '.join(changed[:_MAX_SHOWN])}{more}")


def is_complete(out: Path) -> bool:
    """Return whether the run in a folder has done all its epochs and drawn its pictures, so nothing is left to resume.

    Raises:
        InputError: as `read_setup`.
    """
    setup = read_setup(out)
    training = TrainingConfig.from_dict(setup["training"])
    picture = "predictions.png" if setup["validation"] and has_head(training.scheme) else "curves.png"
    if not (out / STATE).is_file() or not (out / picture).is_file():
        return False
    meta, last = read_meta(out / STATE), SCHEMES[training.scheme][-1]
    return bool(meta["phase"] == last.number and meta["epoch"] >= last.training(training).epochs)


def has_head(scheme: str) -> bool:
    """Return whether a scheme trains a box head, so that there are detections to look at."""
    return any(HEAD in phase.losses for phase in SCHEMES[scheme])


def _differences(before: Any, now: Any, path: str = "") -> Iterator[str]:
    """Yield "field was ..., is ..." for each field of nested objects that differs."""
    if not isinstance(before, dict) or not isinstance(now, dict):
        if before != now:
            yield f"{path} was {before!r}, is {now!r}"
        return
    for name in {**before, **now}:
        yield from _differences(before.get(name), now.get(name), f"{path}.{name}" if path else name)
