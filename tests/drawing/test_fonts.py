"""Names of every script, and names that matplotlib would read as something else."""

import math
import time
import warnings
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib import rcParams
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, features

from tfrcnn.drawing import draw_detections, figures, fonts, show_boxes, show_image
from tfrcnn.drawing.fonts import figure_name, font_of, visible, visible_name
from tfrcnn.drawing.pen import Font
from tfrcnn.evaluation.result import Curve

SCRIPTS = {
    "Hangul": ("세포", "핵"), "Han": ("细胞", "汽车"), "kana": ("ねこ", "イヌ"), "Cyrillic": ("ЖЖ", "ЩЩ"),
    "Greek": ("λλ", "ββ"), "Arabic": ("سم", "قط"), "Hebrew": ("אא", "שש"), "Thai": ("กก", "ขข"),
    "Devanagari": ("हिन्दी", "क्षेत्र"), "Tamil": ("தமிழ்", "நாய்"), "emoji": ("🐱", "🚗"), "accents": ("é", "ü"),
}  # fmt: skip
HOSTILE = ("$x$", "a$b", "$\\frac{", "_hidden", "__", "a_b^c", "line\nbreak", "\x1b[31m", "", " ", "세포 $1$", "\udcff")

needs_fonts = pytest.mark.skipif(not all(map(find_spec, fonts.PACKAGES)), reason='needs the extra "fonts"')


@pytest.fixture(autouse=True)
def families(monkeypatch):
    """Put matplotlib's families back after each test."""
    monkeypatch.setitem(rcParams, "font.family", list(rcParams["font.family"]))


@pytest.fixture
def only_dejavu(monkeypatch):
    """Hide all fonts but matplotlib's own."""
    first = fonts._candidates()[:1]
    monkeypatch.setattr(fonts, "_candidates", lambda: first)
    for cached in (fonts.font_of, fonts._warn_once):
        cached.cache_clear()
    yield
    for cached in (fonts.font_of, fonts._warn_once):
        cached.cache_clear()


def ink(text, size=16):
    font = Font(size)
    picture = Image.new("L", (max(1, math.ceil(font.getlength(text))), 2 * font.line_height))
    font.draw(ImageDraw.Draw(picture), (0, 0), text, 255)
    return np.asarray(picture)


@needs_fonts
@pytest.mark.parametrize("script", SCRIPTS)
def test_names_of_each_script_are_drawn_with_their_letters(script):
    one, two = SCRIPTS[script]
    assert visible(one) == one
    assert ink(one).any()
    assert ink(one).shape != ink(two).shape or (ink(one) != ink(two)).any()


@pytest.mark.skipif(not features.check("raqm"), reason="Pillow has no FriBiDi")
def test_hebrew_is_drawn_from_right_to_left():
    lower = ink("שי", 32)[27:32]  # the second letter hangs above the lower half of the line
    assert not lower[:, :6].any()
    assert lower[:, 6:].any()


@needs_fonts
def test_a_score_after_an_emoji_is_drawn_in_the_letters_of_other_scores():
    assert [part for _, part in fonts.runs("🚗 0.46")] == ["🚗", " 0.46"]
    assert fonts.runs("🚗 0.46")[1][0] == fonts.BASE


def test_characters_that_no_font_has_are_escapes_and_one_warning_names_the_package_to_install(only_dejavu):
    with pytest.warns(UserWarning, match=r"tfrcnn\[fonts\].*fonts-noto-cjk") as caught:
        assert visible("세포") == r"\uc138\ud3ec"
    assert len(caught) == 1
    assert visible("细 a") == r"\u7ec6 a"  # without another warning
    assert (ink("세포").shape != ink("핵심").shape) or (ink("세포") != ink("핵심")).any()
    with pytest.warns(UserWarning, match="fonts-symbola"):
        assert visible("🦀") == r"\U0001f980"


def test_names_that_are_empty_or_hold_control_characters_can_be_read_in_pictures():
    assert [visible_name(name) for name in ("", "  ", "a\nb\x1b[31m")] == ["(no name)", "(no name)", r"a\nb\x1b[31m"]


@needs_fonts
def test_a_name_of_a_million_letters_is_cut_at_once():
    started = time.perf_counter()
    picture = draw_detections(
        np.zeros((64, 96, 3), np.uint8), np.array([[5, 5, 60, 90]]), np.array([0]), np.ones(1), ["W세" * 500_000]
    )
    assert picture.size == (96, 64)
    assert time.perf_counter() - started < 5
    assert visible("W" * 10**6).endswith("W…")


@needs_fonts
def test_names_that_matplotlib_reads_as_formulas_or_hides_are_drawn_as_they_are():
    axes = Figure().subplots()
    for number, name in enumerate(HOSTILE):
        axes.plot([0, 1], [0, number], label=figure_name(name))
    axes.set_yticks(range(len(HOSTILE)), [figure_name(name) for name in HOSTILE])
    legend = axes.legend()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        axes.figure.canvas.draw()
    texts = [text.get_text().lstrip(fonts.ZERO_WIDTH_SPACE).replace(r"\$", "$") for text in legend.get_texts()]
    assert texts == ["$x$", "a$b", "$\\frac{", "_hidden", "__", "a_b^c", r"line\nbreak", r"\x1b[31m",
                     "(no name)", "(no name)", "세포 $1$", r"\udcff"]  # fmt: skip
    assert not any(text.get_parse_math() and text._preprocess_math(text.get_text())[1] for text in legend.get_texts())


@needs_fonts
def test_titles_and_labels_of_the_callers_axes_are_safe_too():
    axes = Figure().subplots()
    show_image(axes, np.zeros((4, 4)), title="$\\frac{ 세포")
    show_boxes(axes, [0, 0, 2, 2], label="_세포$")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(axes.legend().get_texts()) == 1
        axes.figure.canvas.draw()


def test_precision_and_recall_of_classes_with_such_names_are_all_in_the_legend(monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "_save", lambda figure, path: drawn.append(figure))
    curve = Curve(np.array([0.5, 1.0]), np.array([1.0, 0.5]), np.array([0.9, 0.8]))
    rows = [
        SimpleNamespace(category=SimpleNamespace(name=name), curve=curve, metrics={"AP": 0.5}) for name in HOSTILE[:9]
    ]
    evaluation = SimpleNamespace(per_class=rows, iou_threshold=0.5, counts={"images": 1})
    figures.plot_precision_recall(evaluation, "unused.png")
    drawn[0].canvas.draw()
    assert len(drawn[0].axes[0].get_legend().get_texts()) == len(rows)


@needs_fonts
def test_a_font_that_a_name_needs_is_added_behind_the_callers_own_in_figures():
    before = list(rcParams["font.family"])
    figure_name("세포")
    assert rcParams["font.family"][: len(before)] == before
    assert font_of("세") is not None
    figure = Figure()
    figure.suptitle("세포")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.canvas.draw()
