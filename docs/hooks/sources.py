"""Makes links to files of the repository work on the site: each such file becomes a page of the site.

Pages link to code by its path, as in `[joint.py](../tfrcnn/training/joint.py)`, which works where the repository is
browsed. The site has no repository next to it, so the files that are linked are put under `source/`. A link to a
notebook leads to its page, see course.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files, InclusionLevel

LINK = re.compile(r"\]\((?P<target>\.\./[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")
LANGUAGES = {".py": "python", ".json": "json", ".yml": "yaml", ".md": "markdown", ".cpp": "cpp"}
log = get_plugin_logger("sources")


def on_files(files: Files, config: Any) -> Files:
    """Add a page for each linked file outside `docs/`."""
    docs = Path(config.docs_dir)
    for path in sorted(linked_files(docs)):
        uri = source_uri(path, docs.parent)
        source = {"content": page_of(path, docs.parent)} if uri.endswith(".md") else {"abs_src_path": str(path)}
        files.append(File.generated(config, uri, inclusion=InclusionLevel.NOT_IN_NAV, **source))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Point the links of a page to the pages made from the files."""
    docs = Path(config.docs_dir)
    folder = (docs / page.file.src_uri).parent
    if page.file.generated_by:
        return markdown

    def moved(match: re.Match[str]) -> str:
        path = (folder / match["target"]).resolve()
        if path.is_relative_to(docs):
            return match[0]
        if not path.exists():
            log.warning(f"{page.file.src_uri} links to {match['target']}, which does not exist")
            return match[0]
        uri = f"course/{path.stem}.md" if path.suffix == ".ipynb" else source_uri(path, docs.parent)
        return f"]({os.path.relpath(docs / uri, folder)})"

    return LINK.sub(moved, markdown)


def linked_files(docs: Path) -> set[Path]:
    """The files and folders outside `docs` that its pages link to."""
    targets = {path for page in docs.rglob("*.md") for path in _targets(page)}
    return {path for path in targets if not path.is_relative_to(docs) and path.suffix != ".ipynb"}


def source_uri(path: Path, root: Path) -> str:
    """Return the place of a repository's file on the site: a page for text and folders, the file itself otherwise."""
    is_text = path.is_dir() or path.suffix in LANGUAGES
    return f"source/{path.relative_to(root).as_posix()}{'.md' if is_text else ''}"


def page_of(path: Path, root: Path) -> str:
    """The page for a text file, or for a folder: its content as code."""
    name = path.relative_to(root).as_posix()
    if path.is_dir():
        children = sorted(child.name for child in path.iterdir() if child.name != "__pycache__")
        language, code = "text", "\n".join(children)
    else:
        language, code = LANGUAGES[path.suffix], path.read_text(encoding="utf-8")
    return f"---\nsearch:\n  exclude: true\n---\n# {name}\n\n````{language}\n{code}\n````\n"


def _targets(page: Path) -> Iterator[Path]:
    for match in LINK.finditer(page.read_text(encoding="utf-8")):
        path = (page.parent / match["target"]).resolve()
        if path.exists():
            yield path
