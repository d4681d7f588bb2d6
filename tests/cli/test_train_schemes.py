"""Each scheme by the command line with a tiny budget: train, evaluate, predict and export."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tfrcnn.data.digits import make_digit_scenes
from tfrcnn.models import load_detector
from tfrcnn.training.recipe import Recipe

pytestmark = pytest.mark.slow
OPTIONS = ("--epochs", "1", "--batch-size", "4", "--image-size", "128")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    make_digit_scenes(folder, train=8, val=4)
    return folder


@pytest.fixture(scope="module")
def proposing(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train the RPN alone and return its run folder."""
    from tfrcnn.cli.main import main

    out = tmp_path_factory.mktemp("runs") / "rpn"
    assert main([*map(str, arguments(data, out)), "--model", "tiny_fpn", "--scheme", "rpn-only"]) == 0
    return out


def arguments(data: Path, out: Path) -> tuple[str | Path, ...]:
    sets = ("--train", data / "instances_train.json", "--val", data / "instances_val.json")
    return ("train", *sets, "--out", out, *OPTIONS)


def columns(run: Path) -> list[dict[str, str]]:
    with (run / "history.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def check_use(run: Path, data: Path, tmp_path: Path, tfrcnn: Callable) -> None:
    """Check that the run's folder is an ordinary detector: evaluate, predict, export, resume."""
    result = tfrcnn("evaluate", "--model", run, "--data", data / "instances_val.json")
    assert (result.code, result.err) == (0, "")
    assert "COCO metric" in result.out
    picture = next((data / "images").glob("val_*"))
    assert tfrcnn("predict", "--model", run, picture, "--out", tmp_path / "pictures").code == 0
    lowest = ("--score-threshold", 0)  # a detector of one epoch may be sure of nothing
    exported = tfrcnn("export", "--model", run, "--format", "saved_model", "--out", tmp_path / "served", *lowest)
    assert exported.code == 0, exported.err
    resumed = tfrcnn("train", "--out", run, "--resume")
    assert (resumed.code, resumed.err) == (0, "")
    assert "is complete: all its 1 epochs are done" in resumed.out


@pytest.mark.soak
def test_four_step_alternating_training(data: Path, tmp_path: Path, tfrcnn: Callable) -> None:
    run = tmp_path / "run"
    result = tfrcnn(*arguments(data, run), "--model", "tiny_fpn", "--scheme", "alternating")
    assert result.code == 0, result.err
    assert "Training tiny_fpn on 8 images: alternating, 1 + 1 + 1 + 1 epochs of 2 steps" in result.out
    for label in ("step 1 of 4, RPN", "step 2 of 4, Fast R-CNN", "step 3 of 4, RPN, features fixed", "step 4 of 4"):
        assert f"\n{label}" in result.out
    assert "1-rpn/, 2-fast-rcnn/, 3-rpn/" in result.out
    assert [row["phase"] for row in columns(run)] == ["1", "2", "3", "4"]
    assert load_detector(run).config.shared_features
    check_use(run, data, tmp_path, tfrcnn)


@pytest.mark.soak
def test_unshared_networks(data: Path, tmp_path: Path, tfrcnn: Callable) -> None:
    run = tmp_path / "run"
    result = tfrcnn(*arguments(data, run), "--model", "tiny_fpn", "--scheme", "unshared")
    assert result.code == 0, result.err
    assert [row["phase"] for row in columns(run)] == ["1", "2"]
    assert not load_detector(run).config.shared_features
    check_use(run, data, tmp_path, tfrcnn)


def test_an_rpn_alone_is_told_apart_from_a_detector(proposing: Path, tfrcnn: Callable) -> None:
    (row,) = columns(proposing)
    assert "classifier_loss" not in row
    assert float(row["val_rpn_loss"]) > 0
    resumed = tfrcnn("train", "--out", proposing, "--resume")
    assert resumed.code == 0
    assert f"tfrcnn train --scheme fast-rcnn-only --proposals {proposing} --train " in resumed.out


@pytest.mark.soak
def test_a_detector_on_the_proposals_of_a_run(proposing: Path, data: Path, tmp_path: Path, tfrcnn: Callable) -> None:
    run = tmp_path / "run"
    result = tfrcnn(*arguments(data, run), "--scheme", "fast-rcnn-only", "--proposals", proposing)
    assert result.code == 0, result.err
    assert f"Learning from the proposals of {proposing}" in result.out
    options = json.loads((run / "training.json").read_text(encoding="utf-8"))["options"]
    assert (options["model"], options["proposals"]) == (None, str(proposing))
    proposer, detector = load_detector(proposing), load_detector(run)
    for part, rpn_part in (("backbone", "rpn_backbone"), ("fpn", "rpn_fpn"), ("rpn_head", "rpn_head")):
        for one, other in zip(getattr(proposer, part).get_weights(), getattr(detector, rpn_part).get_weights()):
            assert (one == other).all()
    # Other uses of a detector with two networks: see test_unshared_networks.
    assert tfrcnn("evaluate", "--model", run, "--data", data / "instances_val.json").code == 0


@pytest.mark.parametrize(("out", "folder"), [("runs/a", "runs/a-lr-finder"), (".", "{here}-lr-finder")])
def test_a_sweep_is_saved_next_to_the_run_folder_whatever_its_name(out, folder, tmp_path, monkeypatch, tfrcnn):
    saved = []
    sweep = SimpleNamespace(suggestion=None, save=saved.append)

    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(Recipe, "find_learning_rate", lambda self: sweep)
    assert tfrcnn("train", "--lr-finder", "--train", "a.json", "--out", out).code == 0
    assert saved == [Path(folder.format(here=tmp_path / "here"))]
