"""`tfrcnn versions` and `tfrcnn export --publish`: what they print, and every way to misuse them."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras
import pytest

from tfrcnn.config import Category, DetectionConfig
from tfrcnn.export import publishing
from tfrcnn.export.check.report import Report
from tfrcnn.export.versions import list_versions
from tfrcnn.models import build_detector, preset, save_detector

from ..export.test_versions import RECORD


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Two published versions without content, and one that somebody copied there."""
    for number in (1, 2, 3):
        folder = tmp_path / "models" / str(number)
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(b"x" * 1_200_000)
        if number > 1:
            (folder / "version.json").write_text(json.dumps(RECORD))
    return tmp_path / "models"


def test_versions_are_listed_with_date_verdict_and_digest(tfrcnn: Callable, models: Path) -> None:
    head, *rows = tfrcnn("versions", models).out.splitlines()
    assert re.split("  +", head) == ["version", "published (UTC)", "verdict", "format", "precision", "sha256", "MB"]
    known = ["2026-11-29 21:40:12", "within tolerance", "onnx", "float16", "abababababab", "1.2"]
    assert [re.split("  +", row) for row in rows] == [
        ["1", "unknown", "unknown", "onnx", "unknown", "unknown", "1.2"],
        ["2", *known],
        ["3", *known, "newest"],
    ]


def test_a_rollback_says_which_version_is_served(tfrcnn: Callable, models: Path) -> None:
    result = tfrcnn("versions", models, "--rollback")
    assert result.code == 0
    assert result.out.startswith(f"Version 2 of {models} is the newest again.\n")
    assert [line.split("  ")[-1] for line in result.out.splitlines()[-2:]] == ["newest", "rolled back"]
    assert tfrcnn("versions", models, "--rollback").code == 0
    result = tfrcnn("versions", models, "--rollback")
    assert (result.code, len(result.err.splitlines())) == (2, 1)
    assert "expected two versions at least to roll back, found version 1 only" in result.err


def test_a_folder_without_versions_is_one_line(tfrcnn: Callable, tmp_path: Path) -> None:
    result = tfrcnn("versions", tmp_path)
    assert result.code == 2
    assert (
        result.err
        == f"error: {tmp_path}: expected a folder of versions (tfrcnn export --publish {tmp_path}), found none\n"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "expected one of --out PATH and --publish DIR, found neither"),
        ("--out a.onnx --publish models", "expected one of --out PATH and --publish DIR, found both"),
        ("--publish {models}/3/model.onnx", "expected a folder for versions, found a file"),
    ],
)
def test_a_place_to_write_is_named_once(tfrcnn: Callable, models: Path, options: str, message: str) -> None:
    result = tfrcnn("export", "--model", "run", "--format", "onnx", *options.format(models=models).split())
    assert (result.code, len(result.err.splitlines())) == (2, 1)
    assert message in result.err


def test_another_format_is_refused_before_the_detector_is_loaded(tfrcnn: Callable, models: Path) -> None:
    result = tfrcnn("export", "--model", "run", "--format", "saved_model", "--publish", models)
    assert result.code == 2
    assert "holds versions of format onnx: publish saved_model into another folder" in result.err


@pytest.mark.slow
def test_an_export_is_published_if_it_passes_and_only_then(
    tfrcnn: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keras.utils.set_random_seed(1)
    config = preset("tiny_fpn", (Category(1, "red"),)).detector
    detector = build_detector(config.replace(detections=DetectionConfig(score_threshold=0.0, max_detections=10)))
    save_detector(detector, tmp_path / "run")
    options = ("--model", tmp_path / "run", "--format", "saved_model", "--publish", tmp_path / "models")
    result = tfrcnn("export", *options)
    assert result.code == 0, result.err
    assert f"Version 1 of {tmp_path / 'models'} is published (within tolerance)." in result.out
    assert "| verdict | within tolerance |" in result.out
    report = Report("saved_model", "float32", 3, 12, 1e-5, 1e-3, 0, 0, 1, 10.0, 20.0, None, None, ())
    outcomes = [(replace(report, faults=("boxes differ",)), 1), (replace(report, judged=False), 3)]
    for failing, code in outcomes:
        monkeypatch.setattr(publishing, "export", lambda *_, failing=failing: failing)
        result = tfrcnn("export", *options)
        assert result.code == code
        assert "| verdict | " in result.out
        assert f"the new version is {failing.verdict}, and is not published: " in result.err
    assert [version.number for version in list_versions(tmp_path / "models")] == [1]
