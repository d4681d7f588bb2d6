"""The source code that the notebooks show is the library's code as it is, and stored results name their program."""

import importlib.util
import json
import re
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "notebooks"
SPEC = importlib.util.spec_from_file_location("sources", FOLDER / "sources.py")
sources = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(sources)

each = pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)


@each
def test_the_code_that_a_notebook_shows_is_that_of_the_library(path, monkeypatch):
    """After a change of that code: `python notebooks/sources.py` stores it."""
    monkeypatch.syspath_prepend(str(FOLDER))
    notebook = nbformat.read(path, as_version=4)
    assert [cell.source for cell, _ in sources.stale(notebook)] == []


def test_code_that_has_changed_is_noticed_and_other_cells_are_not():
    output = nbformat.v4.new_output("display_data", {"text/plain": "def stale(): pass"})
    cells = [
        nbformat.v4.new_code_cell("%matplotlib inline\nimport textwrap\nx = 1"),
        nbformat.v4.new_code_cell('Code(inspect.getsource(textwrap.dedent), language="python")', outputs=[output]),
        nbformat.v4.new_code_cell("print(textwrap)"),
    ]
    changed = list(sources.stale(nbformat.v4.new_notebook(cells=cells)))
    assert [cell is cells[1] for cell, _ in changed] == [True]
    assert changed[0][1].startswith("def dedent(text):")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("measured/*.json")), ids=lambda path: path.stem)
def test_a_stored_result_is_used_and_a_program_computes_it(path):
    json.loads(path.read_text(encoding="utf-8"))
    program = (ROOT / f"benchmarks/paper/{path.stem}.py").read_text(encoding="utf-8")
    assert f"--out notebooks/measured/{path.name}" in program
    users = [
        p for p in FOLDER.glob("*.ipynb") if re.search(rf'stored\(\\"{path.stem}\\"\)', p.read_text(encoding="utf-8"))
    ]
    assert users
