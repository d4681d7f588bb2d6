"""Writes figures as the frames of an animation."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from tfrcnn.errors import InputError
from tfrcnn.files import atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = 128  # of a frame; more make the file larger


def plot_animation(figures: Sequence[Figure], path: str | Path, seconds: float = 1.0) -> None:
    """Write matplotlib figures as one animated GIF, which repeats. The last frame stays twice as long.

    Args:
        figures: the frames, all of the same size.
        path: file to write or replace; its suffix is .gif.
        seconds: time of each frame.

    Raises:
        InputError: there is no figure, or the suffix is not .gif.

    Example:
        plot_animation([figure_of(epoch) for epoch in range(5)], "training.gif")
    """
    if not figures:
        raise InputError("figures: expected at least one figure, found none")
    if Path(path).suffix.lower() != ".gif":
        raise InputError(f"{path}: expected a path that ends in .gif")
    frames = []
    for figure in figures:
        png = io.BytesIO()
        figure.savefig(png, format="png")
        frames.append(Image.open(png).convert("RGB").quantize(COLORS))
    times = [round(1000 * seconds)] * (len(frames) - 1) + [round(2000 * seconds)]
    with atomic(path) as temporary:
        frames[0].save(temporary, save_all=True, append_images=frames[1:], duration=times, loop=0)
