"""Rows of Markdown tables."""

import re


def row(*cells: str) -> str:
    """Join cells to a row. A `|` is escaped, except in code, where Markdown takes it as it is."""
    return f"| {' | '.join(re.sub(r'(`[^`]*`)|[|]', _escape, cell) for cell in cells)} |"


def _escape(match: re.Match[str]) -> str:
    return match[1] or r"\|"
