"""The Korean texts translate the notebooks cell by cell, and none is older than its English."""

import importlib.util
import json
import re
from functools import cache
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
SPEC = importlib.util.spec_from_file_location("korean", FOLDER / "korean.py")
korean = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(korean)

each = pytest.mark.parametrize("path", sorted(FOLDER.glob("ko/*.md")), ids=lambda path: path.stem)
HANGUL = re.compile(r"[\uac00-\ud7a3]")
EQUATION = re.compile(r"\$\$.*?\$\$", re.DOTALL)
WORDS = re.compile(r"\\text\{[^}]*\}|\s")  # words inside an equation may be Korean
LINK = re.compile(r"\]\(([^)]+)\)")


@cache
def pairs(path):
    """Return the English and the Korean of each cell, and the hash that the Korean names."""
    cells = json.loads((FOLDER / f"{path.stem}.ipynb").read_text(encoding="utf-8"))["cells"]
    english = {cell["id"]: "".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"}
    blocks = korean.blocks(path.read_text(encoding="utf-8"))
    assert [cell for cell, _, _ in blocks] == list(english)
    return [(english[cell], text, stamp) for cell, stamp, text in blocks]


def equations(text):
    return [WORDS.sub("", equation) for equation in EQUATION.findall(text)]


@each
def test_every_cell_has_its_korean_in_the_same_order(path):
    assert [text for _, text, _ in pairs(path) if not HANGUL.search(text)] == []


@each
def test_the_korean_is_of_the_english_as_it_is(path):
    """After a change of the English: translate the cell, then run `python notebooks/korean.py --stamp NAME`."""
    assert [text[:60] for english, text, stamp in pairs(path) if stamp != korean.digest(english)] == []


@each
def test_equations_and_links_are_the_same_in_both(path):
    for english, text, _ in pairs(path):
        assert equations(english) == equations(text)
        assert LINK.findall(english) == LINK.findall(text)


@each
def test_code_and_choices_of_an_exercise_are_the_same_in_both(path):
    english, text, _ = pairs(path)[-1]
    assert set(re.findall(r"`([^`]+)`", english)) == set(re.findall(r"`([^`]+)`", text))
    assert re.findall(r"\([ABC]\)|\*\*\d+[abc]\.", english) == re.findall(r"\([ABC]\)|\*\*\d+[abc]\.", text)


def test_a_changed_cell_is_noticed_and_a_stamp_accepts_it():
    cell = nbformat.v4.new_markdown_cell("An anchor.", id="cell-01")
    notebook = nbformat.v4.new_notebook(cells=[cell])
    text = korean.stamped(notebook, "<!-- cell-01 0 -->\n앵커입니다.\n")
    assert korean.blocks(text) == [("cell-01", korean.digest("An anchor."), "앵커입니다.")]
    cell.source = "An anchor box."
    assert korean.blocks(text)[0][1] != korean.digest(cell.source)
    assert korean.translated(notebook, text, {}).cells[0].source == "앵커입니다."


def test_the_korean_notebook_has_a_caption_below_each_picture():
    cells = [nbformat.v4.new_markdown_cell("An anchor.", id="a"), nbformat.v4.new_code_cell("draw()", id="b")]
    text = "<!-- a 0 -->\n앵커입니다.\n"
    notebook = korean.translated(nbformat.v4.new_notebook(cells=cells), text, {"b": "가로축: x."})
    assert [(cell.id, cell.source) for cell in notebook.cells] == [
        ("a", "앵커입니다."),
        ("b", "draw()"),
        ("b-caption", "*가로축: x.*"),
    ]
    nbformat.validate(notebook)
