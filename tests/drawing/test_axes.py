"""Images and boxes on matplotlib axes: each is drawn at its coordinates."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tfrcnn.drawing import show_boxes, show_image


@pytest.fixture
def axes():
    """Axes on which an image of 20 x 30 pixels is shown ten to one, without labels or ticks around it."""
    figure = Figure(figsize=(3, 2), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    return axes


def drawn(axes):
    """[200, 300, 3] the picture of the axes."""
    canvas = FigureCanvasAgg(axes.figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def test_a_pixel_is_shown_between_its_coordinate_and_the_next(axes):
    image = np.zeros((20, 30, 3), np.uint8)
    image[4, 7] = 255
    show_image(axes, image)
    rows, columns = np.nonzero(drawn(axes).min(axis=-1) > 200)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == pytest.approx((40, 50, 70, 80), abs=1)


def test_an_outline_surrounds_the_pixels_of_its_box(axes):
    show_image(axes, np.zeros((20, 30, 3)))
    show_boxes(axes, [4, 7, 12, 25], color="white", linewidth=1)
    rows, columns = np.nonzero(drawn(axes).min(axis=-1) > 100)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == pytest.approx((40, 120, 70, 250), abs=1)


def test_boxes_beyond_the_image_do_not_enlarge_the_axes(axes):
    show_image(axes, np.zeros((20, 30)))
    show_boxes(axes, [[-50, -50, 90, 90], [0, 0, 5, 5]])
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 30), (20, 0))


def test_no_boxes_draw_nothing(axes):
    show_image(axes, np.zeros((20, 30)))
    show_boxes(axes, np.zeros((0, 4)))
    assert drawn(axes).max() == 0


def test_images_have_titles_units_and_legends(axes):
    show_image(axes, np.zeros((20, 30)), "a scene")
    show_boxes(axes, [1, 2, 3, 4], label="anchors", linestyle="--")
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("a scene", "x (pixels)", "y (pixels)")
    handles, labels = axes.get_legend_handles_labels()
    assert labels == ["anchors"]
    assert handles[0].get_linestyle() == "--"
