"""Save the whole state of a training run in one file, to resume exactly after a kill at any moment."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfrcnn.compat import path_of
from tfrcnn.errors import InputError
from tfrcnn.files import atomic
from tfrcnn.models.transfer import renew_statistics
from tfrcnn.training.joint import TrainingModel

META = "meta.json"


def save_state(path: Path, model: keras.Model, meta: dict[str, Any]) -> None:
    """Write all variables of a compiled model and its optimizer, and JSON values, to one file, atomically.

    The variables are weights, batch-norm statistics, the random state of dropout, momenta, averages and the step count.
    """
    arrays = {key: np.asarray(variable) for key, variable in _variables(model).items()}
    encoded = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **{META: encoded, **arrays})  # type: ignore[arg-type]  # savez has an option among the names


def read_meta(path: Path) -> dict[str, Any]:
    """Read the JSON values of a state file.

    Raises:
        InputError: there is no such file, or it is damaged.
    """
    with _open(path) as archive:
        meta: dict[str, Any] = dict(json.loads(archive[META].tobytes()))
    return meta


def restore_state(path: Path, model: TrainingModel) -> None:
    """Set all variables from a state file.

    Raises:
        InputError: the file is damaged, or of another model; the message names the first variable that does not fit.
    """
    variables = _variables(model)
    with _open(path) as archive:
        values = {key: np.asarray(archive[key]) for key in archive.files if key != META}
    for key in sorted(set(values) ^ set(variables)):
        where = "the file only" if key in values else "the model only"
        raise InputError(f"{path} is the state of another model: variable {key} is in {where}")
    for key, variable in variables.items():
        if values[key].shape != tuple(variable.shape):
            shapes = f"{key} must be {tuple(variable.shape)}, found {values[key].shape}"
            raise InputError(f"{path} is the state of another model: {shapes}")
    for key, variable in variables.items():
        variable.assign(values[key])
    renew_statistics(model.detector)


def seed_dropout(model: keras.Model, *seed: int) -> None:
    """Make the draws of dropout a function of these numbers, with one stream per dropout layer."""
    states = [variable for variable in model.variables if path_of(variable).endswith("seed_generator_state")]
    for i, state in enumerate(states):
        state.assign(np.random.SeedSequence([*seed, i]).generate_state(2) % 2**31)


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise InputError(f"{path}: no such file, so there is nothing to resume from")
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            yield archive
    except MemoryError:
        raise
    except Exception as error:  # zipfile, zlib, numpy and json have no common base
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # this one is of a position before the start
            raise
        cause = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(
            f"{path}: expected the state of a run, found a damaged file ({cause}): restore it from a copy, or start a "
            f"new run from the detector next to it (init={path.parent})"
        ) from error


def _variables(model: keras.Model) -> dict[str, Any]:
    metrics = {id(variable) for metric in model.metrics for variable in metric.variables}
    named = [("model", v) for v in model.variables if id(v) not in metrics]
    named += [("optimizer", v) for v in model.optimizer.variables]
    # the order of creation identifies a variable; its path does not, since Keras numbers layers over the process
    return {
        f"{owner}/{i:05d}/{path_of(variable).split('/')[-1]}": variable for i, (owner, variable) in enumerate(named)
    }
