"""The notebooks in Korean: the texts of notebooks/ko in place of the English cells.

    python notebooks/korean.py                 # writes runs/ko/NN_NAME.ipynb for each text
    python notebooks/korean.py --stamp NAME    # after a translation: records the English that it translates

A text has one block per markdown cell. Each block begins with the cell's id and a hash of the English:

    <!-- cell-03 0f3a5c7e -->

The tests compare the hashes, so an English cell that changes asks for a new translation.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path

import nbformat

FOLDER = Path(__file__).resolve().parent
BLOCK = re.compile(r"^<!-- (\S+) (\w+) -->\n(.*?)(?=^<!-- \S+ \w+ -->$|\Z)", re.MULTILINE | re.DOTALL)


def digest(english: str) -> str:
    """Return a hash of an English cell."""
    return hashlib.sha256(english.encode()).hexdigest()[:8]


def blocks(text: str) -> list[tuple[str, str, str]]:
    """Split a text: cell id, hash of the English, Korean."""
    return [(cell, stamp, korean.strip()) for cell, stamp, korean in BLOCK.findall(text)]


def translated(notebook: nbformat.NotebookNode, text: str, captions: dict[str, str]) -> nbformat.NotebookNode:
    """Replace the markdown cells of a notebook by their Korean, and add captions, in place.

    Args:
        notebook: in English.
        text: the Korean text.
        captions: the Korean captions of pictures, by cell id. Each becomes a cell below its picture.
    """
    korean, cells = {cell: text for cell, _, text in blocks(text)}, []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = korean[cell.id]
        cells.append(cell)
        if cell.id in captions:
            cells.append(nbformat.v4.new_markdown_cell(f"*{captions[cell.id]}*", id=f"{cell.id}-caption"))
    notebook.cells = cells
    return notebook


def stamped(notebook: nbformat.NotebookNode, text: str) -> str:
    """Return a text with the hashes of the English cells as they are."""
    english = {cell.id: cell.source for cell in notebook.cells}
    parts = [f"<!-- {cell} {digest(english[cell])} -->\n{korean}\n" for cell, _, korean in blocks(text)]
    return "\n".join(parts)


def main(arguments: list[str]) -> None:
    """Write the Korean notebooks, or stamp the named text."""
    out = FOLDER / "runs/ko"
    names = arguments[1:] if arguments[:1] == ["--stamp"] else sorted(path.stem for path in FOLDER.glob("ko/*.md"))
    for name in names:
        path = FOLDER / f"ko/{name}.md"
        notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
        text = path.read_text(encoding="utf-8")
        if arguments:
            path.write_text(stamped(notebook, text), encoding="utf-8")
        else:
            out.mkdir(parents=True, exist_ok=True)
            captions = json.loads((FOLDER / f"captions/{name}.json").read_text(encoding="utf-8"))
            below = {cell: caption for cell, (_, caption) in captions.items()}
            nbformat.write(translated(notebook, text, below), out / f"{name}.ipynb")
            print(out / f"{name}.ipynb")


if __name__ == "__main__":
    main(sys.argv[1:])
