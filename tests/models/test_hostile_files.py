"""Files of a run and presets that nobody would write: each is one line that names the file and the field."""

import json
import re
import runpy
from pathlib import Path

import pytest

from tfrcnn.config import Category
from tfrcnn.errors import InputError
from tfrcnn.models import load_detector, preset
from tfrcnn.models.build import CONFIG, FORMAT, read_description
from tfrcnn.models.presets import preset_of_run
from tfrcnn.training.folder import SETUP, read_setup

ROBUSTNESS = Path(__file__).resolve().parents[2] / "benchmarks/robustness"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "x.weights.h5").touch()
    return tmp_path / "run"


def write(folder, **changes):
    detector = preset("tiny_fpn", (Category(1, "cat"),)).detector.to_dict()
    content = {"format": FORMAT, "weights": "a.weights.h5", "detector": detector, "extra": {}}
    (folder / CONFIG).write_text(json.dumps({**content, **changes}), encoding="utf-8")


def refusal(read, path):
    with pytest.raises(InputError) as caught:
        read()
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    "weights",
    [
        5,
        5.5,
        None,
        ["a"],
        {},
        "",
        ".",
        "..",
        "../x.weights.h5",
        "/etc/passwd",
        "a/b",
        "a\0b",
        "\ud800",
        True,
        "x" * 300,
    ],
)
def test_weights_that_are_no_file_in_the_folder_are_refused(folder, weights):
    write(folder, weights=weights)
    with pytest.raises(InputError, match=r"no such file next to it|weights must be the name of a file") as caught:
        load_detector(folder)
    assert str(folder / CONFIG) in str(caught.value)


def test_weights_through_a_link_out_of_the_folder_are_refused(folder):
    (folder / "a.weights.h5").symlink_to("../x.weights.h5")
    write(folder)
    assert "a link out of it" in refusal(lambda: load_detector(folder), folder / CONFIG)


def test_weights_that_are_a_loop_of_links_are_refused(folder):
    (folder / "a.weights.h5").symlink_to("a.weights.h5")
    write(folder)
    refusal(lambda: load_detector(folder), folder / CONFIG)


def test_a_folder_that_is_a_link_is_read(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    (folder / "a.weights.h5").touch()
    write(folder)
    assert read_description(tmp_path / "link")["weights"] == "a.weights.h5"


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [
        ("head", "units", [10**9]),
        ("head", "pool_size", 10**5),
        ("detections", "max_detections", 10**9),
        ("backbone", "name", 3),
    ],
)
def test_a_field_of_a_run_folder_is_named_with_its_file(folder, part, field, value):
    write(folder)
    content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    content["detector"][part][field] = value
    (folder / CONFIG).write_text(json.dumps(content), encoding="utf-8")
    assert f".{field}" in refusal(lambda: load_detector(folder), folder / CONFIG)
    assert f".{field}" in refusal(lambda: preset_of_run(folder), folder / CONFIG)


@pytest.mark.parametrize("value", [10**400, float("nan")])
def test_a_number_that_no_float_holds_is_named_with_its_file(folder, value):
    write(folder)
    content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    content["detector"]["image"]["mean"][0] = value
    (folder / CONFIG).write_text(json.dumps(content), encoding="utf-8")
    assert "expected finite numbers" in refusal(lambda: load_detector(folder), folder / CONFIG)


@pytest.mark.parametrize("changes", [{"detector": 3}, {"detector": []}, {"extra": 1}, {"extra": {"training": 7}}])
def test_parts_of_another_type_are_refused(folder, changes):
    write(folder, **changes)
    assert "must be an object" in refusal(lambda: preset_of_run(folder), folder / CONFIG)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format": ' + "9" * 5000 + "}"])
def test_json_that_python_cannot_read_is_refused(folder, text):
    (folder / CONFIG).write_text(text, encoding="utf-8")
    assert "not JSON" in refusal(lambda: load_detector(folder), folder / CONFIG)


@pytest.mark.parametrize("content", [[], 3, {"format": 2}, {"format": 2, "train": 1, "training": {"epochs": 10**12}}])
def test_a_damaged_training_json_is_refused(folder, content):
    (folder / SETUP).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(str(folder / SETUP))):
        read_setup(folder)


@pytest.mark.slow
@pytest.mark.parametrize(("program", "options"), [("config", (1500, 1, 1)), ("checkpoint", (1500, 1))])
def test_no_mutated_file_escapes(program, options, monkeypatch):
    monkeypatch.syspath_prepend(str(ROBUSTNESS))
    counts, escapes = runpy.run_path(str(ROBUSTNESS / f"{program}.py"))["fuzz"](*options)
    assert escapes == []
    assert sum(counts.values()) > 1400
