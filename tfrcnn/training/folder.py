"""The run folder: its `training.json`, and the checks before a run is started or resumed in it.

`training.json` describes a run once:
    format                            of this file
    train, validation                 source, number of images, SHA-256 of the annotations
    metric, training, detector        how the run trains what
    class_weights                     the factors that `TrainingConfig.class_weights` came to
    options                           where the detector came from: start weights, image folders; the name of a
                                      user's augmentation
A run is resumed only if all of it is the same, but data and start weights may have moved to another folder, and the
number of epochs and the patience may change. The file then holds the new places and numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tfrcnn.config import DetectorConfig, TrainingConfig
from tfrcnn.data.example import Dataset
from tfrcnn.errors import InputError
from tfrcnn.files import write_json
from tfrcnn.models.build import CONFIG, read_description
from tfrcnn.printable import listing
from tfrcnn.run_description import STATE as STATE
from tfrcnn.training.class_weights import class_weights
from tfrcnn.training.schemes import HEAD, SCHEMES
from tfrcnn.training.setup_file import FORMAT as FORMAT
from tfrcnn.training.setup_file import SETUP as SETUP
from tfrcnn.training.setup_file import check_folder as check_folder
from tfrcnn.training.setup_file import read_setup as read_setup
from tfrcnn.training.state import read_meta

PICTURES = ("curves.png", "predictions.png")  # the last files of a complete run
_MAX_SHOWN = 5  # differences in an error message
_IMAGE_FOLDERS = ("images", "val_images")  # options whose place does not matter: the annotations are compared
_LENGTHS = ("epochs", "patience")  # fields of `TrainingConfig` that say when a run ends, and that may change
_STARTS = ("model", "init", "proposals", "backbone_weights")  # options that may name files


def data_identity(dataset: Dataset) -> dict[str, Any]:
    """Describe a data set: if the description is the same, so are the batches of a resumed run."""
    return {"source": dataset.source, "images": len(dataset), "annotations": dataset.fingerprint()}


def setup_of(
    detector: DetectorConfig,
    train_data: Dataset,
    validation: Dataset | None,
    training: TrainingConfig,
    metric: str,
    options: dict[str, Any],
) -> dict[str, Any]:
    """Describe a run: the content of `training.json`, without "format"."""
    return {
        "train": data_identity(train_data),
        "validation": data_identity(validation) if validation else None,
        "metric": metric,
        "training": training.to_dict(),
        "detector": detector.to_dict(),
        "class_weights": class_weights(training, train_data),
        "options": options,
    }


def named(augment: Callable[..., Any] | None) -> dict[str, str]:
    """Describe a user's augmentation by its name, among the options of a run; {} if there is none."""
    return {} if augment is None else {"augment": getattr(augment, "__qualname__", type(augment).__qualname__)}


def prepare_folder(out: Path, setup: dict[str, Any], resume: bool) -> None:
    """Claim a new run folder, or check that the run to resume was set up the same way and note what has moved.

    Args:
        out: the run folder.
        setup: see `setup_of`.
        resume: whether there is a run to resume.

    Raises:
        InputError: as `check_folder`, or the setup differs.
    """
    check_folder(out, resume)
    after = {"format": FORMAT, **setup}
    if not resume:
        write_json(out / SETUP, after)
        return
    check_same(out, setup)
    before = read_setup(out)
    if _lengths(before) != _lengths(after):
        for name in PICTURES:  # they show the run as it was before
            (out / name).unlink(missing_ok=True)
    if before != after:
        write_json(out / SETUP, after)


def check_same(out: Path, setup: dict[str, Any]) -> None:
    """Check that a run was set up the same way.

    Data and start weights are the same wherever they are. The patience may change. So may the number of epochs, if it
    is not less than what is done and the run has not begun a second step of its scheme.

    Raises:
        InputError: the setups differ; the message lists the fields.
    """
    before, after = read_setup(out), {"format": FORMAT, **setup}
    if _epochs(before) != _epochs(after):
        _check_epochs(out, TrainingConfig.from_dict(before["training"]), _epochs(after))
    changed = list(_differences(_without_places(before, after), _without_places(after, before)))
    if changed:
        raise InputError(f"cannot resume {out} with other settings: {listing(changed, _MAX_SHOWN)}")


def _epochs(setup: dict[str, Any]) -> Any:
    return setup.get("training", {}).get("epochs")


def _lengths(setup: dict[str, Any]) -> list[Any]:
    return [setup.get("training", {}).get(name) for name in _LENGTHS]


def _check_epochs(out: Path, training: TrainingConfig, epochs: int) -> None:
    """Check that a run can have another number of epochs.

    Raises:
        InputError: more are done, or a later step of the scheme has begun.
    """
    done = read_meta(out / STATE) if (out / STATE).is_file() else {"phase": 1, "epoch": 0}
    phases = SCHEMES[training.scheme]
    if done["phase"] > 1:
        raise InputError(
            f"cannot resume {out} with {epochs} epochs: step {done['phase']} of {len(phases)} of the scheme "
            f"{training.scheme} has begun with {training.epochs}, and its earlier steps are over. Leave epochs out, or "
            f"start a new run from it (init={out})"
        )
    if phases[0].training(training.replace(epochs=epochs)).epochs < done["epoch"]:
        raise InputError(f"cannot resume {out} with {epochs} epochs: {done['epoch']} are done; pass at least as many")


def _without_places(setup: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return a setup without what may change between a run and its resumption, which is the other setup."""
    setup = {name: value for name, value in setup.items() if name != "class_weights"}  # the data decide it
    for name in ("train", "validation"):
        if setup.get(name):
            setup[name] = {key: value for key, value in setup[name].items() if key != "source"}
    if setup.get("training"):
        setup["training"] = {key: value for key, value in setup["training"].items() if key not in _LENGTHS}
    options, others = dict(setup["options"]), other["options"]
    for name in _IMAGE_FOLDERS:
        options.pop(name, None)
    for name in _STARTS:
        if _is_moved(options.get(name), others.get(name)):
            del options[name]
    return {"options": options, **{name: value for name, value in setup.items() if name != "options"}}


def _is_moved(one: Any, other: Any) -> bool:
    """Return whether two paths name the same file or run folder in two places, or in a place that is gone."""
    if one == other or not isinstance(one, str) or not isinstance(other, str) or Path(one).name != Path(other).name:
        return False
    digests = {_digest(Path(one)), _digest(Path(other))} - {None}
    return len(digests) < 2


def _digest(path: Path) -> str | None:
    """Return the SHA-256 of a file, or of a run folder's weights; None if there is none."""
    if (path / CONFIG).is_file():
        path = path / read_description(path)["weights"]
    if not path.is_file():
        return None
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_complete(out: Path, epochs: int | None = None, patience: int | str | None = "same") -> bool:
    """Return whether the run in a folder has ended and drawn its pictures, so nothing is left to resume.

    Args:
        out: the run folder.
        epochs: of the resumed run; None takes the run's own.
        patience: of the resumed run; "same" takes the run's own.

    Raises:
        InputError: as `read_setup`.
    """
    setup = read_setup(out)
    training = TrainingConfig.from_dict(setup["training"])
    if epochs not in (None, training.epochs) or patience not in ("same", training.patience):
        return False
    picture = PICTURES[1 if setup["validation"] and has_head(training.scheme) else 0]
    if not (out / STATE).is_file() or not (out / picture).is_file():
        return False
    meta, last = read_meta(out / STATE), SCHEMES[training.scheme][-1]
    has_ended = meta["epoch"] >= last.training(training).epochs or has_stopped(meta, training)
    return bool(meta["phase"] == last.number and has_ended)


def has_stopped(meta: dict[str, Any], training: TrainingConfig) -> bool:
    """Return whether a step of a scheme has stopped early; `meta` comes from the state file."""
    return training.patience is not None and meta.get("stalled", 0) >= training.patience


def end_note(out: Path, training: TrainingConfig) -> str:
    """Say how a run, or a step of its scheme, ended."""
    meta = read_meta(out / STATE)
    if not has_stopped(meta, training):
        return f"all its {training.epochs} epochs are done."
    return (
        f"it stopped early after epoch {meta['epoch']}, since the last {training.patience} epochs brought no better "
        "score. To go on, resume it with a larger patience."
    )


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
