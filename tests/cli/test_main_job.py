"""The main job by the command line, from boxes to pictures: a small demo, interrupted once and resumed."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import pytest
import typer
from PIL import Image

from tfrcnn.cli.demo import run_demo
from tfrcnn.cli.main import app
from tfrcnn.training import callbacks

SCENES = {"train": 8, "val": 4, "test": 5}
SETTINGS = ("--set", "training.weight_decay=0.002", "--set", "detector.rpn.match.foreground_iou=0.6")
OPTIONS = ("--epochs", "2", "--batch-size", "4", "--ema", "--mixed-precision", "--image-size", "128", *SETTINGS)


class Demo(NamedTuple):
    """A demo interrupted after its first epoch and then resumed: its folder, and the output of each half."""

    folder: Path
    first_half: str
    first_error: str
    second_half: str


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("parent") / "demo"
    first_half, first_error, second_half = StringIO(), StringIO(), StringIO()
    save_state = callbacks.save_state

    def save_state_then_control_c(*arguments: object) -> None:
        save_state(*arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, redirect_stdout(first_half), redirect_stderr(first_error):
        patch.setattr(callbacks, "save_state", save_state_then_control_c)
        with pytest.raises(typer.Exit) as exit_info:
            run_demo(app, folder, SCENES, OPTIONS)
        assert exit_info.value.exit_code == 130
    with redirect_stdout(second_half):
        run_demo(app, folder, SCENES, OPTIONS)
    return Demo(folder, first_half.getvalue(), first_error.getvalue(), second_half.getvalue())


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def test_demo_leaves_what_it_says(finished: Demo) -> None:
    expected = [
        *["data/instances_train.json", "data/instances_val.json", "data/instances_test.json"],
        *["run/config.json", "run/last/config.json", "run/history.csv", "run/curves.png", "run/predictions.png"],
        *["run/evaluation.json", "run/training.json", "test/evaluation.json", "test/precision_recall.png"],
        *["test/confusion.png", "test/predictions.png", "pictures/detections.json", "pictures/images.json"],
        *["pictures/test_00001.png", "pictures/test_00002.png", "pictures/test_00003.png"],
    ]
    assert [name for name in expected if not (finished.folder / name).is_file()] == []
    assert read(finished.folder / "demo.json")["finished"] is True
    for name in ("data", "run", "test", "pictures"):
        assert f"{finished.folder / name}: " in finished.second_half


def test_demo_shows_its_commands(finished: Demo) -> None:
    commands = [line.split()[2] for line in finished.first_half.splitlines() if line.startswith("$ tfrcnn ")]
    assert commands == ["doctor", "train"]
    commands = [line.split()[2] for line in finished.second_half.splitlines() if line.startswith("$ tfrcnn ")]
    assert commands == ["doctor", "train", "evaluate", "predict"]


def test_interrupted_run_says_how_to_go_on_and_does(finished: Demo) -> None:
    run = finished.folder / "run"
    assert f"to go on: tfrcnn train --out {run} --resume" in finished.first_error
    assert f"$ tfrcnn train --out {run} --resume" in finished.second_half
    assert "epoch 1/2" not in finished.second_half
    assert "epoch 2/2" in finished.second_half
    with (run / "history.csv").open(encoding="utf-8") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]


def test_a_run_is_described_once_with_its_defaults_filled_in(finished: Demo) -> None:
    stored = read(finished.folder / "run/training.json")
    names = ["format", "train", "validation", "metric", "training", "detector", "class_weights", "options"]
    assert list(stored) == names
    assert stored["train"]["source"] == str(finished.folder / "data/instances_train.json")
    assert stored["validation"]["source"] == str(finished.folder / "data/instances_val.json")
    assert stored["metric"] == "coco"
    assert stored["options"] == {
        "images": None,
        "val_images": None,
        "model": "tiny_fpn",
        "init": None,
        "proposals": None,
        "backbone_weights": "none",
    }
    assert stored["training"]["precision"] in ("mixed_bfloat16", "mixed_float16")
    assert (stored["training"]["epochs"], stored["training"]["batch_size"], stored["training"]["ema"]) == (2, 4, 0.998)
    assert stored["training"]["weight_decay"] == 0.002
    assert stored["detector"]["image"]["static_size"] == [128, 128]
    assert stored["detector"]["rpn"]["match"]["foreground_iou"] == 0.6


def test_training_ends_with_the_table_the_files_and_the_next_commands(finished: Demo) -> None:
    training = finished.second_half.split("=== 3.")[0]
    for text in ("recall ceiling of anchors", "COCO metric", "AP50", "evaluation.json", "curves.png"):
        assert text in training
    assert f"tfrcnn evaluate --model {finished.folder / 'run'} --data " in training
    assert f"tfrcnn predict --model {finished.folder / 'run'} IMAGE_OR_FOLDER --out " in training


def test_finished_demo_is_refused(finished: Demo, tfrcnn: Callable) -> None:
    result = tfrcnn("demo", "--out", finished.folder)
    assert result.code == 2
    assert re.fullmatch(rf"error: the demo in {finished.folder} is finished: .* choose another --out\n", result.err)


def test_complete_run_says_so_and_is_left_alone(finished: Demo, tfrcnn: Callable) -> None:
    before = {path: path.stat().st_mtime_ns for path in (finished.folder / "run").rglob("*")}
    result = tfrcnn("train", "--out", finished.folder / "run", "--resume")
    assert (result.code, result.err) == (0, "")
    assert "is complete: all its 2 epochs are done" in result.out
    assert {path: path.stat().st_mtime_ns for path in (finished.folder / "run").rglob("*")} == before


def test_options_of_a_resumed_run_may_be_repeated(
    finished: Demo, tfrcnn: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished.folder)
    data = ("--train", "data/instances_train.json", "--val", "./data/instances_val.json", "--model", "tiny_fpn")
    assert tfrcnn("train", *data, "--out", "run", *OPTIONS, "--seed", "0", "--resume").code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--no-ema", "--seed", "1"], r"training\.ema was 0\.998, is None, training\.seed was 0, is 1"),
        (["--model", "vgg16"], r"options\.model was 'tiny_fpn', is 'vgg16'"),
        (["--image-size", "160"], r"detector\.image\.static_size was \[128, 128\], is \[160, 160\]"),
        (["--metric", "voc"], "metric was 'coco', is 'voc'"),
        (["--scheme", "alternating"], r"training\.scheme was 'joint', is 'alternating'"),
        (["--set", "training.horizontal_flip=true"], r"training\.horizontal_flip was False, is True"),
        (["--set", "detector.rpn.match.foreground_iou=0.7"], r"rpn\.match\.foreground_iou was 0\.6, is 0\.7"),
    ],
)
def test_resuming_with_other_options_is_refused(
    options: list[str], message: str, finished: Demo, tfrcnn: Callable
) -> None:
    result = tfrcnn("train", "--out", finished.folder / "run", "--resume", *options)
    assert result.code == 2
    assert result.err.startswith(f"error: cannot resume {finished.folder / 'run'} with other settings: ")
    assert re.search(message, result.err)


def test_evaluation_is_written_with_what_was_evaluated(finished: Demo) -> None:
    evaluation = read(finished.folder / "test/evaluation.json")
    assert evaluation["metric"] == "coco"
    assert evaluation["model"] == str(finished.folder / "run")
    assert evaluation["data"] == str(finished.folder / "data/instances_test.json")
    assert evaluation["counts"]["images"] == SCENES["test"]


@pytest.mark.slow
def test_metric_is_that_of_the_run_unless_given(finished: Demo, tmp_path: Path, tfrcnn: Callable) -> None:
    shutil.copytree(finished.folder / "run/last", tmp_path / "last")
    description = read(tmp_path / "last/config.json")
    description["extra"]["metric"] = "voc07"
    (tmp_path / "last/config.json").write_text(json.dumps(description), encoding="utf-8")
    arguments = ("evaluate", "--model", tmp_path / "last", "--data", finished.folder / "data/instances_test.json")
    result = tfrcnn(*arguments)
    assert (result.code, result.err) == (0, "")
    assert "VOC2007 metric (11 points) at IoU 0.5: 5 images" in result.out
    assert "VOC metric (area under the curve) at IoU 0.5: 5 images" in tfrcnn(*arguments, "--metric", "voc").out


@pytest.mark.slow
def test_predictions_are_drawn_and_written_with_ids_that_are_explained(
    finished: Demo, tmp_path: Path, tfrcnn: Callable
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for name in ("test_00001.png", "test_00002.png"):
        shutil.copy(finished.folder / "data/images" / name, source)
    (source / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    (source / "notes.txt").write_text("no picture", encoding="utf-8")
    out = tmp_path / "out"
    result = tfrcnn("predict", source, "--model", finished.folder / "run", "--out", out, "--score-threshold", "0")
    assert result.code == 2
    assert result.err.startswith(f"error: {source / 'broken.jpg'}: ")
    assert len(result.err.splitlines()) == 1
    images = {image["id"]: image for image in read(out / "images.json")["images"]}
    assert [Path(image["file_name"]).name for image in images.values()] == ["test_00001.png", "test_00002.png"]
    names = {category["id"]: category["name"] for category in read(out / "images.json")["categories"]}
    assert names[10] == "zero"
    detections = json.loads((out / "detections.json").read_text(encoding="utf-8"))
    assert detections
    for detection in detections:
        image = images[detection["image_id"]]
        x, y, width, height = detection["bbox"]
        assert detection["category_id"] in names
        assert x >= 0
        assert y >= 0
        assert x + width <= image["width"] + 1e-3
        assert y + height <= image["height"] + 1e-3
    with Image.open(out / "test_00001.png") as drawn, Image.open(source / "test_00001.png") as picture:
        assert max(drawn.size) == max(480, *picture.size)  # enlarged, so that the labels can be read
        assert drawn.width / drawn.height == pytest.approx(picture.width / picture.height, rel=0.01)
