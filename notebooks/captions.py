"""The captions of the notebooks' pictures, in English and Korean.

    python notebooks/captions.py        # stores the English as the alternative texts of the pictures

`captions/NAME.json` has one entry per cell that shows a picture: its id, the English and the Korean. The Korean names
the axes too, since their titles in the pictures are English.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import nbformat

FOLDER = Path(__file__).resolve().parent / "captions"
PICTURES = ("image/png", "image/jpeg", "image/gif")


class Caption(NamedTuple):
    """What a picture shows.

    Attributes:
        en: in English.
        ko: in Korean.
    """

    en: str
    ko: str


NONE = Caption("", "")


def of(name: str) -> dict[str, Caption]:
    """Read the captions of a notebook, by cell id."""
    path = FOLDER / f"{name}.json"
    entries = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {cell: Caption(*texts) for cell, texts in entries.items()}


def describe(notebook: nbformat.NotebookNode, texts: dict[str, str]) -> None:
    """Set the alternative text of a notebook's pictures, in place.

    Args:
        notebook: with its outputs.
        texts: by cell id.
    """
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            kinds = [kind for kind in PICTURES if kind in output.get("data", {})]
            if kinds and cell.id in texts:
                output.metadata = {kind: {"alt": texts[cell.id]} for kind in kinds}


def main() -> None:
    """Store the alternative texts in all notebooks."""
    for path in sorted(FOLDER.parent.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        describe(notebook, {cell: caption.en for cell, caption in of(path.stem).items()})
        nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
