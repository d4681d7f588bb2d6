"""The anchor explorer: a reader moves a cell, and the drawn anchors are those of the anchor layer."""

import re

import numpy as np
import pytest
import tensorflow as tf

import tfrcnn
from tfrcnn.drawing import anchor_explorer
from tfrcnn.layers import AnchorGenerator

ROWS, COLUMNS, STRIDE = 12, 20, 16
IMAGE = np.full((ROWS * STRIDE, COLUMNS * STRIDE, 3), 128, np.uint8)
PAPER = tfrcnn.preset("vgg16").detector.anchors
EXACT = tfrcnn.AnchorConfig(sizes=((32.0, 50.0),), ratios=(0.25, 1.0), rounding="none", offset=0.5)
TORCHVISION = tfrcnn.AnchorConfig(sizes=((45.0,),), ratios=(0.5, 1.0, 2.0))


def anchors_of(config):
    """Return the anchors of the layer: [rows, columns, ratios, sizes, 4]."""
    anchors = AnchorGenerator(config)([tf.zeros([1, ROWS, COLUMNS, 1])], tf.zeros([1, *IMAGE.shape]))[0]
    return tf.reshape(anchors, [ROWS, COLUMNS, len(config.ratios), len(config.sizes[0]), 4]).numpy()


@pytest.fixture
def opened(browser, tmp_path):
    """Return a function that opens the explorer of a configuration from its file."""
    tabs = []

    def open_(config):
        anchor_explorer(IMAGE, config, STRIDE).save(tmp_path / "explorer.html")
        tabs.append(browser.new_page(viewport={"width": 700, "height": 700}))
        tabs[-1].goto((tmp_path / "explorer.html").as_uri())
        return tabs[-1]

    yield open_
    for tab in tabs:
        tab.close()


def point_of(tab, row, column):
    """Return the middle of a cell on the screen."""
    frame = tab.locator("#picture").bounding_box()
    return (
        frame["x"] + (column + 0.5) / COLUMNS * frame["width"],
        frame["y"] + (row + 0.5) / ROWS * frame["height"],
    )


def set_slider(tab, name, value):
    tab.eval_on_selector(f"#{name}", "(e, v) => { e.value = v; e.dispatchEvent(new Event('input')); }", str(value))


def drawn(tab, selector):
    """Return an outline as [y1, x1, y2, x2]."""
    x, y, width, height = (
        float(tab.locator(selector).first.get_attribute(name)) for name in ("x", "y", "width", "height")
    )
    return [y, x, y + height, x + width]


@pytest.mark.slow
@pytest.mark.parametrize("config", [PAPER, EXACT, TORCHVISION], ids=["paper", "none", "torchvision"])
def test_the_numbers_are_those_of_the_anchor_layer(opened, config):
    tab, reference = opened(config), anchors_of(config)
    for row, column in ((0, 0), (5, 7), (11, 19)):
        tab.mouse.click(*point_of(tab, row, column))
        for i, ratio in enumerate(config.ratios):
            for j, size in enumerate(config.sizes[0]):
                set_slider(tab, "size", size)
                set_slider(tab, "ratio", np.log2(ratio))
                text = tab.locator("#numbers").inner_text()
                numbers = [float(number) for number in re.search(r"= \[(.*?)\]", text)[1].split(", ")]
                np.testing.assert_allclose(numbers, reference[row, column, i, j], atol=0.051)
                np.testing.assert_allclose(drawn(tab, "#anchor"), reference[row, column, i, j], atol=1e-3)
                assert text.startswith(f"cell ({row}, {column})")
        thin = [drawn(tab, f".one >> nth={k}") for k in range(config.per_cell)]
        np.testing.assert_allclose(thin, reference[row, column].reshape(-1, 4), atol=1e-3)


@pytest.mark.slow
def test_a_drag_and_the_arrow_keys_move_the_cell_and_boundaries_are_dashed(opened):
    tab = opened(EXACT)
    before = drawn(tab, "#cell")
    tab.mouse.move(*point_of(tab, 5, 10))
    tab.mouse.down()
    tab.mouse.move(*point_of(tab, 0, 1), steps=4)
    tab.mouse.up()
    assert drawn(tab, "#cell") == [0, 16, 16, 32] != before
    assert "crosses the boundary" in tab.locator("#numbers").inner_text()
    assert "outside" in tab.locator("#anchor").get_attribute("class")
    for key in ("ArrowDown",) * 5 + ("ArrowRight",) * 6:
        tab.keyboard.press(key)
    assert tab.locator("#numbers").inner_text().startswith("cell (5, 7)")
    assert "inside the image" in tab.locator("#numbers").inner_text()
    for _ in range(30):
        tab.keyboard.press("ArrowRight")
    assert tab.locator("#numbers").inner_text().startswith(f"cell (5, {COLUMNS - 1})")


def test_a_notebook_shows_the_page_in_a_frame_that_loads_nothing():
    explorer = anchor_explorer(IMAGE, PAPER, STRIDE)
    frame = explorer._repr_html_()
    assert frame.startswith("<iframe ")
    assert "srcdoc=" in frame
    assert not re.search(r'(?:src|href)="?(?:https?:)?//', explorer.page)
    assert repr(explorer) == "AnchorExplorer(size=(192, 320))"
