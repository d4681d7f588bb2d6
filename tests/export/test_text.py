"""Label files and JSON inside exported files: line N is class N, and UTF-8 holds every name."""

import json

import pytest

from tfrcnn.config import Category
from tfrcnn.export.text import label_lines
from tfrcnn.files import to_json

BREAKS = ("\n", "\r\n", "\r", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029")


@pytest.mark.parametrize("line_break", BREAKS)
def test_line_n_is_class_n_for_names_with_line_breaks(line_break):
    lines = label_lines([Category(1, f"big{line_break}dog"), Category(2, f"{line_break}cat{line_break}")])
    assert lines == ["big dog", "cat"]
    assert "\n".join(lines).splitlines() == lines


@pytest.mark.parametrize("name", ["", " ", "\n", "\t \x00", "\u3000"])
def test_line_n_is_class_n_for_blank_names(name):
    assert label_lines([Category(7, name), Category(8, "cat")]) == ["category 7", "cat"]


def test_equal_names_and_scripts_of_the_world_stay():
    names = ["cat", "cat", "고양이", "قطة", "👨‍👩‍👧", "na\u00efve"]
    assert label_lines([Category(i, name) for i, name in enumerate(names)]) == names


def test_a_name_that_utf8_cannot_hold_is_escaped_and_read_back():
    assert label_lines([Category(1, "caf\udce9")]) == ["caf\\udce9"]
    text = to_json({"name": "caf\udce9 고양이"})
    assert text.encode() == '{"name": "caf\\udce9 고양이"}'.encode()
    assert json.loads(text) == {"name": "caf\udce9 고양이"}
