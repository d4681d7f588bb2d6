"""The server's page in Chromium, with an ONNX file behind it: drop, move, filter, click, copy."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import requests
from PIL import Image

from tfrcnn.config import Category, DetectionConfig
from tfrcnn.export.serving import page as page_of_server
from tfrcnn.models import build_detector, preset, save_detector

from .conftest import serving

pytestmark = pytest.mark.slow
WIDTHS = (1280, 390)  # a screen and a phone
HOSTILE = 'it\'s <b>; $(touch hacked) "x".png'

DROP = """([name, data]) => {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], name, {type: "image/png"}));
    window.dispatchEvent(new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true}));
}"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for i, name in enumerate(("first.png", HOSTILE)):
        small = np.random.default_rng(i).integers(0, 255, (6, 8, 3), np.uint8)
        Image.fromarray(small).resize((160, 120), Image.Resampling.BICUBIC).save(folder / name)
    return folder


@pytest.fixture(params=WIDTHS)
def page(request, browser, served):
    """The page; nothing but the server may be asked, and nothing may go wrong."""
    context = browser.new_context(viewport={"width": request.param, "height": 900})
    tab = context.new_page()
    complaints = []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("dialog", lambda dialog: complaints.append(f"a name was run: {dialog.message}"))
    allowed = (served.url, "data:", "blob:")
    tab.on("request", lambda request: complaints.extend([] if request.url.startswith(allowed) else [request.url]))
    tab.goto(served.url)
    tab.locator("#state", has_text="onnx").wait_for()
    yield tab
    context.close()
    assert [text for text in complaints if "400 (Bad Request)" not in text] == []  # a refusal is shown in the page


def drop(tab, path, number):
    """Drop a picture, and wait for its detections."""
    tab.evaluate(DROP, [path.name, base64.b64encode(path.read_bytes()).decode()])
    tab.locator("#pictures .note", has_text="object").nth(number).wait_for()


def move(tab, score):
    tab.locator("#threshold").evaluate(
        "(slider, score) => { slider.value = score; slider.dispatchEvent(new Event('input')); }", str(score)
    )


def expected_scores(served, path):
    data = base64.b64encode(path.read_bytes()).decode()
    answer = served.post("v1/models/detector:predict", {"signature_name": "encoded", "instances": [{"b64": data}]})
    return answer.json()["predictions"][0]["detection_scores"]


def test_a_dropped_picture_shows_the_detections_above_the_threshold(page, served, pictures, tmp_path):
    drop(page, pictures / "first.png", 0)
    assert page.locator("#value").inner_text() == "0.20"
    scores = expected_scores(served, pictures / "first.png")
    middle = round(sorted(scores)[5] - 0.005, 2)
    move(page, middle)
    count = sum(score >= middle for score in scores)
    assert page.locator("#list li").count() == count
    assert page.locator("#shown").inner_text() == f"{count} of 10"
    move(page, 1)
    assert page.locator("#list li").count() == 0
    assert f"the best score is {max(scores):.2f}" in page.locator("#empty").inner_text()
    move(page, 0)
    folder = Path(os.environ.get("TFRCNN_SCREENSHOTS", tmp_path))  # to look at
    path = folder / f"serve_{page.viewport_size['width']}.png"
    page.screenshot(path=path, full_page=True)
    assert path.stat().st_size > 20_000
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_classes_are_filtered_and_their_names_are_text(page, pictures):
    drop(page, pictures / "first.png", 0)
    move(page, 0)
    names = page.locator("#classes .name").all_inner_texts()
    assert names[0] == "<img src=x onerror=alert('x')>"
    assert page.locator("#classes img").count() == 0
    counts = [int(text or 0) for text in page.locator("#classes .count").all_inner_texts()]
    assert sum(counts) == 10
    page.locator("#none").click()
    assert page.locator("#list li").count() == 0
    for box, count in zip(page.locator("#classes input").all(), counts):
        box.check()
        assert page.locator("#list li").count() == count
        box.uncheck()
    page.locator("#all").click()
    assert page.locator("#list li").count() == 10


def test_a_box_is_selected_by_mouse_and_by_keyboard(page, pictures):
    drop(page, pictures / "first.png", 0)
    move(page, 0)
    before = page.locator("#canvas").screenshot()
    first = page.locator("#list button").first
    first.focus()
    page.keyboard.press("Enter")
    assert first.get_attribute("aria-pressed") == "true"
    assert page.locator("#canvas").screenshot() != before
    page.keyboard.press("Escape")
    assert page.locator("#list [aria-pressed=true]").count() == 0
    box = page.evaluate("visible()[0].box")
    frame = page.locator("#canvas").bounding_box()
    place = {"x": frame["width"] * (box[1] + box[3]) / 2, "y": frame["height"] * (box[0] + box[2]) / 2}
    page.locator("#canvas").click(position=place)
    assert page.locator("#list [aria-pressed=true]").count() == 1


def test_a_file_that_is_no_picture_says_why(page, pictures, tmp_path):
    (tmp_path / "notes.png").write_text("no picture")
    page.locator("#files").set_input_files(str(tmp_path / "notes.png"))
    page.locator("#pictures .bad").wait_for()
    assert "cannot decode" in page.locator("#caption").inner_text()
    drop(page, pictures / "first.png", 0)  # the others go on
    assert page.locator("#pictures .bad").count() == 1


@pytest.mark.parametrize("name", ["first.png", HOSTILE])
def test_the_copied_requests_run_as_they_are(page, served, pictures, name):
    drop(page, pictures / name, 0)
    move(page, 0)
    best = max(expected_scores(served, pictures / name))
    curl = subprocess.run(["sh", "-c", page.locator("#code").inner_text()], cwd=pictures, capture_output=True)
    assert max(json.loads(curl.stdout)["predictions"][0]["detection_scores"]) == best
    page.locator("#python").click()
    code = page.locator("#code").inner_text()
    python = subprocess.run([sys.executable, "-c", code], cwd=pictures, capture_output=True, text=True)
    assert len(python.stdout.splitlines()) == 10, python.stderr
    assert str(best) in python.stdout
    assert sorted(file.name for file in pictures.iterdir()) == sorted(["first.png", HOSTILE])


def test_the_page_may_run_its_own_script_only(served):
    answer = requests.get(served.url, timeout=10)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    text = Path(page_of_server.__file__).with_name("page.html").read_text(encoding="utf-8")
    assert answer.text == text
    assert "://" not in text


def test_a_file_without_gradients_says_that_it_cannot_explain(page, pictures):
    drop(page, pictures / "first.png", 0)
    assert page.locator("#why").is_hidden()
    page.locator("#list button").first.click()
    assert page.locator("#reason").inner_text().startswith("This model has no gradients")
    assert page.locator("#method").is_disabled()


def test_a_click_on_a_detection_of_a_run_folder_shows_its_heat_and_its_proposal(browser, pictures, tmp_path):
    keras.utils.set_random_seed(0)
    config = preset("tiny_fpn", (Category(1, "cell"),)).detector
    limits = DetectionConfig(score_threshold=0.0, max_detections=5)
    save_detector(build_detector(config.replace(detections=limits)), tmp_path / "run")
    with serving(tmp_path / "run", "--score-threshold", "0") as server:
        tab = browser.new_page()
        complaints = []
        tab.on("console", lambda message: complaints.append(message.text))
        tab.goto(server.url)
        drop(tab, pictures / "first.png", 0)
        plain = tab.evaluate("document.getElementById('canvas').toDataURL()")
        tab.locator("#list button").nth(1).click()
        for method, text in (("grad-cam", "raised this score"), ("eigen-cam", "stand out")):
            tab.select_option("#method", method)
            tab.locator("#reason", has_text=text).wait_for()
            assert "number" in tab.locator("#reason").inner_text()
            assert tab.evaluate("document.getElementById('canvas').toDataURL()") != plain
        tab.close()
    assert complaints == []
