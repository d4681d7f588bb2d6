"""Results at an address are written whole on this machine, then moved there."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import typer

from tfrcnn.buckets import transfers
from tfrcnn.cli.main import main
from tfrcnn.cli.sending import sending
from tfrcnn.errors import InputError
from tfrcnn.export.versions import check_folder
from tfrcnn.models import save_detector

from ..data import test_coco_folder as coco
from .conftest import BUCKET


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers, "_WAITS", (0.0,))


def write(out: Path, json: Path | None = None, resume: bool = False, code: int = 0) -> None:
    """Write a SavedModel and a report."""
    for name in ("saved_model.pb", "variables/index", ".part.tmp"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(name)
    out.with_name(f"{out.name}.report.md").write_text("report")
    print(f"The model is {out}, its report {out}.report.md.")
    if json is not None:
        json.parent.mkdir(parents=True, exist_ok=True)
        json.write_text("{}")
    if code:
        raise typer.Exit(code)


@pytest.mark.parametrize("code", [0, 3])
def test_results_are_moved_to_the_bucket_also_with_a_verdict(code: int, bucket: Any, cache: Path, capsys: Any) -> None:
    command = partial(sending(write, "out", "json"), out=Path(f"{BUCKET}/cells"), json=Path(f"{BUCKET}/a.json"))
    if code:
        with pytest.raises(typer.Exit):
            command(code=code)
    else:
        command()
    names = ["cells/saved_model.pb", "cells/variables/index", "cells.report.md"]
    assert sorted(bucket.find("/bucket")) == sorted(f"/bucket/{name}" for name in ["a.json", *names])
    assert capsys.readouterr().out.splitlines() == [
        f"The model is {BUCKET}/cells, its report {BUCKET}/cells.report.md.",
        *(f"{BUCKET}/{name} is written." for name in ("cells", "cells.report.md", "a.json")),
    ]
    assert list((cache / "results").rglob("*")) == []


def test_a_model_is_sent_after_its_other_files(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    monkeypatch.setattr(transfers, "send_file", lambda remote, path, target: names.append(path.name))
    write(tmp_path / "cells")
    transfers.send_folder(transfers.writable(f"{BUCKET}/cells"), tmp_path)
    assert names == ["index", "saved_model.pb", "cells.report.md"]


def test_results_that_cannot_be_sent_stay_here_and_the_error_says_where(
    bucket: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise PermissionError("Forbidden")

    monkeypatch.setattr(type(bucket), "put_file", fail)
    with pytest.raises(InputError, match=r"cannot be written: Forbidden.*; the whole result is in .*/out/cells: copy"):
        sending(write, "out")(out=Path(f"{BUCKET}/cells"))
    assert len(list((cache / "results").rglob("saved_model.pb"))) == 1


def test_something_that_is_there_is_not_replaced_by_a_command_that_wants_a_new_path(bucket: Any) -> None:
    bucket.pipe("/bucket/cells/a", b"1")
    with pytest.raises(InputError, match=f"{BUCKET}/cells: expected a new path, found something there"):
        sending(write, "out", new=True)(out=Path(f"{BUCKET}/cells"))


def test_what_needs_a_folder_here_is_refused_before_any_work(bucket: Any) -> None:
    with pytest.raises(InputError, match="--resume: expected a folder on this machine as --out, found an address"):
        sending(write, "out")(out=Path(f"{BUCKET}/cells"), resume=True)
    with pytest.raises(InputError, match=r"https://host/a\.json: expected a path on this machine or in a bucket"):
        sending(write, "out")(out=Path("https://host/a.json"))


def test_a_path_here_is_written_as_it_is(tmp_path: Path) -> None:
    sending(write, "out")(out=tmp_path / "cells")
    assert (tmp_path / "cells" / "saved_model.pb").is_file()


@pytest.mark.parametrize("write", [lambda path: check_folder(path, "onnx"), lambda path: save_detector(None, path)])
def test_versions_and_detectors_of_python_are_not_written_to_a_folder_that_is_called_s3(
    write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^s3://bucket/cells: expected a (folder|path) on this machine"):
        write(Path("s3://bucket/cells"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_commands_write_to_a_bucket(bucket: Any, tmp_path: Path, capsys: Any) -> None:
    coco.write(tmp_path / "cells" / "a.json", tmp_path / "cells" / "images", "a.jpg")
    data = ["--data", f"{tmp_path}/cells/a.json"]
    assert main(["doctor", *data, "--model", "tiny_fpn", "--json", f"{BUCKET}/report.json"]) == 0
    assert main(["convert", *data, "--to", "coco", "--out", f"{BUCKET}/converted"]) == 0
    assert f"tfrcnn train --train {BUCKET}/converted/annotations/" in capsys.readouterr().out
    assert bucket.exists("/bucket/report.json")
    assert len(bucket.find("/bucket/converted")) == 2
    assert main(["convert", *data, "--to", "coco", "--out", f"{BUCKET}/converted"]) == 2
    assert f"error: {BUCKET}/converted: expected a new path" in capsys.readouterr().err
