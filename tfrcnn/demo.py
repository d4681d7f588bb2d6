"""A small detector of handwritten digits, trained on the built-in data set without a download.

    FOLDER/data/   scenes of handwritten digits in COCO format, see `tfrcnn.data.digits`
    FOLDER/run/    the training run, see `tfrcnn.training.run`

The first call makes these files; later calls load them.

Example:
    from tfrcnn.demo import digit_datasets, trained_on_digits

    run = trained_on_digits("runs/digits")  # about two minutes on 2 CPU cores
    test = digit_datasets("runs/digits")["test"]
    tfrcnn.Predictor(run.detector).detect(test.examples[0].path)
"""

from __future__ import annotations

from pathlib import Path

from tfrcnn.config import TrainingConfig
from tfrcnn.data.digits import make_digit_scenes
from tfrcnn.data.example import Dataset
from tfrcnn.data.read import load_dataset
from tfrcnn.errors import InputError
from tfrcnn.files import check_path, read_json
from tfrcnn.models import build_detector, preset
from tfrcnn.training.folder import SETUP, is_complete, read_setup
from tfrcnn.training.process import kept_generators, seeded
from tfrcnn.training.run import Run, load_run, train

MODEL = "tiny_fpn"
SCENES = {"train": 400, "val": 20, "test": 60}
EPOCHS = 9


def digit_scenes(folder: str | Path, scenes: dict[str, int] = SCENES) -> dict[str, Path]:
    """Make the digit scenes that a folder lacks.

    Args:
        folder: folder of instances_train.json, instances_val.json, instances_test.json and images/.
        scenes: number of scenes in "train", "val" and "test".

    Returns:
        JSON files by "train", "val" and "test".

    Raises:
        InputError: the folder holds another number of scenes, or see `make_digit_scenes`.
    """
    folder = check_path(folder, "folder")
    paths = {split: folder / f"instances_{split}.json" for split in scenes}
    missing = [split for split, path in paths.items() if not path.is_file()]
    for split, path in paths.items():
        if split in missing:
            continue
        content = read_json(path)
        images = content.get("images") if isinstance(content, dict) else None
        count = len(images) if isinstance(images, list) else 0
        if count != scenes[split]:
            raise InputError(
                f"{path}: expected {scenes[split]} scenes, found {count}: remove it, or choose another folder"
            )
    if missing:
        make_digit_scenes(folder, scenes["train"], scenes["val"], scenes["test"], only=missing)
    return paths


def digit_datasets(folder: str | Path, scenes: dict[str, int] = SCENES) -> dict[str, Dataset]:
    """Load the data sets "train", "val" and "test" from FOLDER/data; see `digit_scenes`.

    Example:
        test = digit_datasets("runs/digits")["test"]
    """
    return {
        split: load_dataset(str(path))
        for split, path in digit_scenes(check_path(folder, "folder") / "data", scenes).items()
    }


@kept_generators()
def trained_on_digits(folder: str | Path, scenes: dict[str, int] = SCENES, epochs: int = EPOCHS) -> Run:
    """Train a small detector of handwritten digits in FOLDER/run, or load it if the run is complete.

    The detector is the preset `tiny_fpn` from random weights of seed 0.
    An interrupted run continues. Training prints one line per epoch.

    Args:
        folder: folder of data and run, made if missing.
        scenes: see `digit_scenes`.
        epochs: number of epochs.

    Returns:
        The run, with the best detector on the "val" scenes.

    Raises:
        InputError: the folder was made with other arguments, or see `train`.

    Example:
        run = trained_on_digits("runs/digits")
        run.detector
    """
    out, datasets = check_path(folder, "folder") / "run", digit_datasets(folder, scenes)
    defaults = preset(MODEL, datasets["train"].categories)
    training = training_on_digits(epochs)
    is_begun = (out / SETUP).is_file()
    if is_begun and (saved := TrainingConfig.from_dict(read_setup(out)["training"])) != training:
        raise InputError(f"{out}: expected a run with {training}, found {saved}: remove it, or choose another folder")
    if is_begun and is_complete(out):
        return load_run(out)
    with seeded(training.seed):
        detector = build_detector(defaults.detector)
    return train(detector, datasets["train"], datasets["val"], out, training, resume=is_begun)


def training_on_digits(epochs: int = EPOCHS) -> TrainingConfig:
    """Return the options of `trained_on_digits`: the preset's, with more and smaller steps for a short run."""
    return preset(MODEL).training.replace(epochs=epochs, batch_size=4, learning_rate=0.06, warmup_steps=50)
