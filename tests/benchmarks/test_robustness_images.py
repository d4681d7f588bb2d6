"""The fuzzer of image files, with few files: what the doctor passes is what training decodes."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def images(program: Callable[[str], ModuleType]) -> ModuleType:
    return program("images")


def test_whole_files_are_read(images: ModuleType, tmp_path: Path) -> None:
    for kind, files in images.seeds().items():
        for data in files:
            (tmp_path / "a").write_bytes(data)
            assert images.compare(tmp_path / "a") == "read", kind


def test_the_doctor_passes_a_damaged_file_if_and_only_if_training_decodes_it(images: ModuleType) -> None:
    for kind, counts in images.run(count=25, seed=1).items():
        assert [counts[name] for name in images.ESCAPES] == [0, 0, 0, 0], kind
        assert counts["read"]
        assert counts["refused"]


def test_an_escape_would_be_counted(images: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"no image")
    monkeypatch.setattr(images, "doctor", lambda path: images.ImageHeader("PNG", (1, 1), 1))
    assert images.compare(tmp_path / "a") == "passes doctor only"
    (tmp_path / "a").write_bytes(images.seeds()["PNG"][0])
    monkeypatch.setattr(images, "doctor", lambda path: None)
    assert images.compare(tmp_path / "a") == "passes pipeline only"
    monkeypatch.setattr(images, "doctor", lambda path: 1 / 0)
    assert images.compare(tmp_path / "a") == "other error"
