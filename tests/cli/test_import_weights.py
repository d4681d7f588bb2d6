"""`tfrcnn import-weights`, and `tfrcnn train --init` from its output."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tfrcnn.config import Category
from tfrcnn.models import build_detector, load_detector, preset
from tfrcnn.weights.published import PUBLISHED

from ..weights.test_importing import state_of

MOBILENET = "fasterrcnn_mobilenet_v3_large_320_fpn"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a checkpoint of torchvision's mobilenet for "red" and "blue", with random weights."""
    detector = build_detector(preset(MOBILENET, (Category(1, "red"), Category(2, "blue"))).detector)
    state = {key: 0.05 * values for key, values in state_of(detector, "torchvision").items()}
    state.update({key: np.ones_like(values) for key, values in state.items() if key.endswith("running_var")})
    path = tmp_path_factory.mktemp("checkpoint") / "mobilenet.npz"
    np.savez(path, **state)
    return path


@pytest.fixture
def names(tmp_path: Path) -> Path:
    path = tmp_path / "names.json"
    path.write_text(json.dumps({"categories": [{"id": 1, "name": "red"}, {"id": 2, "name": "blue"}]}))
    return path


def test_list_shows_every_network_that_can_be_imported(tfrcnn: Callable) -> None:
    code, out, _ = tfrcnn("import-weights", "--list")
    assert code == 0
    assert f"torchvision   {MOBILENET}" in out
    assert "detectron2    resnet101_fpn" in out
    assert "detectron2    resnet50_c4" in out
    assert re.search(r"^coco-resnet50 +fasterrcnn_resnet50_fpn +COCO box AP 37.0, 160 MiB$", out, re.MULTILINE)
    assert "imagenet-resnet50" in out
    rows = {tuple(line.split()[:2]) for line in out.splitlines()}
    assert {(name, entry.preset) for name, entry in PUBLISHED.items()} <= rows


@pytest.mark.slow
def test_an_imported_detector_is_evaluated_and_trained_on(
    checkpoint: Path, names: Path, tmp_path: Path, tfrcnn: Callable, coco: Callable
) -> None:
    options = ("--preset", MOBILENET, "--categories", names, "--out", tmp_path / "imported")
    code, out, err = tfrcnn("import-weights", checkpoint, *options)
    assert code == 0, err
    assert "torchvision's fasterrcnn_mobilenet_v3_large_320_fpn" in out
    data = coco(tmp_path / "data")
    init = ("--init", tmp_path / "imported", "--image-size", "64", "--epochs", "1", "--batch-size", "2")
    code, out, err = tfrcnn("train", *init, "--train", data, "--val", data, "--out", tmp_path / "run")
    assert code == 0, err
    assert "categories that it knows: red, new: white" in out
    assert [c.name for c in load_detector(tmp_path / "run").config.categories] == ["red", "white"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "CHECKPOINT and --out and --preset needed"),
        (["{file}", "--out", "{new}", "--preset", "vgg16"], "torchvision has no network of preset 'vgg16'"),
        (["{file}", "--out", "{new}", "--preset", MOBILENET], "has 2 classes .* give its categories"),
        (["{file}", "--out", "{new}", "--preset", MOBILENET, "--from", "x"], "unknown source 'x'"),
        (["nowhere.pth", "--out", "{new}", "--preset", MOBILENET], "nowhere.pth"),
        (["{file}", "--out", "{used}", "--preset", MOBILENET], "exists and is not an empty folder"),
    ],
)
def test_wrong_options_are_one_clear_line(
    arguments: list[str], message: str, checkpoint: Path, tmp_path: Path, tfrcnn: Callable
) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "notes").touch()
    places = {"file": checkpoint, "new": tmp_path / "new", "used": tmp_path / "used"}
    code, out, err = tfrcnn("import-weights", *(argument.format(**places) for argument in arguments))
    assert code == 2, out + err
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, err
    assert re.search(message, errors[0]), errors[0]
    assert not (tmp_path / "new").exists()
