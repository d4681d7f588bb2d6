"""Publishing: a version appears whole, verified and under a new number, or not at all. These exports have no model."""

import json
import os
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tfrcnn.errors import InputError
from tfrcnn.export import ExportOptions, NotPublishedError, list_versions, publish, publishing, rollback
from tfrcnn.export.check.report import Report
from tfrcnn.export.serving.versions import newest_model

PASSED = Report("onnx", "float32", 3, 12, 1e-5, 1e-3, 0, 0, 12345678, 10.0, 20.0, None, None, ())


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[Report | Exception]:
    """Replace the export by one that writes a few bytes; each takes the first outcome of the list, PASSED if none."""
    outcomes: list[Report | Exception] = []

    def export(detector: Any, path: Path, options: ExportOptions, images: Any, check: bool) -> Report | None:
        if options.target.suffix:
            path.write_bytes(b"graph")
        else:
            (path / "variables").mkdir(parents=True)
            (path / "saved_model.pb").write_bytes(b"graph")
            (path / "variables" / "variables.index").write_bytes(b"weights")
        outcome = outcomes.pop(0) if outcomes else PASSED
        if isinstance(outcome, Exception):
            raise outcome
        if check:
            outcome.write(path)
        return outcome if check else None

    monkeypatch.setattr(publishing, "export", export)
    return outcomes


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_version_has_the_next_number_its_record_and_its_report(tmp_path: Path, exports: list) -> None:
    folder = tmp_path / "models" / "cells"
    first, second = (publish(None, folder, ExportOptions("saved_model")) for _ in range(2))
    assert (first.number, second.number) == (1, 2)
    assert [version.number for version in list_versions(folder)] == [1, 2]
    assert second.path == newest_model(folder) == folder / "2"
    files = ["report.json", "report.md", "saved_model.pb", "variables/variables.index", "version.json"]
    assert names(folder) == [f"{number}/{name}" for number in (1, 2) for name in files]
    assert (second.format, second.precision, second.verdict) == ("saved_model", "float32", "within tolerance")
    assert second.published.endswith("+00:00")
    assert json.loads((folder / "2" / "report.json").read_text())["detections"] == 12


def test_a_file_is_published_as_triton_expects_it_and_its_configuration_is_kept(tmp_path: Path, exports: list) -> None:
    version = publish(None, tmp_path, ExportOptions("onnx"))
    assert names(tmp_path) == ["1/model.onnx", "1/report.json", "1/report.md", "1/version.json", "config.pbtxt"]
    assert version.sha256 == sha256(b"graph").hexdigest()
    (tmp_path / "config.pbtxt").write_text("mine")
    publish(None, tmp_path, ExportOptions("onnx"))
    assert (tmp_path / "config.pbtxt").read_text() == "mine"


def test_servers_of_other_users_can_read_a_version(tmp_path: Path, exports: list) -> None:
    """The hidden folder is for its process alone, but the version is not."""
    for format in ("onnx", "saved_model"):
        version = publish(None, tmp_path / format, ExportOptions(format))
        assert all(path.stat().st_mode & 0o004 for path in [version.folder, *version.folder.rglob("*")])


def test_a_tflite_version_is_a_file(tmp_path: Path, exports: list) -> None:
    assert publish(None, tmp_path, ExportOptions("tflite", "float16")).path == tmp_path / "1" / "model.tflite"


def test_the_digest_of_a_saved_model_covers_its_weights_and_can_be_checked(tmp_path: Path, exports: list) -> None:
    version = publish(None, tmp_path, ExportOptions("saved_model"))
    command = "sha256sum saved_model.pb variables/variables.index | sha256sum"
    printed = subprocess.run(command, cwd=version.path, shell=True, capture_output=True, text=True, check=True).stdout
    assert version.sha256 == printed.split()[0]


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (replace(PASSED, faults=("boxes differ",)), "out of tolerance, and is not published: boxes differ"),
        (replace(PASSED, judged=False), "not judged, and is not published: there is no detection to compare"),
    ],
)
def test_a_version_that_fails_its_verification_is_not_published(
    tmp_path: Path, exports: list, outcome: Report, message: str
) -> None:
    publish(None, tmp_path, ExportOptions("onnx"))
    before = names(tmp_path)
    exports.append(outcome)
    with pytest.raises(NotPublishedError, match=message) as caught:
        publish(None, tmp_path, ExportOptions("onnx"))
    assert caught.value.report is outcome
    assert names(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_version_without_verification_says_so(tmp_path: Path, exports: list) -> None:
    assert publish(None, tmp_path, ExportOptions("onnx"), check=False).verdict == "not verified"


def test_an_error_amid_an_export_leaves_nothing(tmp_path: Path, exports: list) -> None:
    exports.append(OSError(28, "No space left on device"))
    with pytest.raises(OSError, match="No space left"):
        publish(None, tmp_path, ExportOptions("onnx"))
    assert list(tmp_path.iterdir()) == []


def test_another_format_in_the_folder_is_refused_before_any_work(tmp_path: Path, exports: list) -> None:
    publish(None, tmp_path, ExportOptions("onnx"))
    exports.append(AssertionError("exported"))
    with pytest.raises(InputError, match="publish tflite into another folder"):
        publish(None, tmp_path, ExportOptions("tflite"))


def test_publishers_at_once_get_a_number_each(tmp_path: Path, exports: list, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, barrier = publishing._stage, threading.Barrier(6)

    def together(*arguments: Any) -> Path:
        folder = stage(*arguments)
        barrier.wait(60)
        return folder

    monkeypatch.setattr(publishing, "_stage", together)
    with ThreadPoolExecutor(6) as threads:
        versions = list(threads.map(lambda _: publish(None, tmp_path, ExportOptions("onnx")), range(6)))
    assert sorted(version.number for version in versions) == [1, 2, 3, 4, 5, 6]
    assert all(len(list(version.folder.iterdir())) == 4 for version in versions)


def test_the_number_of_a_version_that_was_rolled_back_is_not_used_again(tmp_path: Path, exports: list) -> None:
    for _ in range(2):
        publish(None, tmp_path, ExportOptions("onnx"))
    assert rollback(tmp_path).number == 1
    assert publish(None, tmp_path, ExportOptions("onnx")).number == 3


def test_a_killed_publisher_leaves_nothing_that_a_server_loads(
    tmp_path: Path, exports: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed:
        killed.setattr(publishing.shutil, "rmtree", lambda *_, **__: None)  # a killed process cleans nothing up
        exports.append(RuntimeError("killed"))
        with pytest.raises(RuntimeError, match="killed"):
            publish(None, tmp_path, ExportOptions("saved_model"))
    (left,) = tmp_path.iterdir()
    assert (left / "model" / "saved_model.pb").is_file()
    assert (newest_model(tmp_path), list_versions(tmp_path)) == (None, [])
    assert publish(None, tmp_path, ExportOptions("saved_model")).number == 1
    assert left.is_dir()  # it may be of a process that still works
    day_before = time.time() - publishing.MAX_AGE - 60
    os.utime(left, (day_before, day_before))
    publish(None, tmp_path, ExportOptions("saved_model"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]


def test_a_version_is_on_the_disk_before_it_gets_its_number(
    tmp_path: Path, exports: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed, fsync = set(), os.fsync

    def note(descriptor: int) -> None:
        flushed.add(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        assert not (tmp_path / "1").exists() or flushed >= {"saved_model.pb", "variables", "variables.index"}
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    publish(None, tmp_path, ExportOptions("saved_model"))
    assert flushed >= {"saved_model.pb", "variables", "variables.index", "report.md", "version.json", tmp_path.name}
