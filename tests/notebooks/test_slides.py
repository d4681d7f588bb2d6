"""The slides of the two lectures: short, complete, and without another host."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

pytest.importorskip("nbconvert")

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
SPEC = importlib.util.spec_from_file_location("slides", FOLDER / "slides.py")
lectures = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(lectures)

MIN_SLIDES, MAX_SLIDES = 20, 40  # for 50 minutes
MAX_LINES, MAX_WIDTH = 12, 160  # of a slide, in characters as written
each = pytest.mark.parametrize("path", lectures.TEXTS, ids=lambda path: path.stem)


def lines_of(slide):
    """Return the lines that a slide shows: its own, and those of printed outputs."""
    lines = [line for line in slide.splitlines() if line.strip() and not lectures.OUTPUTS.match(line)]
    for figure in lectures.OUTPUTS.findall(slide):
        for output in lectures.outputs(figure):
            text = output.get("text") or output.get("data", {}).get("text/markdown", "")
            lines += [line for line in text.splitlines() if line.strip()]
    return lines


def test_there_is_a_lecture_for_each_part_of_the_course():
    assert [path.stem for path in lectures.TEXTS] == ["part_1", "part_2"]
    page = (FOLDER.parent / "docs/course.md").read_text(encoding="utf-8")
    assert all(f"slides/{path.stem}.html" in page for path in lectures.TEXTS)


@each
def test_a_lecture_has_20_to_40_slides_and_each_is_short(path):
    slides = lectures.slides(path.read_text(encoding="utf-8"))
    assert MIN_SLIDES <= len(slides) <= MAX_SLIDES
    for slide in slides:
        assert re.match(r"#{1,2} \S", slide), "a slide starts with its title"
        assert 2 <= len(lines_of(slide)) + len(lectures.OUTPUTS.findall(slide)) <= MAX_LINES, slide
        assert max(len(line) for line in slide.splitlines() if not line.startswith("$$")) <= MAX_WIDTH, slide


@each
def test_the_figures_are_outputs_of_notebooks(path):
    figures = lectures.OUTPUTS.findall(path.read_text(encoding="utf-8"))
    assert len(figures) >= 15
    assert all(lectures.outputs(figure) for figure in figures)


@each
def test_every_figure_has_a_kind_that_the_page_shows(path):
    """An animation too: nbconvert writes the name of its class in place of a GIF."""
    kinds = {"image/png", "image/jpeg", "text/html", "text/markdown"}
    for figure in lectures.OUTPUTS.findall(path.read_text(encoding="utf-8")):
        for output in lectures.outputs(figure):
            assert output.get("text") or kinds & set(output.data), figure


def test_both_lectures_show_every_notebook():
    shown = "".join(path.read_text(encoding="utf-8") for path in lectures.TEXTS)
    named = set(re.findall(r"\((\w+)\.ipynb#", shown))
    assert {path.stem for path in FOLDER.glob("*.ipynb")} - named == {"02_forward_pass"}  # its figures repeat others


@each
def test_cells_have_the_metadata_of_slides(path):
    kinds = [cell.metadata.slideshow.slide_type for cell in lectures.build(path).cells]
    assert kinds.count("slide") == len(lectures.slides(path.read_text(encoding="utf-8")))
    assert set(kinds) == {"slide", "-"}


@pytest.mark.slow
def test_the_pages_load_reveal_from_their_own_folder_alone(browser, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["slides.py", "--out", str(tmp_path)])
    lectures.main()
    tab, requests = browser.new_page(viewport={"width": 1200, "height": 675}), []
    tab.on("request", lambda request: requests.append(request.url))
    for path in lectures.TEXTS:
        tab.goto((tmp_path / f"{path.stem}.html").as_uri())
        tab.wait_for_function("Reveal.isReady()")
        assert tab.evaluate("Reveal.getTotalSlides()") == len(lectures.slides(path.read_text(encoding="utf-8")))
        assert tab.locator(".reveal").bounding_box()["height"] == 675
        assert tab.locator("h1").is_visible()
        tab.keyboard.press("ArrowRight")
        assert tab.evaluate("Reveal.getIndices().h") == 1
        pictures = tab.locator("img").evaluate_all("all => all.map(one => [one.alt, one.naturalWidth])")
        assert all(alt and width for alt, width in pictures)
        heights = tab.evaluate("Reveal.getSlides().map((s, i) => { Reveal.slide(i); return s.scrollHeight; })")
        assert max(heights) <= 675, heights
    tab.close()
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []


def test_an_equation_becomes_mathml_and_other_text_stays():
    text = lectures.with_mathml("a $x^2$ b\n\n$$y$$\n\n`tf.stop_gradient`")
    assert text.count("<math") == 2
    assert "$" not in text
    assert "`tf.stop_gradient`" in text


def test_the_metadata_and_the_template_are_json_and_complete():
    template = FOLDER / "lectures/templates/lecture"
    assert json.loads((template / "conf.json").read_text())["base_template"] == "reveal"
    assert "http" not in (template / "index.html.j2").read_text()
