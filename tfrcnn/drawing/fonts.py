"""Finds fonts for names in any script, for Pillow's pictures and for matplotlib's figures.

The order: Pillow's own font for ASCII, DejaVu Sans from matplotlib (Latin, Greek, Cyrillic, Arabic, Hebrew), the fonts
of `pip install "tfrcnn[fonts]"`, the system's. The first that has a character draws it. A character that no font has
is written as an escape, with one warning that says what to install. If matplotlib is missing, only ASCII is drawn.

Every font that a name needs is added to the end of matplotlib's "font.family", so that figures of the caller, for
example a notebook's legend, draw the same names.
"""

from __future__ import annotations

import importlib.util
import re
import unicodedata
import warnings
from functools import cache
from pathlib import Path
from typing import Any

from PIL import features

from tfrcnn.printable import HARMLESS, printable, shorten

PACKAGES = ("manimgx_fonts", "noto_cjk_sans_jp_regular")  # of the extra "fonts"
BASIC = frozenset(map(chr, range(32, 127))) | {"…"}  # characters of Pillow's own font
BASE = ""  # stands for Pillow's own font where others have paths
MAX_TEXT = 200  # characters that are laid out; no picture has room for more
NO_NAME = "(no name)"
ZERO_WIDTH_SPACE = "\u200b"


def visible(text: str) -> str:
    """Write what cannot be drawn as escapes: control characters, and characters that no font has.

    Args:
        text: any text, for example the name of a category.

    Returns:
        One line of at most `MAX_TEXT` characters.
    """
    text = printable(shorten(text, MAX_TEXT, "…"))
    missing = {char for char in text if char not in BASIC and not _is_mark(char) and font_of(char) is None}
    for char in missing:
        _warn_missing(char)
    if any(unicodedata.bidirectional(char) in ("R", "AL") for char in text) and not features.check("raqm"):
        _warn_once(
            "Pillow cannot shape names that are written from right to left, they look wrong in pictures; "
            "install FriBiDi, on Debian: apt install libfribidi0"
        )
    return "".join(char.encode("unicode_escape").decode() if char in missing else char for char in text)


def visible_name(name: str) -> str:
    """Write the name of a category: as `visible`, and "(no name)" for an empty one."""
    return visible(name) if name.strip() else NO_NAME


def figure_text(text: str) -> str:
    """Write text for matplotlib: as `visible`, and never read as a formula or left out of a legend.

    Args:
        text: any text.

    Returns:
        Text whose `$` are escaped. A leading underscore, which hides a label from legends, follows a character that
        has no width.
    """
    text = visible(text)
    for part, _ in runs(text):
        if part != BASE:
            _add_to_figures(part)
    text = text.replace("$", r"\$")
    return ZERO_WIDTH_SPACE + text if text.startswith("_") else text


def figure_name(name: str) -> str:
    """Write the name of a category for matplotlib: as `figure_text`, and "(no name)" for an empty one."""
    return figure_text(name if name.strip() else NO_NAME)


def runs(text: str) -> list[tuple[str, str]]:
    """Split text into (path of a font, characters that it draws), from left to right.

    A character stays with the font of those before it if that font has it.
    """
    if set(text) <= BASIC:
        return [(BASE, text)]
    whole = next((path for path in map(font_of, text) if path and all(has(path, char) for char in text)), None)
    if whole:
        return [(whole, text)]
    parts: list[tuple[str, str]] = []
    for char in text:
        if parts and has(parts[-1][0], char):
            parts[-1] = parts[-1][0], parts[-1][1] + char
        else:
            parts.append((BASE if char in BASIC else font_of(char) or BASE, char))
    strong = (unicodedata.bidirectional(char) for char in text)
    direction = next((kind for kind in strong if kind in ("L", "R", "AL")), "L")
    return parts if direction == "L" else parts[::-1]


def has(path: str, char: str) -> bool:
    """Return whether a font has a character; marks go with the character before them."""
    if path == BASE:
        return char in BASIC
    # fonts of emoji have digits for keycaps, with wide gaps: only a font of letters draws ASCII
    needed = (char, "A") if char in BASIC else (char,)
    return _is_mark(char) or all(_glyphs(path).get_char_index(ord(other)) for other in needed)


@cache
def font_of(char: str) -> str | None:
    """Return the path of the first font that has a character, None if no font has it."""
    path = next((path for path in _candidates() if _glyphs(path) and has(path, char)), None)
    if path:
        _add_to_figures(path)
    return path


@cache
def _candidates() -> tuple[str, ...]:
    if not _has_matplotlib():
        return ()
    import matplotlib
    from matplotlib.font_manager import findSystemFonts

    packaged: list[Path] = []
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations if spec else None) or ():
            packaged += Path(folder).glob("*.[ot]t[cf]")
    dejavu = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    system = sorted(map(Path, findSystemFonts()), key=_rank)
    return tuple(map(str, [dejavu, *sorted(packaged, key=_rank), *system]))


def _rank(path: Path) -> tuple[bool, bool, str]:
    """Order fonts: upright and regular first, Noto Sans first."""
    name = path.stem.lower()
    return bool(re.search("bold|italic|oblique|thin|light|black|mono", name)), "notosans" not in name, name


@cache
def _glyphs(path: str) -> Any:
    """Open a font; None if it cannot be drawn in any size, as fonts of coloured bitmaps."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path)
    except (OSError, RuntimeError, ValueError):
        return None
    return font if font.scalable else None


def _add_to_figures(path: str) -> None:
    from matplotlib import rcParams
    from matplotlib.font_manager import FontProperties, fontManager

    name = FontProperties(fname=path).get_name()
    if name not in rcParams["font.family"]:
        if name not in fontManager.get_font_names():
            fontManager.addfont(path)
        rcParams["font.family"] = [*rcParams["font.family"], name]


def _is_mark(char: str) -> bool:
    return char in HARMLESS or unicodedata.category(char) in ("Mn", "Me")


def _has_matplotlib() -> bool:
    """Return whether matplotlib is installed, which reads the fonts."""
    return importlib.util.find_spec("matplotlib") is not None


def _warn_missing(char: str) -> None:
    if not _has_matplotlib():
        _warn_once(
            "names that are not ASCII are drawn as escapes, because matplotlib reads fonts; pip install matplotlib"
        )
        return
    name = unicodedata.name(char, "")
    if re.match("CJK|HANGUL|HIRAGANA|KATAKANA|BOPOMOFO|FULLWIDTH", name):
        package = "fonts-noto-cjk"
    else:
        package = "fonts-symbola" if unicodedata.category(char) == "So" else "fonts-noto-core"
    _warn_once(
        f'no font has some characters of the names, they are drawn as escapes; pip install "tfrcnn[fonts]", '
        f"or on Debian: apt install {package}"
    )


@cache
def _warn_once(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=2)
