"""Validation data that are split off the training data, and the validation data of a run that is there."""

from __future__ import annotations

from pathlib import Path

from tfrcnn.config import Category
from tfrcnn.data.example import Dataset
from tfrcnn.data.read import load_dataset
from tfrcnn.data.split import as_fraction, recorded_split, split_dataset
from tfrcnn.errors import InputError
from tfrcnn.training.setup_file import SETUP, read_setup


def hold_out(
    dataset: Dataset, val: Dataset | float | str | None, seed: int, run: Path | None = None
) -> tuple[Dataset, Dataset | None]:
    """Split the validation data off the training data, if `val` is a fraction.

    Args:
        dataset: the training data.
        val: the validation data, or a fraction of the images to split off; None for none.
        seed: of the training.
        run: a folder whose recorded split to repeat.

    Returns:
        train: the training data without what was split off.
        val: the validation data.
    """
    if val is None or isinstance(val, Dataset):
        return dataset, val
    fraction = float(val)
    recorded = recorded_split(run, dataset, fraction) if run else None
    return recorded or split_dataset(dataset, fraction, seed)


def validation_of_run(folder: Path) -> tuple[Dataset, str]:
    """Read the validation data of a run.

    Args:
        folder: a run folder, or one below it, such as last/.

    Returns:
        dataset: with the categories of the run.
        name: how to call it in a message.

    Raises:
        InputError: there is no run, it had no validation data, or its data are gone.
    """
    run = next((each for each in (folder, folder.parent) if (each / SETUP).is_file()), folder)
    if not (run / SETUP).is_file():
        raise InputError(f"--data DATA is needed: found no {SETUP} in {folder}, which would name validation data")
    setup = read_setup(run)
    if setup["validation"] is None:
        raise InputError(f"--data DATA is needed: the run in {run} had no validation data")
    options, train, val = setup["options"], setup["train"]["source"], setup["validation"]["source"]
    categories = [Category(**category) for category in setup["detector"]["categories"]]
    if as_fraction(val) is None:
        return load_dataset(val, options.get("val_images"), categories), val
    whole = load_dataset(train, options.get("images"), categories)
    validation = hold_out(whole, val, setup["training"]["seed"], run)[1]
    assert validation is not None
    return validation, f"{val} of {train}"
