"""Lays the package out as users install it, so that the API reference finds `tfrcnn.export`.

In the repository `tfrcnn.export` is the folder `export/`, next to `tfrcnn/` and not in it. The tool that reads the
docstrings looks for packages in `build/api` (`mkdocs.yml`), where this hook puts a copy with `export/` inside. The
copy's docstrings are marked up a little, since the tool takes the text under `Example:` and `Returns:` for prose.
"""

from __future__ import annotations

import re
import shutil
import textwrap
from pathlib import Path
from typing import Any

from mkdocs.plugins import event_priority

IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc")
# A block under its heading: lines four spaces deeper, and empty lines between them.
BLOCK = r"^(?P<indent> *){}:\n(?P<body>(?:(?P=indent) {{4}}.*\n|[ ]*\n(?=(?P=indent) {{4}}))+)"
EXAMPLE = re.compile(BLOCK.format("Examples?"), re.MULTILINE)
RETURNS = re.compile(BLOCK.format("Returns"), re.MULTILINE)


@event_priority(100)
def on_config(config: Any) -> None:
    """Copy the package before the plugins start: they skip search paths that do not exist."""
    root = Path(config.config_file_path).parent
    copy_package(root, root / "build" / "api")


def copy_package(root: Path, folder: Path) -> Path:
    """Copy `tfrcnn/` and `export/` as one package.

    Args:
        root: the repository.
        folder: the new parent of the package; replaced if it exists.

    Returns:
        The folder of the copied package.
    """
    package = folder / "tfrcnn"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(root / "tfrcnn", package, ignore=IGNORED)
    shutil.copytree(root / "export", package / "export", ignore=IGNORED)
    for source in package.rglob("*.py"):
        source.write_text(break_returns(fence_examples(source.read_text(encoding="utf-8"))), encoding="utf-8")
    return package


def fence_examples(source: str) -> str:
    """Make a block of code of each example in the docstrings of a source."""

    def fence(match: re.Match[str]) -> str:
        if match["body"].lstrip().startswith((">>>", "```")):
            return match[0]
        language = "sh" if match["body"].lstrip().startswith(("tfrcnn ", "python ")) else "python"
        code = textwrap.indent(f"```{language}\n{textwrap.dedent(match['body'])}```\n", f"{match['indent']}    ")
        return f"{match['indent']}Example:\n{code}"

    return EXAMPLE.sub(fence, source)


def break_returns(source: str) -> str:
    """Start a line for each entry of a dict that a docstring's `Returns:` describes."""

    def separate(match: re.Match[str]) -> str:
        return re.sub(rf"(?m)^({match['indent']} {{8}})(\w+): ", r"\1<br>`\2`: ", match[0])

    return RETURNS.sub(separate, source)
