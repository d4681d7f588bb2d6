"""`tfrcnn fetch` with archives that are already in the folder."""

import hashlib
import re
import shlex
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from tfrcnn.cli import options
from tfrcnn.data import fetch
from tfrcnn.data.download import RemoteFile
from tfrcnn.data.read import read_dataset


@pytest.fixture
def brought(tmp_path: Path, coco: Callable, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with archives like COCO's, and a matching `DATASETS`."""
    files = []
    for name in ("train2017", "val2017"):
        annotations = coco(tmp_path / name, f"instances_{name}.json")
        members = {annotations: "annotations", **dict.fromkeys((tmp_path / name).glob("*.png"), name)}
        archive = tmp_path / "data" / f"{name}.zip"
        archive.parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(archive, "w") as content:
            for path, folder in members.items():
                content.write(path, f"{folder}/{path.name}")
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        files.append(RemoteFile(f"http://127.0.0.1:9/{name}.zip", archive.stat().st_size, f"sha256:{digest}"))
    source = fetch.DATASETS["coco2017"]
    changed = fetch.Source("coco2017", tuple(files), 1, source.inside, source.home, source.train, source.val)
    monkeypatch.setitem(fetch.DATASETS, "coco2017", changed)
    return tmp_path / "data"


def test_fetch_says_what_it_does_and_ends_with_a_command_to_train(brought: Path, tfrcnn: Callable) -> None:
    result = tfrcnn("fetch", "coco2017", "--out", brought)
    assert result.code == 0, result.err
    assert re.search(r"coco2017 goes to .*/data/coco2017:\n  http.*train2017.zip: there already\n", result.out)
    assert re.search(r"train: 4 images, 8 boxes, 2 categories \(.*/instances_train2017.json\)\nval: 4 ", result.out)
    command = shlex.split(result.out.splitlines()[-1])
    assert command[:2] == ["tfrcnn", "train"]
    options = dict(zip(command[2::2], command[3::2]))
    assert set(options) == {"--train", "--images", "--val", "--val-images", "--model", "--out"}
    assert len(read_dataset(options["--val"], options["--val-images"])[0]) == 4
    again = tfrcnn("fetch", "coco2017", "--out", brought)
    assert (again.code, again.out) == (2, "")
    assert re.fullmatch(r"error: .*/data/coco2017 exists: .*\n", again.err)


def test_an_archive_that_is_not_the_published_one_is_one_line(brought: Path, tfrcnn: Callable) -> None:
    content = (brought / "val2017.zip").read_bytes()
    (brought / "val2017.zip").write_bytes(content[:-1] + b"x")
    result = tfrcnn("fetch", "coco2017", "--out", brought)
    assert result.code == 2
    assert re.fullmatch(r"error: .*val2017.zip: expected the sha256 .*, found .*", result.err.splitlines()[-1])
    assert not (brought / "coco2017").exists()


def test_no_connection_is_one_line(brought: Path, tfrcnn: Callable) -> None:
    (brought / "val2017.zip").unlink()
    result = tfrcnn("fetch", "coco2017", "--out", brought)
    assert result.code == 2
    assert re.fullmatch(r"error: 127.0.0.1 cannot be reached .*", result.err.splitlines()[-1])


def test_the_options_name_the_data_sets_of_the_library() -> None:
    assert get_args(options.FetchedDataset) == tuple(fetch.DATASETS)
