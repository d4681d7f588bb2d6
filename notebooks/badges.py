"""Adds badges to the notebooks that open them in Colab and Binder, for your copy of the repository on GitHub.

    python notebooks/badges.py OWNER/NAME [--branch main]

Both services read a notebook from a public repository, so the badges need its address. They stand at the end of the
first cell, in English and Korean. Run it again to change the address.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import korean
import nbformat

FOLDER = Path(__file__).resolve().parent
MARK = "[![Open in Colab]"
SETUP = {
    "en": "In Colab, first run `!git clone https://github.com/{repository} && pip install './{name}[notebooks]'` and "
    "`%cd {name}/notebooks`.",
    "ko": "Colab에서는 먼저 `!git clone https://github.com/{repository} && pip install './{name}[notebooks]'`와 "
    "`%cd {name}/notebooks`를 실행하세요.",
}


def badges(stem: str, repository: str, branch: str, language: str) -> str:
    """Return the badges of a notebook as one paragraph.

    Args:
        stem: name of the notebook without its suffix.
        repository: OWNER/NAME on GitHub.
        branch: branch with the notebooks.
        language: "en" or "ko", of the text after the badges.
    """
    colab = f"https://colab.research.google.com/github/{repository}/blob/{branch}/notebooks/{stem}.ipynb"
    binder = f"https://mybinder.org/v2/gh/{repository}/{branch}?labpath=notebooks/{stem}.ipynb"
    setup = SETUP[language].format(repository=repository, name=repository.partition("/")[2])
    return (
        f"{MARK}(https://colab.research.google.com/assets/colab-badge.svg)]({colab}) "
        f"[![Open in Binder](https://mybinder.org/badge_logo.svg)]({binder}) {setup}"
    )


def with_badges(text: str, paragraph: str) -> str:
    """Return a first cell with badges at its end, in place of those that it has."""
    return "\n\n".join([*(part for part in text.split("\n\n") if not part.startswith(MARK)), paragraph])


def add(path: Path, repository: str, branch: str) -> None:
    """Add badges to a notebook and to its Korean text."""
    notebook = nbformat.read(path, as_version=4)
    first = notebook.cells[0]
    first.source = with_badges(first.source, badges(path.stem, repository, branch, "en"))
    nbformat.write(notebook, path)
    text = path.parent / f"ko/{path.stem}.md"
    (cell, stamp, translation), *rest = korean.blocks(text.read_text(encoding="utf-8"))
    translation = with_badges(translation, badges(path.stem, repository, branch, "ko"))
    blocks = [(cell, stamp, translation), *rest]
    joined = "\n".join(f"<!-- {cell} {stamp} -->\n{korean_text}\n" for cell, stamp, korean_text in blocks)
    text.write_text(korean.stamped(notebook, joined), encoding="utf-8")


def main() -> None:
    """Add badges to all notebooks."""
    parser = argparse.ArgumentParser(description="Add badges for Colab and Binder to the notebooks.")
    parser.add_argument("repository", metavar="OWNER/NAME", help="your repository on GitHub")
    parser.add_argument("--branch", default="main", help="branch with the notebooks, default %(default)s")
    arguments = parser.parse_args()
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", arguments.repository):
        parser.error(f"expected OWNER/NAME, found {arguments.repository!r}")
    for path in sorted(FOLDER.glob("*.ipynb")):
        add(path, arguments.repository, arguments.branch)


if __name__ == "__main__":
    main()
