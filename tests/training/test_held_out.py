"""Validation data that are split off: in a recipe, in the run folder, when a run is resumed and evaluated."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tfrcnn.config import Category
from tfrcnn.data.example import Dataset
from tfrcnn.data.split import SPLIT
from tfrcnn.errors import InputError
from tfrcnn.models import FasterRCNN, build_detector, preset
from tfrcnn.training.folder import SETUP
from tfrcnn.training.held_out import validation_of_run
from tfrcnn.training.recipe import Recipe

CHANGES = {"training.epochs": 1, "training.batch_size": 2}


def write_data(folder: Path) -> str:
    """Ten different pictures with a "cell" each, two of them with a "cat" too."""
    folder.mkdir()
    images, annotations = [], []
    for i in range(10):
        Image.fromarray(np.full((48, 64, 3), 9 * i, np.uint8)).save(folder / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "width": 64, "height": 48})
        for category in (1, 2)[: 1 + (i < 2)]:
            box = {"bbox": [10, 8, 24, 30], "area": 720, "iscrowd": 0}
            annotations.append({"id": len(annotations) + 1, "image_id": i, "category_id": category, **box})
    categories = [{"id": 1, "name": "cell"}, {"id": 2, "name": "cat"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "all.json").write_text(json.dumps(content), encoding="utf-8")
    return str(folder / "all.json")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_data(tmp_path_factory.mktemp("split") / "data")


def recipe(data: str, **fields: Any) -> Recipe:
    return Recipe(data, model="tiny_fpn", image_size=64, changes=CHANGES, **fields)


@pytest.fixture(scope="module")
def detector() -> FasterRCNN:
    return build_detector(preset("tiny_fpn", (Category(1, "cell"), Category(2, "cat")), 64).detector)


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch, detector: FasterRCNN) -> Any:
    """Run a recipe up to the first step of training; return what it logged. All runs share a detector, to save time."""

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tfrcnn.training.run.start_of", stop)
    monkeypatch.setattr(Recipe, "_built", lambda *_: detector)

    def run(recipe: Recipe, out: Path, resume: bool = False) -> str:
        logged: list[str] = []
        with pytest.raises(KeyboardInterrupt):
            recipe.run(out, resume, log=logged.append)
        return "\n".join(logged)

    return run


def ids(dataset: Dataset) -> list[int | str]:
    return [example.image_id for example in dataset.examples]


def test_a_fraction_is_split_off_recorded_resumed_and_evaluated(data: str, tmp_path: Path, begin: Any) -> None:
    out = tmp_path / "run"
    logged = begin(recipe(data, val=0.2), out)
    assert "on 8 images (2 are split off for validation, see split.json there): 1 epoch of 4 steps" in logged
    assert "newest" not in logged
    assert logged.count("Data set") == 1  # one report on the data as they are

    split = json.loads((out / SPLIT).read_text(encoding="utf-8"))
    assert (len(split["train"]), len(split["val"])) == (8, 2)
    assert len({0, 1} & set(split["val"])) == 1  # the cats are on both sides
    setup = json.loads((out / SETUP).read_text(encoding="utf-8"))
    assert (setup["train"]["images"], setup["validation"]["images"]) == (8, 2)

    again = Recipe.of_run(out)
    assert (again.val, again.train) == (0.2, data)
    validation, name = validation_of_run(out / "last")
    assert (ids(validation), name) == (split["val"], f"0.2 of {data}")

    # the list decides, also if another release draws other images
    moved = {**split, "train": split["train"][1:] + split["val"][:1], "val": [split["train"][0], *split["val"][1:]]}
    (out / SPLIT).write_text(json.dumps(moved), encoding="utf-8")
    with pytest.raises(InputError, match=r"cannot resume .*: train\.annotations was"):
        again.run(out, resume=True, log=lambda _: None)
    assert ids(validation_of_run(out)[0]) == sorted(moved["val"])


def test_a_run_is_resumed_with_its_split_wherever_the_data_are(data: str, tmp_path: Path, begin: Any) -> None:
    out = tmp_path / "run"
    begin(recipe(data, val="0.3"), out)
    split = (out / SPLIT).read_text(encoding="utf-8")
    begin(Recipe.of_run(out).replace(train=write_data(tmp_path / "moved")), out, resume=True)
    assert (out / SPLIT).read_text(encoding="utf-8") == split
    with pytest.raises(InputError, match=r"with val 0\.2: its data were split with 0\.3"):
        Recipe.of_run(out).replace(val=0.2).run(out, resume=True, log=lambda _: None)
    with pytest.raises(InputError, match=r"train\.images was 7, is 10"):
        Recipe.of_run(out).replace(val=data).run(out, resume=True, log=lambda _: None)


def test_without_validation_data_training_says_that_it_keeps_the_newest(data: str, tmp_path: Path, begin: Any) -> None:
    logged = begin(recipe(data), tmp_path / "run")
    assert (
        "No validation data: the newest weights are kept, not the best. To choose by a score: --val 0.2 splits off a "
        "fifth (in Python val=0.2).\nTraining"
    ) in logged
    assert "on 10 images" in logged
    with pytest.raises(InputError, match=r"--data DATA is needed: the run in .* had no validation data"):
        validation_of_run(tmp_path / "run")


def test_without_validation_data_training_names_the_split_that_is_there(tmp_path: Path, begin: Any) -> None:
    root = Path(write_data(tmp_path / "cells")).parent
    (root / "all.json").rename(root / "train.json")
    (root / "val.json").write_text((root / "train.json").read_text())
    (root / "annotations").mkdir()
    for split in ("train", "val"):
        (root / f"{split}.json").rename(root / f"annotations/{split}.json")
    logged = begin(recipe(f"{root}@train", images=str(root)), tmp_path / "run")
    assert f"To choose by a score: --val {root}@val (in Python val='{root}@val').\nTraining" in logged


def test_a_detector_without_a_run_has_no_validation_data(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--data DATA is needed: found no training\.json in"):
        validation_of_run(tmp_path / "a.onnx")
