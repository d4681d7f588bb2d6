"""Writes the table of faults from the list that the readers use."""

from __future__ import annotations

from typing import Any

from tables import row

from tfrcnn.data.faults import KINDS

PAGE = "your-data.md"
FAULTS = "<!-- generated: faults -->"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill the page's marker."""
    return markdown.replace(FAULTS, table()) if page.file.src_uri == PAGE else markdown


def table() -> str:
    """Every kind of fault: what happens, its name and its meaning."""
    rows = [row(kind.action, f"`{name}`", kind.meaning) for name, kind in KINDS.items()]
    return "\n".join([row("what happens", "fault", "meaning"), "|---|---|---|", *rows])
