"""The slides of the two lectures, from the texts of notebooks/lectures and the outputs of the notebooks: `make slides`.

    python notebooks/slides.py --out build/slides

A text has one slide between two lines of `---`. A line `![](03_anchors.ipynb#cell-06)` shows the outputs of that cell:
its pictures, or else its tables and printed text. The files need no network: reveal.js lies next to them, and equations
are MathML.
"""

from __future__ import annotations

import argparse
import html
import re
import shutil
from functools import cache
from pathlib import Path

import nbformat
from latex2mathml.converter import convert
from nbconvert import SlidesExporter
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

FOLDER = Path(__file__).resolve().parent
REVEAL = FOLDER.parent / "docs/assets/reveal"
TEXTS = sorted(FOLDER.glob("lectures/*.md"))
OUTPUTS = re.compile(r"^(!\[\]\(\w+\.ipynb#[\w-]+\))$", re.MULTILINE)
BLOCK, INLINE = re.compile(r"\$\$(.+?)\$\$", re.DOTALL), re.compile(r"(?<!\$)\$([^$\n]+)\$(?!\$)")


def slides(text: str) -> list[str]:
    """Split a text into its slides."""
    return [slide.strip() for slide in re.split(r"^---$", text, flags=re.MULTILINE)]


def outputs(line: str) -> list[NotebookNode]:
    """Return what a cell of a notebook shows, for a line such as `![](03_anchors.ipynb#cell-06)`.

    If there are pictures, they are all that is shown.
    """
    notebook, cell = line[4:-1].split("#")
    shown = next(each for each in _cells(notebook) if each.id == cell).outputs
    pictures = [output for output in shown if any(kind.startswith("image/") for kind in output.get("data", {}))]
    return [_animated(output) for output in pictures] or shown


def build(path: Path) -> NotebookNode:
    """Make a notebook of a text's slides, with the metadata that nbconvert reads."""
    cells = []
    texts = slides(path.read_text(encoding="utf-8"))
    for slide in texts:
        for number, part in enumerate(filter(str.strip, OUTPUTS.split(slide))):
            is_line = OUTPUTS.match(part)
            cell = new_code_cell("", outputs=outputs(part)) if is_line else new_markdown_cell(with_mathml(part.strip()))
            cell.metadata["slideshow"] = {"slide_type": "-" if number else "slide"}
            cells.append(cell)
    return new_notebook(cells=cells, metadata={"title": texts[0].splitlines()[0].lstrip("# ")})


def with_mathml(text: str) -> str:
    """Replace the equations of a Markdown text by MathML."""
    text = BLOCK.sub(lambda match: convert(match[1].strip(), display="block"), text)
    return INLINE.sub(lambda match: convert(match[1]), text)


def exported(path: Path, reveal: str) -> str:
    """Return the slides of a text as a page.

    Args:
        path: the text.
        reveal: the address of the folder of reveal.js, relative to the page.
    """
    exporter = SlidesExporter(
        template_name="lecture",
        extra_template_basedirs=[str(FOLDER / "lectures/templates")],
        exclude_input=True,
        exclude_output_prompt=True,
        reveal_url_prefix=reveal,
    )
    return exporter.from_notebook_node(build(path))[0]


def _animated(output: NotebookNode) -> NotebookNode:
    """Return a GIF as HTML, since nbconvert's templates do not show this kind. Return other pictures as they are."""
    if "image/gif" not in output.data:
        return output
    alt = html.escape(output.metadata["image/gif"]["alt"])
    return new_output(
        "display_data", {"text/html": f'<img alt="{alt}" src="data:image/gif;base64,{output.data["image/gif"]}">'}
    )


@cache
def _cells(notebook: str) -> list[NotebookNode]:
    return nbformat.read(FOLDER / notebook, as_version=4).cells


def main() -> None:
    """Write the pages of both lectures and reveal.js into a folder."""
    parser = argparse.ArgumentParser(description="Make the slides of the lectures.")
    parser.add_argument("--out", type=Path, default=Path("build/slides"), help="folder to write, default %(default)s")
    out = parser.parse_args().out
    shutil.copytree(REVEAL, out / "reveal", dirs_exist_ok=True)
    for path in TEXTS:
        (out / f"{path.stem}.html").write_text(exported(path, "reveal"), encoding="utf-8")
        print(out / f"{path.stem}.html")


if __name__ == "__main__":
    main()
