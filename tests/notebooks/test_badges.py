"""Badges for Colab and Binder: added on request for a repository, in both languages, once."""

import importlib.util
import shutil
import sys
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
NAME = "01_pyramids"


@pytest.fixture
def badges(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location("badges", FOLDER / "badges.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("korean", None)


@pytest.fixture
def notebook(tmp_path):
    """Return a copy of one notebook, with its Korean text next to it."""
    (tmp_path / "ko").mkdir()
    shutil.copy(FOLDER / f"ko/{NAME}.md", tmp_path / "ko")
    return Path(shutil.copy(FOLDER / f"{NAME}.ipynb", tmp_path))


def first_cells(badges, path):
    """Return the first cell in English and Korean, and check that the Korean is up to date."""
    english = nbformat.read(path, as_version=4).cells[0].source
    _, stamp, korean = badges.korean.blocks((path.parent / f"ko/{NAME}.md").read_text(encoding="utf-8"))[0]
    assert stamp == badges.korean.digest(english)
    return english, korean


def test_badges_open_the_notebook_in_both_services(badges, notebook):
    badges.add(notebook, "someone/tfrcnn", "main")
    for text in first_cells(badges, notebook):
        assert f"https://colab.research.google.com/github/someone/tfrcnn/blob/main/notebooks/{NAME}.ipynb" in text
        assert f"https://mybinder.org/v2/gh/someone/tfrcnn/main?labpath=notebooks/{NAME}.ipynb" in text
        assert "git clone https://github.com/someone/tfrcnn && pip install './tfrcnn[notebooks]'" in text


def test_another_address_replaces_the_badges_and_all_else_stays(badges, notebook):
    before = first_cells(badges, notebook), nbformat.read(notebook, as_version=4).cells[1:]
    badges.add(notebook, "someone/tfrcnn", "main")
    badges.add(notebook, "another/copy", "dev")
    after = first_cells(badges, notebook)
    for old, new in zip(before[0], after):
        assert new.startswith(old)
        assert "someone" not in new
        assert new.count("another/copy") == 3
    assert nbformat.read(notebook, as_version=4).cells[1:] == before[1]


def test_an_address_that_is_no_repository_is_refused(badges, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["badges.py", "https://github.com/someone/tfrcnn"])
    with pytest.raises(SystemExit):
        badges.main()
    assert "expected OWNER/NAME" in capsys.readouterr().err


def test_binder_installs_the_package_with_the_notebooks():
    lines = (FOLDER.parent / "binder/requirements.txt").read_text(encoding="utf-8").splitlines()
    assert any(line.startswith(".[notebooks") for line in lines)
