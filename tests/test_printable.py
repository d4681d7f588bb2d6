"""Text from outside, made safe to show."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrcnn.config_base import MAX_SHOWN, shown
from tfrcnn.printable import listing, printable, shorten


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cat", "cat"),
        ("", ""),
        ("세포 кот سيارة 🐱", "세포 кот سيارة 🐱"),
        ("👩\u200d👧", "👩\u200d👧"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("safe\u202egnp.exe", r"safe\u202egnp.exe"),
        ("line\u2028separator", r"line\u2028separator"),
        ("\udcff.png", r"\udcff.png"),
        ("C:\\new", "C:\\new"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped_and_letters_of_all_scripts_stay(text, shown):
    assert printable(text) == shown


def test_characters_to_keep_stay():
    assert printable("a\n\x1b", keep="\n") == "a\n\\x1b"


@given(st.text(st.characters(codec=None), max_size=40))
def test_any_text_becomes_one_line_that_can_be_encoded(text):
    shown = printable(text)
    shown.encode("utf-8")
    assert len(shown.splitlines()) <= 1
    assert "\x1b" not in shown


def test_a_long_text_is_cut_to_the_limit_with_a_mark():
    assert [shorten("abcdef", limit) for limit in (6, 5)] == ["abcdef", "ab..."]
    assert shorten("abcdef", 5, "…") == "abcd…"
    assert len(shown("x" * 1000)) == MAX_SHOWN


def test_a_long_list_names_the_first_and_counts_the_rest():
    assert [listing(["a", "b", "c"], limit) for limit in (3, 2)] == ["a, b, c", "a, b and 1 more"]
