"""Each notebook is a page of the documentation site, in English and in Korean."""

import json
import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("mkdocs")
pytest.importorskip("nbconvert")

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "notebooks"
before = list(sys.path)
sys.path.insert(0, str(ROOT / "docs/hooks"))
import course as hook  # noqa: E402  # adds a folder too

sys.path[:] = before  # with another one, Python would search the package of these tests again, and find tf2onnx's

PATHS = sorted(FOLDER.glob("*.ipynb"))
each = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
languages = pytest.mark.parametrize("language", ["en", "ko"])
PICTURE = re.compile(r"^!\[(.*?)\]\((.*?)\)$", re.MULTILINE)


def page_of(path, language):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return hook.page_of(path, cells, language)[0], cells


@each
@languages
def test_a_page_has_all_text_code_and_pictures(path, language):
    page, cells = page_of(path, language)
    assert page.startswith("# ")
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert all(f"```python\n{source.rstrip()}\n```" in page for source in code)
    shown = PICTURE.findall(page)
    assert len(shown) == len(hook.pictures(cells)) > 0
    assert all(text for text, _ in shown)
    assert page.count("<iframe") == (path.stem == "03_anchors")


@each
def test_the_korean_page_has_the_korean_text_and_visible_captions(path):
    page, cells = page_of(path, "ko")
    assert "아직 원어민의 교정을 받지 않았습니다" in page
    for text, _ in PICTURE.findall(page):
        assert f"\n\n*{text}*\n" in page
    prose = [cell for cell in cells if cell["cell_type"] == "markdown"][1:-1]
    assert not any("".join(cell["source"]) in page for cell in prose if len("".join(cell["source"])) > 60)


@each
@languages
def test_the_links_of_a_page_stay_on_the_site(path, language):
    page, _ = page_of(path, language)
    prose = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", prose) if not re.match(r"[a-z]+:", target)]
    assert not any("docs/" in target for target in targets)
    other = f"ko/{path.stem}.md" if language == "en" else f"../{path.stem}.md"
    assert other in targets
    assert any(target.endswith(f"source/notebooks/{path.name}") for target in targets)
    assert any(target.endswith(f"source/notebooks/solutions/{path.stem}.py.md") for target in targets)


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for path in PATHS:
        for language in ("en", "ko"):
            assert f": {hook.page_uri(path.stem, language)}\n" in text


def test_a_badge_becomes_a_link_and_code_with_fences_keeps_them():
    badge = "[![Open in Colab](https://a.b/c.svg)](https://d.e/f)"
    assert hook.BADGE.sub(r"[\1]", badge) == "[Open in Colab](https://d.e/f)"
    assert hook.fenced("```sh\nx\n```", "text") == "````text\n```sh\nx\n```\n````"
