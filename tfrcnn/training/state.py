"""Save the whole state of a training run in one file, to resume exactly after a kill at any moment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfrcnn.compat import name_of
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
        InputError: there is no such file.
    """
    with _open(path) as archive:
        meta: dict[str, Any] = json.loads(archive[META].tobytes())
        return meta


def restore_state(path: Path, model: TrainingModel) -> None:
    """Set all variables from a state file.

    Raises:
        InputError: the file is of another model; the message names the first variable that does not fit.
    """
    with _open(path) as archive:
        variables = _variables(model)
        stored = set(archive.files) - {META}
        for key in sorted(stored ^ set(variables)):
            where = "the file only" if key in stored else "the model only"
            raise InputError(f"{path} is the state of another model: variable {key} is in {where}")
        values = {key: archive[key] for key in variables}
        for key, variable in variables.items():
            if values[key].shape != tuple(variable.shape):
                raise InputError(
                    f"{path} is the state of another model: {key} must be {tuple(variable.shape)}, "
                    f"found {values[key].shape}"
                )
        for key, variable in variables.items():
            variable.assign(values[key])
    renew_statistics(model.detector)


def seed_dropout(model: keras.Model, *seed: int) -> None:
    """Make the draws of dropout a function of these numbers, with one stream per dropout layer."""
    states = [variable for variable in model.variables if name_of(variable) == "seed_generator_state"]
    for i, state in enumerate(states):
        state.assign(np.random.SeedSequence([*seed, i]).generate_state(2) % 2**31)


def _open(path: Path) -> Any:
    if not path.is_file():
        raise InputError(f"{path}: no such file, so there is nothing to resume from")
    return np.load(path, allow_pickle=False)


def _variables(model: keras.Model) -> dict[str, Any]:
    metrics = {id(variable) for metric in model.metrics for variable in metric.variables}
    named = [("model", v) for v in model.variables if id(v) not in metrics]
    named += [("optimizer", v) for v in model.optimizer.variables]
    # the order of creation identifies a variable; its path does not, since Keras numbers layers over the process
    return {f"{owner}/{i:05d}/{name_of(variable)}": variable for i, (owner, variable) in enumerate(named)}
