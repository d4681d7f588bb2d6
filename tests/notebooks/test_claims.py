"""Every numbered claim of the paper has a section of a notebook or a test that shows it."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/paper-to-code.md").read_text(encoding="utf-8")
CLAIM = re.compile(r"^\| C(\d+) \| (.+?) \| (.+?) \| (.*?) \|$", re.MULTILINE)
CLAIMS = CLAIM.findall(PAGE)
NOT_HERE = "not here"  # for example: needs a data set that cannot be shipped
# The parts of the paper that have a number, without its introduction, related work and conclusion.
PARTS = [
    *(f"{number}" for number in ("1", "3", "3.1", "3.1.1", "3.1.2", "3.1.3", "3.2", "3.3", "4.1", "4.2", "4.3")),
    *(f"equation {number}" for number in (1, 2)),
    *(f"figure {number}" for number in range(1, 5)),  # 5 and 6 are pictures of detections
    *(f"table {number}" for number in range(1, 13)),
]


def headings():
    """Return the numbers of all sections of all notebooks."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "markdown":
                yield from re.findall(r"^## (\d+\.\d+) ", "".join(cell["source"]), re.MULTILINE)


def missing(claims, sections):
    """Return the claims whose evidence is empty or names a section of a notebook that does not exist."""
    faults = []
    for number, _, _, evidence in claims:
        named = re.findall(r"notebooks? ([\d., and]+)", evidence)
        listed = [section for text in named for section in re.findall(r"\d+\.\d+", text)]
        has_evidence = listed or "`test" in evidence or "experiments.md" in evidence or NOT_HERE in evidence
        if not has_evidence or set(listed) - set(sections):
            faults.append(f"C{number}: {evidence}")
    return faults


def study_list():
    """Return the rows of the study list in docs/course.md: question, sections, exercises."""
    text = (ROOT / "docs/course.md").read_text(encoding="utf-8").split("## The study list")[1]
    return re.findall(r"^\| ([^|]+) \| ([\d., to]+) \| ([^|]+) \|$", text, re.MULTILINE)


def test_the_study_list_names_sections_and_exercises_that_exist():
    known, named, listed = set(headings()), set(), set()
    for _, sections, exercises in study_list():
        named |= set(re.findall(r"\d+\.\d+", sections))
        listed |= set(re.findall(r"\d+[abc]", exercises))
        assert re.fullmatch(r'(\d+[abc](, )?)+|\d+, "Go further"', exercises)
    assert len(study_list()) >= 17
    assert named <= known
    assert listed == {f"{number}{letter}" for number in range(11) for letter in "abc"}


def test_the_claims_are_numbered_from_1():
    assert [int(number) for number, *_ in CLAIMS] == list(range(1, len(CLAIMS) + 1))
    assert len(CLAIMS) >= 40


def test_every_claim_has_a_section_of_a_notebook_or_a_test():
    assert missing(CLAIMS, set(headings())) == []


@pytest.mark.parametrize("part", PARTS)
def test_every_numbered_part_of_the_paper_has_a_claim(part):
    assert [where for _, where, *_ in CLAIMS if part in where.split(", ")]


def test_a_claim_without_evidence_would_be_noticed():
    rows = "| C1 | 3.1 | a | notebook 3.1 |\n| C2 | 3.1 | b |  |\n| C3 | 3.2 | c | notebooks 3.1 and 9.99 |"
    assert missing(CLAIM.findall(rows), {"3.1"}) == ["C2: ", "C3: notebooks 3.1 and 9.99"]
