"""Every user error gives exit code 2 and one line that begins with "error:" and names the fault, no traceback."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import keras
import pytest
import typer

from tfrcnn.cli import main, outputs
from tfrcnn.config import Category
from tfrcnn.data.read import load_dataset
from tfrcnn.models import build_detector, preset
from tfrcnn.training.folder import FORMAT, SETUP

from ..data import test_coco_folder as coco


def check(result: tuple[int, str, str], message: str) -> None:
    """Check the exit code and the error's line; `message` is its pattern."""
    code, out, err = result
    assert code == 2, out + err
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, err
    assert re.search(message, errors[0]), errors[0]
    assert "Traceback" not in out + err


@pytest.fixture
def new_run(tmp_path: Path, coco: Callable) -> list[str | Path]:
    """Return valid arguments of `tfrcnn train`."""
    train, val = coco(tmp_path / "data", "train.json"), coco(tmp_path / "data", "val.json")
    return ["train", "--train", train, "--val", val, "--out", tmp_path / "run", "--model", "tiny_fpn"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--model resnet", "unknown model 'resnet': expected one of vgg16, "),
        ("--image-size 0", "multiple of 32 .*found 0"),
        ("--image-size -32", "multiple of 32 .*found -32"),
        ("--image-size 100", "multiple of 32 .*found 100"),
        ("--epochs 0", "epochs must be at least 1, found 0"),
        ("--batch-size 0", "batch_size must be at least 1, found 0"),
        ("--learning-rate nan", "learning_rate must be a positive number, found nan"),
        ("--learning-rate inf", "learning_rate must be a positive number, found inf"),
        ("--learning-rate -0.1", "learning_rate must be a positive number, found -0.1"),
        ("--backbone-weights imagenet", "'tiny' has no ImageNet weights"),
        ("--backbone-weights no/such.h5", "backbone_weights: expected imagenet, none or a file, .*/no/such.h5"),
        ("--images no/such", "--images: expected a folder, found nothing at .*/no/such"),
        ("--val-images no/such", "--val-images: expected a folder, found nothing at .*/no/such"),
        ("--train no/such.json", "--train: expected .*, found nothing at .*/no/such.json"),
        ("--val no/VOC@val", "--val: expected .*, found nothing at .*/no/VOC"),
        ("--val 1.5", "val: expected DATA or a fraction between 0 and 1, for example 0.2, found '1.5'"),
        ("--val 0.2 --val-images data", "val 0.2 splits the training data: leave val_images out"),
        ("--resume", "expected a run, found no training"),
        ("--patience 0", "patience must be None or at least 1, found 0"),
        ("--loggers csv,neptune", "loggers must be among csv, tensorboard, wandb, mlflow, found 'neptune'"),
        ("--lr-finder --cache", "--lr-finder cannot be combined with --cache"),
        ("--lr-finder --loggers csv", "--lr-finder cannot be combined with --loggers"),
        ("--lr-finder --feeders a:1", "--lr-finder cannot be combined with --feeders"),
        ("--cache --feeders a:1", "--feeders: expected no cache, since the feeders decode the images"),
        ("--feeders a", "--feeders: expected HOST:PORT, for example 10.0.0.7:5050, found .a."),
        ("--lr-finder --resume", "--lr-finder cannot be combined with --resume"),
        ("--lr-finder --strategy mirrored", "--lr-finder cannot be combined with --strategy"),
        ("--scheme end2end", "'--scheme': .*'end2end' is not one of 'joint', 'alternating', 'rpn-only', "),
        ("--scheme fast-rcnn-only", "learns from the proposals of another run: proposals is needed"),
        ("--proposals no/run", "proposals brings the network: leave model out"),
        ("--scheme fast-rcnn-only --proposals no/run", "proposals brings the network: leave model out"),
        ("--set training.flip=false", "TrainingConfig has no field 'flip'; its fields are scheme, epochs, batch_size"),
        ("--set epochs=3", "unknown field 'epochs': expected detector.FIELD or training.FIELD"),
        ("--set training.epochs=many", "TrainingConfig.epochs must be int, found 'many'"),
        (
            "--set training.epochs=3 --set training.epochs=4",
            "--set training.epochs: .* found that another --set sets it",
        ),
        ("--epochs 3 --set training.epochs=4", "--set training.epochs: .* found that its option sets it too"),
        ("--set training.epochs", "--set: expected FIELD=VALUE, found 'training.epochs'"),
    ],
)
def test_wrong_option_is_refused_before_anything_is_written(
    options: str, message: str, new_run: list[str | Path], tfrcnn: Callable
) -> None:
    check(tfrcnn(*new_run, *options.split()), message)
    assert not Path(new_run[6]).exists()


def test_new_run_needs_data_to_learn_from(new_run: list[str | Path], tfrcnn: Callable) -> None:
    place = new_run.index("--train")
    check(tfrcnn(*new_run[:place], *new_run[place + 2 :]), "--train DATA is needed")


def test_folder_of_another_run_is_left_alone(tmp_path: Path, new_run: list[str | Path], tfrcnn: Callable) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.json").write_text("{}", encoding="utf-8")
    check(tfrcnn(*new_run), "run exists and is not an empty folder: choose another, or --resume")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.json"]


def test_file_in_place_of_the_folder_is_left_alone(tmp_path: Path, new_run: list[str | Path], tfrcnn: Callable) -> None:
    (tmp_path / "run").write_text("notes", encoding="utf-8")
    check(tfrcnn(*new_run), "run exists and is not an empty folder")
    assert (tmp_path / "run").read_text(encoding="utf-8") == "notes"


def test_weights_of_another_network_are_refused(tmp_path: Path, new_run: list[str | Path], tfrcnn: Callable) -> None:
    path = tmp_path / "other.weights.h5"
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save_weights(path)
    check(tfrcnn(*new_run, "--backbone-weights", path), "other.weights.h5 does not hold the weights of tiny")
    assert not (tmp_path / "run").exists()


def test_folder_in_place_of_data_is_told_what_may_be_meant(
    tmp_path: Path, new_run: list[str | Path], tfrcnn: Callable
) -> None:
    check(tfrcnn(*new_run, "--train", tmp_path / "data"), "found the folder .* did you mean .*/data@train or ")


def test_unknown_split_is_told_the_splits_there_are(
    tmp_path: Path, new_run: list[str | Path], tfrcnn: Callable
) -> None:
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / "VOC" / part).mkdir(parents=True)
    (tmp_path / "VOC/ImageSets/Main/train.txt").write_text("", encoding="utf-8")
    check(tfrcnn(*new_run, "--val", f"{tmp_path}/VOC@vall"), "expected one of the splits train .*found 'vall'")


def test_faults_of_both_data_sets_are_reported_together(
    tmp_path: Path, new_run: list[str | Path], tfrcnn: Callable, coco: Callable
) -> None:
    (tmp_path / "data/train_2.png").unlink()
    coco(tmp_path / "data", "val.json", categories=[{"id": 1, "name": "red"}, {"id": 2, "name": "whit"}])
    result = tfrcnn(*new_run)
    check(result, "refused: .*train.json and .*val.json")
    assert "REFUSED  1 x missing-image" in result.out
    assert "train_2.png" in result.out
    assert "REFUSED  1 x unknown-category" in result.out
    assert "expected one of red, white, found 'whit' (4 boxes)" in result.out
    assert "recall ceiling of anchors" in result.out
    assert not (tmp_path / "run").exists()


def test_json_that_is_none_is_refused_with_the_place(new_run: list[str | Path], tfrcnn: Callable) -> None:
    Path(new_run[2]).write_text('{"images": [}', encoding="utf-8")
    result = tfrcnn(*new_run)
    check(result, "refused")
    assert "syntax-error" in result.out
    assert "line 1" in result.out


def test_data_without_categories_are_refused(new_run: list[str | Path], tfrcnn: Callable, coco: Callable) -> None:
    coco(Path(new_run[2]).parent, "train.json", categories=[], annotations=[])
    check(tfrcnn(*new_run), "train.json")


def test_resuming_a_run_begun_from_python_is_refused(
    tmp_path: Path, new_run: list[str | Path], tfrcnn: Callable
) -> None:
    (tmp_path / "run").mkdir()
    start = preset("tiny_fpn")
    setup = {
        "format": FORMAT,
        "train": {"source": "a", "images": 1, "annotations": ""},
        "validation": None,
        "metric": "coco",
        "training": start.training.to_dict(),
        "detector": start.detector.to_dict(),
        "options": {},
    }
    (tmp_path / "run" / SETUP).write_text(json.dumps(setup), encoding="utf-8")
    check(tfrcnn(*new_run, "--resume"), "was started by tfrcnn.train: resume it from Python in the same way")


def test_resuming_a_run_of_release_0_1_is_refused(tmp_path: Path, tfrcnn: Callable) -> None:
    (tmp_path / SETUP).write_text(json.dumps({"training": {}, "options": {"model": "tiny_fpn"}}), encoding="utf-8")
    check(tfrcnn("train", "--out", tmp_path, "--resume"), "was written by tfrcnn 0.1, whose runs cannot be resumed")


def test_wrong_options_and_faults_of_the_data_are_reported_together(
    tmp_path: Path, new_run: list[str | Path], tfrcnn: Callable
) -> None:
    (tmp_path / "data/train_2.png").unlink()
    code, out, err = tfrcnn(*new_run, "--epochs", "0", "--image-size", "7", "--val", "no/such.json")
    assert code == 2
    assert err.startswith("error: 4 faults:\n")
    for text in ("image size must be", "epochs must be at least 1", "found nothing at .*such.json", "refused: .*train"):
        assert re.search(text, err), text
    assert "REFUSED  1 x missing-image" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("evaluate --model no/run --data {data}", "no/run: expected a run folder .* saved_model .* found nothing"),
        (
            "evaluate --model mobilenet_v2_fpn --data {data}",
            "mobilenet_v2_fpn: expected a run folder .* found nothing",
        ),
        ("evaluate --model {folder}", "expected a run folder .* found something else"),
        ("evaluate --model {folder} --images {folder}", "--images needs --data"),
        ("predict {data} --model no/run --out {out}", "no/run: expected a run folder .* found nothing"),
        ("predict no.jpg --model {data} --out {out}", "no.jpg: expected an image or a folder of images"),
        ("predict {empty} --model no/run --out {out}", r"empty: expected images \(\.bmp, .*\), found none"),
        ("predict {data} --model no/run --out {folder}", "exists and is not an empty folder"),
        ("doctor --data {data} --model resnet", "unknown model 'resnet'"),
        ("doctor --data {data} --image-size 7", "multiple of 32 .*found 7"),
        ("doctor --data {empty} --model tiny_fpn", "found the folder .* with nothing in it"),
        ("doctor --data {data} --val {data}@part --model tiny_fpn", "--val: expected no split, .* found 'part'"),
        ("data {data} --out {out}.html --val no/such", "--val: expected .* found nothing at no/such"),
        (
            "doctor --data {data} --val-images {folder} --model tiny_fpn",
            "val_images .* needs val, the validation data: found none",
        ),
        ("data {data} --out {out}.html --val-images {folder}", "val_images .* needs val, the validation data"),
        ("convert --data {data} --val-images {folder} --to voc --out {out}", "val_images .* needs val"),
        ("train --train {data} --val-images {folder} --out {out}", "val_images .* needs val"),
        ("convert --data {data} --val {data}@x --to voc --out {out}", "--val: expected no split"),
        ("convert --data {data} --val {data} --val-images no --to voc --out {out}", "--val-images: expected a folder"),
        ("doctor --data {data} --model {folder}", "no detector in"),
        ("data --out {out}.html", "expected the data set once"),
        ("data {data} --data {data} --out {out}.html", "expected the data set once"),
        ("doctor", "expected the data set once, as tfrcnn doctor DATA or as --data DATA"),
        ("doctor {data} --data {data}", "expected the data set once, as tfrcnn doctor DATA"),
        ("convert --to voc --out {out}", "expected the data set once, as tfrcnn convert DATA"),
        ("data {data} --out {out}", "out: expected a file name that ends in .html"),
        ("data {data} --out {page}", "out: expected a file to write, found the folder"),
        ("data {data} --out {data}/report.html --model tiny_fpn", "instances.json: .*(a file is where|File exists)"),
        ("data {data} --out {out}.html --json {data}", "--json: expected another file than a file"),
        ("data {data} --out {out}.html --json {out}.html", "--json: expected another file than that of --out"),
        ("data {data} --out {out}.html --pictures 1001", "pictures: expected a whole number in 0..1,000"),
        ("doctor --data {data} --json {data}", "--json: expected another file than a file that the command reads"),
        ("doctor --data {data} --val {data}@x --preset-out {data}", "--preset-out: expected another file than a file"),
        (
            "doctor --data {data} --preset-out {out}.json --json {out}.json",
            "--preset-out: expected another file than that of --json",
        ),
        (
            "evaluate --model {folder} --data {data} --json {folder}",
            "--json: expected a file to write, found the folder",
        ),
        ("evaluate --model {folder} --data {data} --json {data}", "--json: expected another file than a file"),
        ("export --model {folder} --format onnx --out {out}.onnx --images no", "--images needs the data of --verify"),
        ("export --model {folder} --format onnx --out {out}.onnx --image-size ²", "--image-size: expected N or HxW"),
        ("benchmark --model {folder} --images {folder}", "--images needs --data"),
        ("benchmark --model {folder} --threads 100000", "threads: expected a whole number"),
        ("benchmark --model {folder} --out {data}", "--out: expected a folder, found the file"),
        ("evaluate --model {folder} --data {data} --plots {data}", "--plots: expected a folder, found the file"),
        ("doctor --data= --model tiny_fpn", "--data: expected a path, found ''"),
        ("demo --out ~/demo", "~/demo: expected a path, found a ~ that the shell has left"),
        ("demo --out {folder}", "exists and is no demo's folder"),
        # before the model is looked at
        (
            "evaluate --model {empty} --data {data} --json /dev/null",
            "/dev/null: expected a file to write, found a device",
        ),
        ("evaluate --model {empty} --data {data} --report /dev/null", "expected a folder, or a file name that ends in"),
        ("doctor --data {data} --json /dev/null", "/dev/null: expected a file to write, found a device"),
        ("data --data {data} --out {out}.html --json /dev/null", "/dev/null: expected a file to write, found a device"),
    ],
)
def test_wrong_input_of_other_commands_is_one_line(
    arguments: str, message: str, tmp_path: Path, tfrcnn: Callable, coco: Callable
) -> None:
    for name in ("empty", "page.html"):
        (tmp_path / name).mkdir()
    data = coco(tmp_path / "data")
    places = {"data": data, "folder": data.parent, "empty": tmp_path / "empty", "out": tmp_path / "out"}
    places["page"] = tmp_path / "page.html"
    check(tfrcnn(*arguments.format(**places).split()), message)
    assert not (tmp_path / "out").exists()


def test_doctor_and_convert_take_the_data_set_as_the_first_argument(
    tmp_path: Path, tfrcnn: Callable, coco: Callable
) -> None:
    data = coco(tmp_path / "data")
    assert (
        tfrcnn("doctor", data, "--model", "tiny_fpn").out == tfrcnn("doctor", "--data", data, "--model", "tiny_fpn").out
    )
    assert tfrcnn("convert", data, "--to", "voc", "--out", tmp_path / "voc").code == 0
    assert len(load_dataset(f"{tmp_path / 'voc'}@train")) == 4


def test_doctor_ends_with_1_on_data_it_refuses_and_writes_every_fault(
    tmp_path: Path, tfrcnn: Callable, coco: Callable
) -> None:
    data, report = coco(tmp_path / "data"), tmp_path / "report.json"
    good = tfrcnn("doctor", "--data", data, "--model", "tiny_fpn")
    assert (good.code, good.err) == (0, "")
    assert "No faults." in good.out
    for path in (tmp_path / "data").glob("*.png"):
        path.write_bytes(path.read_bytes()[:1000])
    bad = tfrcnn("doctor", "--data", data, "--model", "tiny_fpn", "--json", report)
    assert (bad.code, bad.err) == (1, "")
    assert "REFUSED  4 x truncated-image" in bad.out
    faults = json.loads(report.read_text(encoding="utf-8"))["faults"]
    assert [fault["kind"] for fault in faults[:4]] == ["truncated-image"] * 4


@pytest.mark.slow
def test_detector_of_other_classes_is_told_which_ones_it_knows(
    tmp_path: Path, tfrcnn: Callable, coco: Callable
) -> None:
    from tfrcnn.models import save_detector

    save_detector(build_detector(preset("tiny_fpn", (Category(1, "red"),)).detector), tmp_path / "run")
    data = coco(tmp_path / "data")
    result = tfrcnn("evaluate", "--model", tmp_path / "run", "--data", data)
    assert result.code == 2
    assert "expected one of red, found 'white' (4 boxes)" in result.err
    report = tfrcnn("doctor", "--model", tmp_path / "run", "--data", data)
    assert report.code == 1
    assert "unknown-category" in report.out
    assert len(load_dataset(str(data)).categories) == 2


def written_options() -> list[tuple[str, str]]:
    """Return the options with a file or folder to write, by command."""
    commands = typer.main.get_command(main.app).commands
    flags = [(name, flag) for name, command in commands.items() for option in command.params for flag in option.opts]
    return [(name, flag) for name, flag in flags if flag in outputs.OPTIONS]


@pytest.mark.parametrize("place", ["-", "", " "])
@pytest.mark.parametrize("form", ["separate", "joined"])
@pytest.mark.parametrize(("command", "flag"), written_options())
def test_a_dash_and_an_empty_text_are_no_place_to_write_to(
    command: str, flag: str, form: str, place: str, tmp_path: Path, tfrcnn: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [f"{flag}={place}"] if form == "joined" else [flag, place]
    check(tfrcnn(command, *words), f"{flag}: expected a path, found {place if place == '-' else repr(place)}")
    assert list(tmp_path.iterdir()) == []


def test_every_option_with_a_place_to_write_to_is_listed() -> None:
    assert {flag for _, flag in written_options()} == set(outputs.OPTIONS)
    assert {"train", "evaluate", "predict", "export", "benchmark", "import-weights"} <= {
        c for c, _ in written_options()
    }
    assert {"doctor", "data", "convert", "fetch", "demo"} <= {command for command, _ in written_options()}


@pytest.mark.parametrize("place", ["./-", "-report.json"])
def test_a_path_that_begins_with_a_dash_is_written(
    place: str, tmp_path: Path, tfrcnn: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    coco.write(tmp_path / "cells/train.json", tmp_path / "cells/images")
    monkeypatch.chdir(tmp_path)
    assert tfrcnn("doctor", "cells", f"--json={place}").code == 0
    assert "summary" in json.loads((tmp_path / place).read_text())
