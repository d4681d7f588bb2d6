"""The library's source code that the notebooks show: is it the code as it is?

    python notebooks/sources.py        # stores the current code, without executing the notebooks

The tests compare. A cell that shows code has one line, `Code(inspect.getsource(NAME), ...)` or `source(NAME)`.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from IPython.core.interactiveshell import InteractiveShell
from IPython.display import Code

FOLDER = Path(__file__).resolve().parent
SHOWN = re.compile(r"^(?:Code\((textwrap\.dedent\()?inspect\.getsource|source)\(([\w.]+)\)[^\n]*\Z")


def stale(notebook: nbformat.NotebookNode) -> Iterator[tuple[nbformat.NotebookNode, str]]:
    """Yield the cells that show code, and the current code, if it is not the stored code."""
    names: dict[str, Any] = {}
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        if match := SHOWN.match(cell.source):
            code = inspect.getsource(eval(match[2], names))
            code = textwrap.dedent(code) if match[1] else code
            if cell.outputs[0].data["text/plain"].rstrip() != code.rstrip():
                yield cell, code
        elif "import " in cell.source:
            tree = ast.parse("\n".join(line for line in cell.source.splitlines() if not line.startswith("%")))
            imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
            exec(compile(ast.Module(imports, []), cell.id, "exec"), names)


def main() -> None:
    """Store the current code in all notebooks."""
    formatter = InteractiveShell.instance().display_formatter
    for path in sorted(FOLDER.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        cells = list(stale(notebook))
        for cell, code in cells:
            cell.outputs[0].data = formatter.format(Code(code, language="python"))[0]
        if cells:
            nbformat.write(notebook, path)
            print(f"{path.name}: {', '.join(cell.source for cell, _ in cells)}")


if __name__ == "__main__":
    main()
