"""Anchors "auto" in a recipe: fitted to the training data, kept in the run, and what they do to trained weights."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tfrcnn.config import AnchorConfig
from tfrcnn.data.read import load_dataset
from tfrcnn.errors import InputError
from tfrcnn.models import preset
from tfrcnn.training.auto_anchors import with_fitted_anchors
from tfrcnn.training.folder import FORMAT, SETUP
from tfrcnn.training.recipe import Recipe
from tfrcnn.training.start import starting_detector

AUTO = {"detector.anchors": "auto"}
STRIDES = (4, 8, 16, 32)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Ten pictures of 128 x 128 pixels with a box of 6 x 48 pixels each."""
    folder = tmp_path_factory.mktemp("data")
    images, annotations = [], []
    for i in range(10):
        Image.fromarray(np.full((128, 128, 3), 9 * i, np.uint8)).save(folder / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "width": 128, "height": 128})
        annotations.append({"id": i, "image_id": i, "category_id": 1, "bbox": [9 * i, 7 * i, 48, 6]})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "rod"}]}
    (folder / "all.json").write_text(json.dumps(content), encoding="utf-8")
    return str(folder / "all.json")


def recipe(data: str, **fields: Any) -> Recipe:
    return Recipe(**{"train": data, "model": "tiny_fpn", "image_size": 128, "changes": AUTO, **fields})


@pytest.fixture
def strides(monkeypatch: pytest.MonkeyPatch) -> None:
    """The strides of tiny_fpn, without building it."""
    monkeypatch.setattr("tfrcnn.training.auto_anchors.anchor_strides", lambda _: STRIDES)


@pytest.mark.usefixtures("strides")
def test_a_detector_is_built_with_the_anchors_that_fit_the_training_data(data: str) -> None:
    logged: list[str] = []
    detector = recipe(data).build(logged.append)
    anchors, before = detector.config.anchors, preset("tiny_fpn").detector.anchors
    assert np.shape(anchors.sizes) == np.shape(before.sizes)
    assert all(0.09 < ratio < 0.16 for ratio in anchors.ratios)
    assert logged[0].startswith("Anchors fitted to the objects: recall ceiling 0.000 to 0.700 at IoU 0.5, 0.000 to ")
    assert json.dumps({"sizes": anchors.to_dict()["sizes"]})[:-1] in logged[0]


@pytest.mark.usefixtures("strides")
def test_images_that_are_split_off_are_not_fitted_to(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def fit(dataset: Any, *_: Any) -> None:
        sizes.append(len(dataset))
        raise InputError("enough")

    monkeypatch.setattr("tfrcnn.training.auto_anchors.fit_anchors", fit)
    for val in (None, 0.2):
        with pytest.raises(InputError, match="enough"):
            recipe(data, val=val).build(lambda _: None)
    assert sizes == [10, 8]


@pytest.mark.usefixtures("strides")
def test_a_resumed_run_takes_the_anchors_that_it_has(data: str, tmp_path: Path) -> None:
    resolved, dataset = recipe(data).resolved(), load_dataset(data)
    started = with_fitted_anchors(resolved, dataset, None, lambda _: None)
    assert (started.changes, started.image_size) == ({}, None)
    assert started.detector is not None
    assert started.training is not None
    assert started.detector.anchors != preset("tiny_fpn").detector.anchors
    recorded = started.detector.replace(categories=dataset.categories, anchors=AnchorConfig(((9.0,),) * 4, (0.1,)))
    setup = {
        "format": FORMAT,
        "train": {"source": data, "images": 10, "annotations": "a"},
        "validation": None,
        "metric": "coco",
        "training": started.training.to_dict(),
        "detector": recorded.to_dict(),
        "options": started._options(),
    }
    (tmp_path / SETUP).write_text(json.dumps(setup), encoding="utf-8")
    for again in (Recipe.of_run(tmp_path), Recipe.of_run(tmp_path).replace(changes=AUTO), recipe(data)):
        again = again.resolved()
        again._check_resumable(tmp_path)
        notes = [f"The anchors of the run in {tmp_path} are kept."] if again.changes else []
        logged: list[str] = []
        again = with_fitted_anchors(again, dataset, tmp_path, logged.append)
        assert again.detector is not None
        assert again.detector.anchors == recorded.anchors
        assert logged == notes


def test_proposals_of_another_run_bring_their_anchors(data: str) -> None:
    with pytest.raises(InputError, match="proposals brings its anchors: leave anchors auto out"):
        recipe(data, model=None, proposals="runs/rpn").resolved()


def test_a_start_from_weights_for_another_number_of_anchors_says_what_is_random(
    data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without building a detector; `tests/models/test_transfer.py` has the weights."""
    trained = SimpleNamespace(config=preset("tiny_fpn").detector)
    monkeypatch.setattr("tfrcnn.training.start.load_detector", lambda _: trained)
    monkeypatch.setattr("tfrcnn.training.start.with_categories", lambda *_, **__: (trained, ()))
    logged: list[str] = []
    for ratios in ((0.125, 0.25, 0.5, 1.0, 2.0), (0.125, 0.25, 0.5)):
        start = recipe(data, changes={"detector.anchors.ratios": ratios}).resolved()
        assert start.detector is not None
        assert start.training is not None
        starting_detector(start.detector, start.training, None, "runs/coco", None, logged.append)
    random = [line for line in logged if "random" in line]
    assert random == ["The RPN's last layers start at random: 5 anchors at each position, 3 in runs/coco"]
