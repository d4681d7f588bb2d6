"""Versions on disk: they are listed, the newest is taken back, and servers ignore everything else."""

import json
from pathlib import Path

import pytest

from tfrcnn.errors import InputError
from tfrcnn.export.serving.versions import is_number, newest_model, version_of
from tfrcnn.export.versions import PREFIX, ROLLED_BACK, Version, check_folder, list_versions, rollback

RECORD = {
    "published": "2026-11-29T21:40:12+00:00",
    "format": "onnx",
    "precision": "float16",
    "verdict": "within tolerance",
    "sha256": "ab" * 32,
}


def add(folder: Path, name: str, model: str = "model.onnx", **record: str) -> Path:
    """Write a version without content."""
    (folder / name).mkdir(parents=True)
    (folder / name / model).write_bytes(b"x")
    if record:
        (folder / name / "version.json").write_text(json.dumps(record))
    return folder / name


def test_versions_are_listed_by_their_numbers_with_what_is_known_of_them(tmp_path: Path) -> None:
    for name in ("10", "9"):
        add(tmp_path, name, **RECORD)
    add(tmp_path, f"{ROLLED_BACK}11", **RECORD)
    add(tmp_path, "2", "saved_model.pb")
    (tmp_path / "12").mkdir()  # a copy that is not complete
    two, nine, ten, eleven = list_versions(tmp_path)
    assert two == Version(2, tmp_path / "2", format="saved_model", size_bytes=1)
    assert (nine.number, ten.number, eleven.number) == (9, 10, 11)
    assert [version.rolled_back for version in (nine, ten, eleven)] == [False, False, True]
    assert (ten.path, ten.folder) == (tmp_path / "10" / "model.onnx", tmp_path / "10")
    assert {name: getattr(ten, name) for name in RECORD} == RECORD
    assert list_versions(tmp_path / "none") == []


@pytest.mark.parametrize("name", [f"{PREFIX}1x.tmp", f"{ROLLED_BACK}7", "7.part", "-7", "\u0667", "\u00b2", "7 "])
def test_servers_ignore_names_that_are_no_numbers(tmp_path: Path, name: str) -> None:
    add(tmp_path, name, "saved_model.pb")
    add(tmp_path, name + "_")
    assert newest_model(tmp_path) is None
    add(tmp_path, "3")
    assert newest_model(tmp_path) == tmp_path / "3" / "model.onnx"


def test_triton_reads_none_of_our_other_names_as_a_number() -> None:
    """It takes the digits that a name starts with: 4.old is version 4."""
    assert not [name for name in (PREFIX, ROLLED_BACK) if is_number(name[0])]


@pytest.mark.parametrize(
    ("path", "version"),
    [("models/3", "3"), ("models/007", "7"), ("models/3/model.onnx", "3"), ("3/cells.onnx", "1"), ("cells", "1")],
)
def test_the_version_of_a_model_is_the_number_of_its_folder(path: str, version: str) -> None:
    assert version_of(Path(path)) == version


def test_a_rollback_makes_the_version_before_the_newest_and_keeps_the_other(tmp_path: Path) -> None:
    for name in ("1", "2", "10"):
        add(tmp_path, name, **RECORD)
    assert rollback(tmp_path).number == 2
    assert newest_model(tmp_path) == tmp_path / "2" / "model.onnx"
    assert (tmp_path / f"{ROLLED_BACK}10" / "model.onnx").is_file()
    assert rollback(tmp_path).number == 1
    with pytest.raises(InputError, match="two versions at least to roll back, found version 1 only"):
        rollback(tmp_path)
    assert newest_model(tmp_path) == tmp_path / "1" / "model.onnx"


def test_without_versions_there_is_nothing_to_roll_back(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found no version"):
        rollback(tmp_path / "none")


def test_two_rollbacks_at_once_take_back_one_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("1", "2", "3"):
        add(tmp_path, name)
    rename = Path.rename

    def late(path: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "rename", rename)
        rollback(tmp_path)  # another process is faster
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", late)
    with pytest.raises(InputError, match="another process has rolled it back"):
        rollback(tmp_path)
    assert newest_model(tmp_path) == tmp_path / "2" / "model.onnx"


def test_a_record_that_is_damaged_is_named(tmp_path: Path) -> None:
    (add(tmp_path, "1", **RECORD) / "version.json").write_text("{")
    with pytest.raises(InputError, match=r"1/version\.json: not JSON"):
        list_versions(tmp_path)


def test_a_folder_that_holds_something_else_takes_no_versions(tmp_path: Path) -> None:
    for name, content in (("saved_model.pb", "a SavedModel"), ("config.json", "a run folder")):
        (tmp_path / content).mkdir()
        (tmp_path / content / name).touch()
        with pytest.raises(InputError, match=f"expected a folder for versions, found {content}"):
            check_folder(tmp_path / content, "onnx")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="found a file"):
        check_folder(tmp_path / "file", "onnx")
    add(tmp_path / "cells", "1")
    with pytest.raises(InputError, match="holds versions of format onnx: publish saved_model into another folder"):
        check_folder(tmp_path / "cells", "saved_model")
    check_folder(tmp_path / "cells", "onnx")
    check_folder(tmp_path / "new", "onnx")


def test_versions_in_a_bucket_are_not_taken_for_none() -> None:
    for read in (list_versions, rollback):
        with pytest.raises(InputError, match=r"^s3://bucket/cells: expected a folder of versions on this machine"):
            read("s3://bucket/cells")
