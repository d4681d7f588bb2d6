"""Animations of figures: one frame per figure, in their order."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from tfrcnn import InputError
from tfrcnn.drawing import plot_animation


def figure_of(color):
    return Figure(figsize=(0.5, 0.4), dpi=100, facecolor=color)


def test_frames_keep_their_order_size_and_time(tmp_path):
    plot_animation([figure_of(color) for color in ("red", "lime", "blue")], tmp_path / "colors.gif", seconds=0.5)
    with Image.open(tmp_path / "colors.gif") as animation:
        assert (animation.n_frames, animation.size, animation.info["loop"]) == (3, (50, 40), 0)
        frames, times = [], []
        for number in range(3):
            animation.seek(number)
            frames.append(np.argmax(np.asarray(animation.convert("RGB"))[20, 25]))
            times.append(animation.info["duration"])
    assert frames == [0, 1, 2]
    assert times == [500, 500, 1000]


@pytest.mark.parametrize(("figures", "name"), [([], "a.gif"), ([figure_of("red")], "a.png")])
def test_no_figure_and_another_suffix_are_reported(tmp_path, figures, name):
    with pytest.raises(InputError, match=r"expected (at least one figure|a path that ends in \.gif)"):
        plot_animation(figures, tmp_path / name)
