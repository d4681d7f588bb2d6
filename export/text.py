"""The label files inside exported files, in UTF-8. Imports neither TensorFlow nor Keras."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from ..config import Category


def label_lines(categories: Iterable[Category]) -> list[str]:
    r"""Return one line of a label file per category: line N is class N for every reader.

    White space and control characters, line breaks among them, become one space. A blank name becomes "category ID",
    since some readers drop blank lines. Equal names stay equal.

    Example:
        label_lines([Category(3, "cat\ntabby"), Category(7, "")])  # ["cat tabby", "category 7"]
    """
    names = ["".join(" " if unicodedata.category(c) == "Cc" else c for c in category.name) for category in categories]
    lines = [_encodable(" ".join(name.split())) for name in names]
    return [line or f"category {category.id}" for line, category in zip(lines, categories)]


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
