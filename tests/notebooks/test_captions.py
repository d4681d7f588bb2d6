"""Every picture of the course has a caption in both languages, and is drawn large enough to read."""

import base64
import importlib.util
import io
import json
import re
from pathlib import Path

import nbformat
import pytest
from PIL import Image

FOLDER = Path(__file__).resolve().parents[2] / "notebooks"
SPEC = importlib.util.spec_from_file_location("captions", FOLDER / "captions.py")
captions = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(captions)

PATHS = sorted(FOLDER.glob("*.ipynb"))
TEXTS = [
    *sorted(FOLDER.glob("ko/*.md")),
    *sorted(FOLDER.glob("lectures/*.md")),
    FOLDER / "README.md",
    FOLDER.parent / "docs/course.md",
]
HANGUL = re.compile(r"[\uac00-\ud7a3]")
IMAGE = re.compile(r"!\[(.*?)\]\(([^)]+)\)")
AXIS = re.compile(r"\b(x|y)label=")
DPI = 120
each = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def pictures(path):
    """Yield the cell, the kind and the output of each picture, and of each page that a notebook shows."""
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            for kind in captions.PICTURES:
                if kind in output.get("data", {}):
                    yield cell, kind, output
            if "<iframe" in output.get("data", {}).get("text/html", ""):
                yield cell, "text/html", output


@each
def test_every_picture_has_a_caption_in_both_languages(path):
    texts = captions.of(path.stem)
    assert list(texts) == list(dict.fromkeys(cell.id for cell, _, _ in pictures(path)))
    for caption in texts.values():
        assert len(caption.en) > 20
        assert not HANGUL.search(caption.en)
        assert len(HANGUL.findall(caption.ko)) > 10


@each
def test_the_stored_alternative_text_is_the_caption(path):
    """After a change of a caption: `python notebooks/captions.py` stores it."""
    texts = captions.of(path.stem)
    for cell, kind, output in pictures(path):
        if kind != "text/html":
            assert output.metadata[kind] == {"alt": texts[cell.id].en}


@each
def test_the_korean_caption_names_the_axes(path):
    texts = captions.of(path.stem)
    for cell, _, _ in pictures(path):
        axes = set(AXIS.findall(cell.source)) | ({"x", "y"} if "show_image(" in cell.source else set())
        for axis, korean in (("x", "가로축"), ("y", "세로축")):
            assert axis not in axes or korean in texts[cell.id].ko, cell.id


@each
def test_figures_are_drawn_at_120_dots_per_inch(path):
    for cell in nbformat.read(path, as_version=4).cells:
        for call in re.findall(r"plt\.(?:subplots|[fF]igure)\(.*", cell.source):
            assert f"dpi={DPI}" in call, cell.id
    for _, kind, output in pictures(path):
        if kind == "image/png" and (
            density := Image.open(io.BytesIO(base64.b64decode(output.data[kind]))).info.get("dpi")
        ):
            assert density[0] in (pytest.approx(DPI, abs=1), pytest.approx(72, abs=1)), "72: not of matplotlib"


@each
def test_legends_are_not_small(path):
    for cell in nbformat.read(path, as_version=4).cells:
        for size in re.findall(r"legend\(.*?fontsize=(\d+)", cell.source):
            assert int(size) >= 8


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_pictures_in_texts_have_an_alternative_text(path):
    """A picture of a notebook's cell brings its own."""
    texts = IMAGE.findall(path.read_text(encoding="utf-8"))
    assert [target for text, target in texts if not text and ".ipynb#" not in target] == []


@each
def test_pictures_in_markdown_cells_have_an_alternative_text(path):
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "markdown":
            assert all(text for text, _ in IMAGE.findall("".join(cell["source"])))


def test_a_caption_becomes_the_alternative_text():
    output = nbformat.v4.new_output("display_data", {"image/gif": "", "text/plain": "<Image>"})
    cell = nbformat.v4.new_code_cell("1", id="cell-01", outputs=[output])
    captions.describe(nbformat.v4.new_notebook(cells=[cell]), {"cell-01": "A digit."})
    assert output.metadata == {"image/gif": {"alt": "A digit."}}
