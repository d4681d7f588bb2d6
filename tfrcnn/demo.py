"""The embedded data set, and a small detector that has learned from it: what the notebooks begin with.

    FOLDER/data/   scenes of handwritten digits in COCO form, see `tfrcnn.data.digits`
    FOLDER/run/    the training run, see `tfrcnn.training.run`

Everything here is made at the first call and found at the next.
"""

from __future__ import annotations

from pathlib import Path

import keras

from tfrcnn.config import TrainingConfig
from tfrcnn.data.digits import make_digit_scenes
from tfrcnn.data.example import Dataset
from tfrcnn.data.read import load_dataset
from tfrcnn.errors import InputError
from tfrcnn.files import read_json
from tfrcnn.models import build_detector, preset
from tfrcnn.training.folder import SETUP, is_complete
from tfrcnn.training.run import Run, load_run, train

MODEL = "tiny_fpn"
SCENES = {"train": 400, "val": 20, "test": 60}
EPOCHS = 9


def digit_scenes(folder: str | Path, scenes: dict[str, int] = SCENES) -> dict[str, Path]:
    """The files of the digit scenes in a folder; those that are not there are made, the others left as they are.

    Args:
        folder: for instances_train.json, instances_val.json, instances_test.json and images/.
        scenes: how many there are to "train" on, to choose the best epoch by ("val"), and to "test" on.

    Returns:
        the three json files by these names.

    Raises:
        InputError: the folder holds another number of scenes; or as `make_digit_scenes`.
    """
    paths = {split: Path(folder) / f"instances_{split}.json" for split in scenes}
    missing = [split for split, path in paths.items() if not path.is_file()]
    for split, path in paths.items():
        if split in missing:
            continue
        found = len(read_json(path)["images"])
        if found != scenes[split]:
            raise InputError(
                f"{path}: expected {scenes[split]} scenes, found {found}: remove it, or take another folder"
            )
    if missing:
        make_digit_scenes(folder, **scenes, only=missing)
    return paths


def digit_datasets(folder: str | Path, scenes: dict[str, int] = SCENES) -> dict[str, Dataset]:
    """The data sets "train", "val" and "test" of the digit scenes in FOLDER/data, as of `digit_scenes`."""
    return {split: load_dataset(str(path)) for split, path in digit_scenes(Path(folder) / "data", scenes).items()}


def trained_on_digits(folder: str | Path, scenes: dict[str, int] = SCENES, epochs: int = EPOCHS) -> Run:
    """A small detector that finds handwritten digits: trained, or gone on with, or found in FOLDER/run.

    It is the preset `tiny_fpn` from random weights that are a function of the seed 0, to which Keras' and numpy's
    generators are set. Training says so, a line an epoch; a run that is complete is loaded and nothing is printed.

    Args:
        folder: of data and run, both made where they are not there.
        scenes: as of `digit_scenes`.

    Returns:
        the run, with the best detector on the "val" scenes.

    Raises:
        InputError: what is in the folder was made with other arguments; or as `train`.
    """
    out, datasets = Path(folder) / "run", digit_datasets(folder, scenes)
    defaults = preset(MODEL, datasets["train"].categories)
    training = training_on_digits(epochs)
    is_begun = (out / SETUP).is_file()
    if is_begun and (found := TrainingConfig.from_dict(read_json(out / SETUP)["training"])) != training:
        raise InputError(f"{out} was trained with {found}, expected {training}: remove it, or take another folder")
    if is_begun and is_complete(out):
        return load_run(out)
    keras.utils.set_random_seed(training.seed)
    detector = build_detector(defaults.detector)
    return train(detector, datasets["train"], datasets["val"], out, training, resume=is_begun)


def training_on_digits(epochs: int = EPOCHS) -> TrainingConfig:
    """How `trained_on_digits` trains: the preset's recipe, with more and smaller steps for a short run."""
    return preset(MODEL).training.replace(epochs=epochs, batch_size=4, learning_rate=0.06, warmup_steps=50)
