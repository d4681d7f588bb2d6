"""The glossary has a Korean term, a section of a paper and a place in the library for each English term."""

import dataclasses
import pkgutil
import re
from pathlib import Path

import pytest

import tfrcnn

ROOT = Path(__file__).resolve().parents[2]
ROWS = [
    [column.strip() for column in line.strip("|").split("|")]
    for line in (ROOT / "docs/glossary.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| English")
]
TERMS = [row[0] for row in ROWS]
HANGUL = re.compile(r"[\uac00-\ud7a3]")
# A section, table or figure of Ren et al., or another paper with its section or address.
PAPER = re.compile(r"\d(\.\d)*(, (table|figure) \d+)?|[A-Z][\w .-]+, (\d(\.\d)?|arXiv \d{4}\.\d{5})")
SAME_IN_KOREAN = {"Fast R-CNN"}


def is_there(place):
    """Return whether a place in the library, or a notebook, exists."""
    if notebook := re.fullmatch(r"notebook (\d+)", place):
        return any((ROOT / "notebooks").glob(f"{int(notebook[1]):02}_*.ipynb"))
    name = place.strip("`")
    owner, _, field = name.partition(".")
    if owner.endswith("Config"):
        config = getattr(tfrcnn, owner)
        return not field or field in {f.name for f in dataclasses.fields(config)}
    try:
        return pkgutil.resolve_name(name) is not None
    except (ImportError, AttributeError):
        return False


def test_there_are_about_80_terms_and_none_twice():
    assert len(TERMS) >= 80
    assert len(set(TERMS)) == len(TERMS)


@pytest.mark.parametrize("row", ROWS, ids=TERMS)
def test_a_term_has_its_korean_its_section_and_its_place(row):
    english, korean, meaning, paper, place = row
    assert HANGUL.search(korean) or english in SAME_IN_KOREAN
    assert meaning
    assert PAPER.fullmatch(paper), paper
    assert is_there(place), place


@pytest.mark.parametrize(
    "place", ["notebook 11", "`tfrcnn.boxes.anchor`", "`RPNConfig.momentum`", "`tfrcnn.nothing.x`"]
)
def test_a_place_that_does_not_exist_is_noticed(place):
    assert not is_there(place)
