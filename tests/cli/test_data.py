"""`tfrcnn data`: what it prints, the page and the numbers, and its exit codes."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tfrcnn.cli import options
from tfrcnn.report import data as report


@pytest.fixture(autouse=True)
def _strides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out building the detector."""
    monkeypatch.setattr(report, "anchor_strides", lambda config: (8, 16, 32, 64))


def test_the_page_and_its_numbers_are_written(tmp_path: Path, tfrcnn: Callable, coco: Callable) -> None:
    data, val = coco(tmp_path / "data"), coco(tmp_path / "val")
    out, numbers = tmp_path / "new/report.html", tmp_path / "report.json"
    result = tfrcnn("data", data, "--val", val, "--model", "tiny_fpn", "--out", out, "--json", numbers)
    assert (result.code, result.err) == (0, "")
    assert f"data: 4 images, 8 boxes, 0 faults ({data})" in result.out
    assert f"val: 4 images, 8 boxes, 4 faults ({val})" in result.out
    assert f"The page is {out} (" in result.out
    assert "<!DOCTYPE html>" in out.read_text(encoding="utf-8")
    content = json.loads(numbers.read_text(encoding="utf-8"))
    assert len(content["images_in_two_splits"]) == 4
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]


def test_the_data_set_may_be_an_option_as_in_other_commands(tmp_path: Path, tfrcnn: Callable, coco: Callable) -> None:
    data, pages = coco(tmp_path / "data"), [tmp_path / "a.html", tmp_path / "b.html"]
    for words, page in zip(([data], ["--data", data]), pages):
        assert tfrcnn("data", *words, "--model", "tiny_fpn", "--out", page, "--pictures", "0").code == 0
    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_data_that_cannot_be_used_end_in_1_with_a_page(tmp_path: Path, tfrcnn: Callable, coco: Callable) -> None:
    data = coco(tmp_path / "data")
    (tmp_path / "data/instances_2.png").unlink()
    result = tfrcnn("data", data, "--model", "tiny_fpn", "--out", tmp_path / "report.html")
    assert result.code == 1
    assert result.err == "The data set cannot be used: the page shows the faults marked refused.\n"
    assert "missing-image" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_default_model_is_the_library_s() -> None:
    assert options.DEFAULT_MODEL == report.DEFAULT_MODEL


def test_a_part_is_split_off_as_in_training(tmp_path: Path, tfrcnn: Callable, coco: Callable) -> None:
    data, out, numbers = coco(tmp_path / "data"), tmp_path / "report.html", tmp_path / "report.json"
    options = ("--model", "tiny_fpn", "--out", out, "--pictures", 0, "--json", numbers)
    result = tfrcnn("data", data, "--val", "0.25", *map(str, options))
    assert (result.code, result.err) == (0, "")
    assert f"data: 3 images, 6 boxes, 0 faults ({data})" in result.out
    assert "val: 1 images, 2 boxes, 0 faults (0.25)" in result.out
    (tmp_path / "data/instances_2.png").unlink()
    sides = {}
    for seed in range(4):  # whichever side the missing image is on, its fault is reported once
        tfrcnn("data", data, "--val", "0.25", *map(str, options), "--set", f"training.seed={seed}")
        splits = json.loads(numbers.read_text(encoding="utf-8"))["splits"]
        assert splits["data"]["faults"]["missing-image"] == 1
        sides[seed] = splits["val"]["summary"]["images"]
    assert set(sides.values()) == {1}
    result = tfrcnn("data", data, "--val", "0.25", "--val-images", tmp_path, *map(str, options))
    assert result.err.startswith("error: val 0.25 splits the training data: leave val_images out")


def test_the_page_shows_the_augmentation_of_the_options(tmp_path: Path, tfrcnn: Callable, coco: Callable) -> None:
    data, pages = coco(tmp_path / "data"), [tmp_path / "a.html", tmp_path / "b.html"]
    for page, settings in zip(pages, ([], ["--set", "training.vertical_flip=true", "--set", "training.mosaic=1"])):
        assert tfrcnn("data", data, "--model", "tiny_fpn", "--out", page, "--pictures", "0", *settings).code == 0
    texts = [page.read_text(encoding="utf-8") for page in pages]
    assert [("mosaic" in text, "vertical flip" in text) for text in texts] == [(False, False), (True, True)]
    for setting, message in (
        ("training.mosiac=1", "has no field 'mosiac'"),
        ("training.mosaic", "--set: expected FIELD=VALUE"),
        ("detector.anchors=auto", "--set: expected numbers for detector.anchors, found auto"),
    ):
        result = tfrcnn("data", data, "--model", "tiny_fpn", "--out", tmp_path / "c.html", "--set", setting)
        assert result.code == 2
        assert message in result.err


def test_data_and_doctor_take_the_network_of_a_published_name(
    tmp_path: Path, tfrcnn: Callable, coco: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tfrcnn.models import build

    monkeypatch.setattr(build, "anchor_strides", lambda config: (4, 8, 16, 32, 64))
    monkeypatch.setattr(report, "anchor_strides", lambda config: (4, 8, 16, 32, 64))
    monkeypatch.setenv("TFRCNN_CACHE", str(tmp_path / "none"))
    data, preset, numbers = coco(tmp_path / "data"), tmp_path / "fitted.json", tmp_path / "report.json"
    result = tfrcnn("doctor", "--data", data, "--model", "coco-resnet50", "--preset-out", preset)
    assert (result.code, result.err) == (0, "")
    assert json.loads(preset.read_text(encoding="utf-8"))["preset"] == "fasterrcnn_resnet50_fpn"
    options = ("--model", "coco-resnet50", "--out", tmp_path / "report.html", "--json", numbers, "--pictures", "0")
    assert tfrcnn("data", data, *options).code == 0
    assert json.loads(numbers.read_text(encoding="utf-8"))["preset"] == "fasterrcnn_resnet50_fpn"
    assert not (tmp_path / "none").exists()
