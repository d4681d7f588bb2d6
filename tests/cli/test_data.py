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
