"""The parts of a DATA argument, and the choice of its format."""

from pathlib import Path

import pytest
from PIL import Image

from tfrcnn.data.formats import absolute, exists, looks_complete, place_of


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        ("cells", ("", "cells", None)),
        ("cells@train", ("", "cells", "train")),
        ("cells@", ("", "cells", "")),
        ("yolo:cells/data.yaml@val", ("yolo", "cells/data.yaml", "val")),
        ("c:/cells", ("", "c:/cells", None)),
        ("me@home/cells@train", ("", "me@home/cells", "train")),
    ],
)
def test_data_has_a_prefix_a_path_and_a_split(data: str, parts: tuple[str, str, str | None]) -> None:
    assert place_of(data) == parts


def test_path_that_exists_may_look_like_a_prefix_or_a_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("voc:cells", "cells@home"):
        Path(name).mkdir()
        assert place_of(name) == ("", name, None)
    assert place_of("cells@home@train") == ("", "cells@home", "train")


def test_paths_are_made_absolute_behind_the_prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("yolo:cells@train") == f"yolo:{tmp_path}/cells@train"
    assert absolute("../cells/train.json") == f"{tmp_path.parent}/cells/train.json"


def test_data_exists_if_a_format_reads_it(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg")
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.1 0.1")
    assert exists(str(tmp_path))
    assert exists(f"yolo:{tmp_path}")
    assert not exists(f"voc:{tmp_path}")
    assert not exists(f"{tmp_path}@train")


def test_data_that_looks_complete_ends_like_a_format() -> None:
    assert all(map(looks_complete, ("a.json", "a/data.YAML", "a@train")))
    assert not looks_complete("a")
