"""The operators of an exported file: each kind, how often, and in which types it computes.

The table shows what a file of 8 bits still computes in float32.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any


def count(operators: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """Count the kinds of operators, the most frequent first.

    Args:
        operators: (name, types) of each operator; types as "inputs [constants] -> outputs".

    Returns:
        A row for each kind, for example {"op": "CONV_2D", "count": 52, "dtypes": "int8 [int8 int32] -> int8"}.
    """
    return [{"op": op, "count": n, "dtypes": dtypes} for (op, dtypes), n in Counter(operators).most_common()]


def join_types(inputs: Iterable[str], constants: Iterable[str], outputs: Iterable[str]) -> str:
    """Write types as "inputs [constants] -> outputs", each type once."""
    parts = [" ".join(sorted(set(inputs)))]
    if fixed := " ".join(sorted(set(constants))):
        parts.append(f"[{fixed}]")
    return " ".join(part for part in (*parts, "->", " ".join(sorted(set(outputs)))) if part)


def render(rows: Iterable[dict[str, Any]]) -> str:
    """Render a Markdown table."""
    lines = [f"| {row['op']} | {row['count']} | {row['dtypes'].replace('->', '→')} |" for row in rows]
    return "\n".join(["| operator | count | inputs [constants] → outputs |", "|---|---|---|", *lines])
