"""Makes text from outside safe to show: on a terminal, in a table, in a picture.

Names of classes and files can hold anything, for example line breaks, or sequences that clear a terminal.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

# Joiners and marks of direction are part of the spelling of Persian, Hindi and emoji.
HARMLESS = {"\u200c", "\u200d", "\u200e", "\u200f"}
# Unicode's categories: controls, formats, lone surrogates, private, unassigned, separators of lines and paragraphs
UNSAFE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}

_LOGIN = re.compile(r"^(\w+://)[^/@]*@")


def printable(text: str, keep: str = "") -> str:
    r"""Write control characters, line breaks and lone surrogates as escapes.

    Args:
        text: any text.
        keep: characters that stay as they are, for example line breaks.

    Returns:
        One line of text that UTF-8 can encode, for example r"a\x1b[31m\n" for a red line.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        repr(char)[1:-1] if unicodedata.category(char) in UNSAFE and char not in HARMLESS and char not in keep else char
        for char in text
    )


def shorten(text: str, limit: int, mark: str = "...") -> str:
    """Cut a text to `limit` characters, among them the mark at the end of a cut text."""
    return text if len(text) <= limit else text[: limit - len(mark)] + mark


def listing(names: Sequence[str], limit: int) -> str:
    """Join names by commas; those beyond `limit` are only counted, for example "a, b and 7 more"."""
    more = f" and {len(names) - limit:,} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def count_of(count: int, noun: str, plural: str = "") -> str:
    """Write a number with its noun, for example "1 step" and "1,200 steps"; a plural without an s is passed."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def without_login(address: str) -> str:
    """Return a web address without its user and password, as results and messages show it."""
    return _LOGIN.sub(r"\1", address)
