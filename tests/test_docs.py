"""The documentation: the site builds without a warning, is complete, needs no network, and its programs run."""

import dataclasses
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tfrcnn
import tfrcnn.export
import tfrcnn.layers
import tfrcnn.models
from tfrcnn.demo import digit_scenes

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
# Texts outside the site, which are read where the repository is browsed.
TEXTS = [*ROOT.glob("*.md"), ROOT / "notebooks/README.md", ROOT / "export/serving/README.md"]

pytest.importorskip("mkdocs")
before = list(sys.path)
sys.path.insert(0, str(DOCS / "hooks"))
import commands  # noqa: E402
import configuration  # noqa: E402
import equations  # noqa: E402
import package_tree  # noqa: E402

sys.path[:] = before  # with another one, Python would search the package of these tests again, and find tf2onnx's


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built with warnings as errors: links, anchors, names of the API, arguments in docstrings."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    loads = re.compile(r'<(?:script|img|iframe)[^>]* src="?https?:|<link[^>]* rel="?stylesheet[^>]* href="?https?:')
    for page in site.rglob("*.html"):
        assert not loads.search(page.read_text(encoding="utf-8")), page
    for style in site.rglob("*.css"):
        assert "@import" not in style.read_text(encoding="utf-8")


@pytest.mark.slow
def test_equations_are_rendered_when_the_site_is_built(site: Path) -> None:
    page = (site / "paper-to-code.html").read_text(encoding="utf-8")
    assert page.count("<math ") > 3
    assert "arithmatex" not in page


@pytest.mark.slow
@pytest.mark.parametrize("language", ["", "ko/"], ids=["english", "korean"])
@pytest.mark.parametrize("name", ["03_anchors", "07_detector_head"])
def test_a_notebook_is_a_page_whose_equations_and_pictures_are_drawn(
    name: str, language: str, site: Path, browser: Any
) -> None:
    tab = browser.new_page(viewport={"width": 1200, "height": 900})
    requests: list[str] = []
    tab.on("request", lambda request: requests.append(request.url))
    tab.goto((site / f"course/{language}{name}.html").as_uri())
    assert not [url for url in requests if url.startswith("http")]
    blocks = tab.locator(".equation math")
    assert blocks.count() >= 2
    for size in blocks.evaluate_all("all => all.map(one => one.getBoundingClientRect()).map(r => [r.width, r.height])"):
        assert size[0] > 60
        assert size[1] > 15
    assert "$$" not in tab.locator("article").inner_text()
    pictures = tab.locator("article img").evaluate_all("all => all.map(one => [one.alt, one.naturalWidth])")
    assert pictures
    assert all(alt and width for alt, width in pictures)
    frames = tab.locator("iframe[title='Anchor explorer']")
    assert frames.count() == (name == "03_anchors")
    if frames.count():
        assert "[y1, x1, y2, x2]" in frames.content_frame.locator("#numbers").inner_text()
    tab.close()


@pytest.mark.slow
def test_the_slides_of_both_lectures_are_on_the_site(site: Path) -> None:
    for part in ("part_1", "part_2"):
        page = (site / f"slides/{part}.html").read_text(encoding="utf-8")
        assert page.count("<section") >= 20
        assert (site / "slides" / re.search(r'src="(.*?reveal.js)"', page)[1]).resolve().exists()


def test_an_equation_becomes_mathml() -> None:
    inline, block = r'<span class="arithmatex">\(a &lt; b\)</span>', '<div class="arithmatex">\n\\[x^2\\]\n</div>'
    assert "<mo>&lt;</mo>" in equations.render(inline).replace("&#x0003C;", "&lt;")
    assert "<msup>" in equations.render(block)
    assert equations.render("<p>$5</p>") == "<p>$5</p>"


@pytest.mark.slow
@pytest.mark.parametrize("module", [tfrcnn, tfrcnn.export, tfrcnn.layers, tfrcnn.models], ids=lambda m: m.__name__)
def test_every_public_name_is_in_the_api_reference(module: ModuleType, site: Path) -> None:
    reference = "".join(page.read_text(encoding="utf-8") for page in (site / "api").glob("*.html"))
    names = [f"{module.__name__}.{name}" for name in module.__all__]
    same = {name: f"tfrcnn.{name.rpartition('.')[2]}" for name in names}  # tfrcnn.models gives out names of tfrcnn too
    missing = [name for name in names if f'id="{name}"' not in reference and f'id="{same[name]}"' not in reference]
    assert not missing


def test_examples_in_docstrings_become_code() -> None:
    source = '    """Add.\n\n    Example:\n        a = 1\n\n        b = 2\n    """\n'
    fenced = "        ```python\n        a = 1\n\n        b = 2\n        ```\n"
    assert package_tree.fence_examples(source) == f'    """Add.\n\n    Example:\n{fenced}    """\n'
    command = "    Example:\n      tfrcnn train\n"
    assert package_tree.fence_examples(command) == command


def test_entries_of_a_returned_dict_have_a_line_each() -> None:
    source = "    Returns:\n        A dict:\n            boxes: [N, 4].\n            scores: [N].\n"
    separated = "    Returns:\n        A dict:\n            <br>`boxes`: [N, 4].\n            <br>`scores`: [N].\n"
    assert package_tree.break_returns(source) == separated


@pytest.mark.parametrize("module", [tfrcnn, tfrcnn.export, tfrcnn.layers, tfrcnn.models], ids=lambda m: m.__name__)
def test_every_public_name_is_explained(module: ModuleType) -> None:
    """A line per argument or field, what is returned, and an example."""
    missing = []
    for name in module.__all__:
        value = getattr(module, name)
        texts = [inspect.getdoc(part) or "" for part in (value, value.__init__)]
        parameters = inspect.signature(value).parameters
        explained = re.findall(r"^ +(\w+): ", "\n".join(texts), re.MULTILINE)
        missing += [f"{name}({argument})" for argument in parameters if argument not in (*explained, "_", "kwargs")]
        if inspect.isfunction(value) and inspect.signature(value).return_annotation != "None":
            missing += [] if "Returns:" in texts[0] else [f"{name}: Returns"]
        missing += [] if "Example:" in texts[0] else [f"{name}: Example"]
    assert not missing


@pytest.mark.slow
@pytest.mark.parametrize("kind", configuration.classes(), ids=lambda kind: kind.__name__)
def test_every_field_is_in_the_configuration_reference(kind: type, site: Path) -> None:
    page = (site / "configuration.html").read_text(encoding="utf-8")
    section = page.split(f'id="{kind.__name__.lower()}"')[1].split("<h3")[0]
    for field in dataclasses.fields(kind):
        assert f"<code>{field.name}</code>" in section


def test_fields_are_explained_by_their_entry_in_the_docstring() -> None:
    @dataclasses.dataclass
    class Sizes:
        """Sides of a box.

        Attributes:
            height: in pixels,
                at least 1.
            width: in pixels.
        """

        height: int
        width: int = 3

    meanings = {"height": "in pixels, at least 1.", "width": "in pixels."}
    assert configuration.parse(Sizes) == ("Sides of a box.", meanings)
    rows = [row.split(" | ") for row in configuration.describe(Sizes).splitlines()[-2:]]
    assert [(row[0], row[-2], row[-1]) for row in rows] == [
        ("| `height`", "required", "in pixels, at least 1. |"),
        ("| `width`", "`3`", "in pixels. |"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", commands.commands())
def test_every_option_is_in_the_command_line_reference(name: str, site: Path) -> None:
    page = (site / "command-line.html").read_text(encoding="utf-8")
    section = page.split(f'id="tfrcnn-{name}"')[1].split("<h2")[0]
    for parameter in commands.commands()[name].params:
        is_option = parameter.opts[0].startswith("-")
        for option in parameter.opts if is_option else [parameter.metavar]:
            assert option.strip("[]") in section


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_outside_the_site_lead_somewhere(text: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", text.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (text.parent / name).resolve() if name else text
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) < 900


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_programs_compile(page: Path) -> None:
    for program in programs(page):
        compile(program, str(page), "exec")


@pytest.mark.slow
def test_program_that_splits_off_validation_data_keeps_every_image(tmp_path: Path) -> None:
    (tmp_path / "cells").mkdir()
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 100, "height": 80} for i in range(3)]
    for i, image in enumerate(images):
        Image.fromarray(np.full((80, 100, 3), 40 * i, np.uint8)).save(tmp_path / "cells" / image["file_name"])
    boxes = [{"id": i, "image_id": i, "category_id": 1, "bbox": [40, 24, 20, 32], "area": 640} for i in range(3)]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "platelet"}]}
    (tmp_path / "cells/all.json").write_text(json.dumps(content))
    parts = [program for program in programs(DOCS / "your-data.md") if "split_dataset" in program]
    run([*parts, "assert (len(train), len(val)) == (2, 1)"], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/quick-start.md",
        "docs/training.md",
        "docs/augmentation.md",
        "docs/configuration.md",
    ],
)
def test_programs_run(page: str, tmp_path: Path) -> None:
    """On a small data set, with a small network and one epoch."""
    files = digit_scenes(tmp_path / "cells", {"train": 8, "val": 4, "test": 1})
    replaced = {
        r"cells/\w+@train": str(files["train"]),
        r"cells/\w+@(val|test)": str(files["val"]),
        r"Recipe\(": 'Recipe(model="tiny_fpn", training=tfrcnn.TrainingConfig(epochs=1, batch_size=4), train=',
        r'(train=".*?"), (".*?")': r"\1, val=\2",
        "mobilenet_v2_fpn": "tiny_fpn",
        'backbone_weights="imagenet"': 'backbone_weights="none"',
        r"preset\.training": "preset.training.replace(epochs=1, batch_size=4)",
        'epochs(=|": )[0-9]+': r"epochs\g<1>1",
        r"\.take\(10\)": ".take(1)",
    }
    parts = programs(ROOT / page)
    for old, new in replaced.items():
        parts = [re.sub(old, new, part) for part in parts]
    Image.fromarray(np.zeros((90, 120, 3), np.uint8)).save(tmp_path / "picture.jpg")
    # After one epoch the file may be out of tolerance, and then has another name.
    parts = [part.replace('load("cells.onnx")', 'load(next(Path().glob("cells*.onnx")))') for part in parts]
    run(["from pathlib import Path", *parts], tmp_path)


def programs(page: Path) -> list[str]:
    """The Python programs on a page."""
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def run(parts: list[str], folder: Path) -> None:
    """Run programs one after the other in one interpreter."""
    done = subprocess.run([sys.executable, "-c", "\n".join(parts)], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}
