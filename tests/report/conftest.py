"""A data set with awkward names, faults and copies, the report on it, and a reader of pages."""

import json
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

import tfrcnn
from tfrcnn.config import Category
from tfrcnn.data.example import Dataset, Example, ImageDetections
from tfrcnn.report import data as report
from tfrcnn.report import page

NAMES = ("<script>alert('x')</script>", "\"double\" & 'single'", "\u0639\u0631\u0628\u064a", "🦊 fox", "plain")
HIDDEN = "hidden\u202egnp.exe\x1b[31m"  # a mark that turns the direction, and an escape sequence
VOID = {"meta", "link", "img", "input"}


class Element(NamedTuple):
    """An element of a page: its tag, its attributes, and the text in it."""

    tag: str
    attributes: dict[str, str]
    texts: list[str]

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())


class Page(HTMLParser):
    """Parses a page, and fails if an element is not closed in its place.

    Attributes:
        elements: in the order of the page.
    """

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in {attrs}"
        element = Element(tag, {name: value or "" for name, value in attrs}, [])
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(Element(tag, {name: value or "" for name, value in attrs}, []))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.texts.append(data)

    def all(self, tag: str, **attributes: str) -> list[Element]:
        return [e for e in self.elements if e.tag == tag and attributes.items() <= e.attributes.items()]


class Written(NamedTuple):
    """A report: where it is, its numbers, all that its template got, and the page."""

    path: Path
    numbers: dict[str, Any]
    content: dict[str, Any]
    page: Page

    def __repr__(self) -> str:
        return f"Written({self.path})"


def picture(path: Path, seed: int, size: tuple[int, int] = (160, 120)) -> None:
    small = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)
    Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(path)


def write_coco(folder: Path, files: dict[str, list[tuple[int, list[float]]]], name: str) -> str:
    """Write a COCO file of pictures of 160 x 120 px with (label, box) pairs each."""
    images, annotations = [], []
    for number, (file, boxes) in enumerate(files.items(), start=1):
        images.append({"id": number, "file_name": file, "width": 160, "height": 120})
        for label, box in boxes:
            entry = {"id": len(annotations) + 1, "image_id": number, "category_id": label + 1, "bbox": box}
            annotations.append(entry)
    categories = [{"id": label + 1, "name": text} for label, text in enumerate((*NAMES, HIDDEN))]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return str(folder / name)


@pytest.fixture(scope="session")
def data_sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Return a training and a validation set.

    Training: 10 images; 0.png has one box of each name; 1.png a box over the edge, 2.png an inverted one; 3.png has no
    boxes; the others have one box of 10 x 10 px. Validation: a copy, a near-duplicate, and a new image.
    """
    folder = tmp_path_factory.mktemp("data")
    boxes: dict[str, list[tuple[int, list[float]]]] = defaultdict(list)
    for number in range(10):
        picture(folder / f"{number}.png", number)
        boxes[f"{number}.png"] = [(4, [20, 20, 10, 10])] if number > 3 else []
    boxes["0.png"] = [(label, [10.0 + 20 * label, 30, 18, 40]) for label in range(len(NAMES) + 1)]
    boxes["1.png"] = [(4, [100, 40, 80, 30])]
    boxes["2.png"] = [(4, [100, 40, -20, 30]), (4, [10, 10, 60, 90])]
    (folder / "copy.png").write_bytes((folder / "4.png").read_bytes())
    with Image.open(folder / "5.png") as image:
        image.save(folder / "similar.jpg", quality=60)
    picture(folder / "new.png", 99)
    val = {name: [(4, [20.0, 20, 10, 10])] for name in ("copy.png", "similar.jpg", "new.png")}
    return write_coco(folder, boxes, "train.json"), write_coco(folder, val, "val.json")


@pytest.fixture(scope="session")
def _one_build() -> Iterator[None]:
    """Build the detector whose strides are needed only once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "anchor_strides", cache(report.anchor_strides))
        yield


@pytest.fixture(scope="session")
def written(data_sets: tuple[str, str], tmp_path_factory: pytest.TempPathFactory, _one_build: None) -> Written:
    """Return the report on these sets."""
    path = tmp_path_factory.mktemp("report") / "new" / "report.html"
    content: dict[str, Any] = {}
    preset = tfrcnn.preset("tiny_fpn")
    flipping = replace(preset, training=preset.training.replace(horizontal_flip=True))

    def render(template: str, **values: Any) -> str:
        content.update(values)
        return page.render(template, **values)

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(category=UserWarning, action="ignore"):
        patch.setattr(report, "render", render)  # the warning: no font may have the fox
        numbers = tfrcnn.data_report(data_sets[0], path, data_sets[1], preset=flipping)
    return Written(path, numbers, content, Page(path.read_text(encoding="utf-8")))


@pytest.fixture
def write_report(tmp_path: Path, _one_build: None) -> Callable[..., tuple[dict[str, Any], Page]]:
    """Return a function that writes a report with few pictures and returns its numbers and its page."""

    def write(data: str, **options: Any) -> tuple[dict[str, Any], Page]:
        path = tmp_path / "report.html"
        numbers = tfrcnn.data_report(data, path, preset=tfrcnn.preset("tiny_fpn"), pictures=4, **options)
        return numbers, Page(path.read_text(encoding="utf-8"))

    return write


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, list[ImageDetections], list[ImageDetections]]:
    """Return a data set of awkward names, detections with an error of each kind, and perfect ones.

    Images 1 to 6 have an object of class 0 at [10, 10, 50, 50]; image 7 cannot be read.
    """
    folder = tmp_path_factory.mktemp("scenes")
    box = np.array([[10, 10, 50, 50]], np.float32)
    names = (*NAMES, HIDDEN, "n" * 10_000)
    examples = []
    for number in range(1, 8):
        path = folder / (f"{number} <img src=x onerror=alert(1)>.png" if number < 7 else "broken.png")
        if number < 7:
            picture(path, number)
        flags = np.zeros(1, bool)
        area, ids = np.array([1600], np.float32), np.array([number])
        examples.append(Example(number, path, 120, 160, box, np.zeros(1, np.int32), flags, flags, area, 1, ids))
    far = [[80, 90, 110, 120]]
    parts: dict[int, tuple[list, list, list]] = {
        1: ([*far, *box], [0.97, 0.9], [0, 0]),  # background, and correct
        2: ([*box], [0.99], [1]),  # wrong class
        3: ([[10, 10, 50, 25]], [0.98], [0]),  # poor box
        4: ([*box, [11, 11, 50, 50]], [0.95, 0.94], [0, 0]),  # correct, and a duplicate
        5: (far, [0.6], [0]),  # background, and missed
        7: ([*box], [0.5], [2]),
    }
    detections = [
        ImageDetections(number, np.array(b, np.float32), np.array(s, np.float32), np.array(c, np.int32))
        for number, (b, s, c) in parts.items()
    ]
    perfect = [ImageDetections(e.image_id, box, np.array([0.9], np.float32), e.labels) for e in examples]
    categories = tuple(Category(label + 1, name) for label, name in enumerate(names))
    return Dataset("<b>source</b>", categories, (*examples[:5], examples[6])), detections, perfect[:5]


@pytest.fixture(scope="session")
def evaluated(
    scenes: tuple[Dataset, list[ImageDetections], list[ImageDetections]], tmp_path_factory: pytest.TempPathFactory
) -> Written:
    """Return the report on these detections, compared with the perfect ones."""
    path = tmp_path_factory.mktemp("evaluation") / "new" / "page.html"
    with warnings.catch_warnings(category=UserWarning, action="ignore"):  # no font may have the fox
        numbers = tfrcnn.evaluation_report(*scenes[:2], path, scenes[2], ("<i>run</i>", "b"), resamples=100)
    return Written(path, numbers, {}, Page(path.read_text(encoding="utf-8")))


@pytest.fixture(params=[1280, 390])  # pixels: a screen and a phone
def opened(request: pytest.FixtureRequest, browser) -> Callable[[Path], Iterator[object]]:
    """Return a function that opens a page, and checks afterwards that nothing was requested and nothing went wrong."""

    def open_page(path: Path) -> Iterator[object]:
        context = browser.new_context(viewport={"width": request.param, "height": 900})
        tab = context.new_page()
        complaints: list[str] = []
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("dialog", lambda dialog: complaints.append(f"a name was run: {dialog.message}"))
        tab.on("request", lambda request: complaints.extend([] if request.url.startswith("data:") else [request.url]))
        tab.goto(path.as_uri())
        yield tab
        context.close()
        assert complaints == [path.as_uri()]

    return open_page


@pytest.fixture(scope="session")
def parse() -> type[Page]:
    """Return the parser of pages."""
    return Page
