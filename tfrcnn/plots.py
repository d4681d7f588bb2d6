"""Images and boxes on matplotlib's axes, in pixels: what notebooks draw with. For files, see `tfrcnn.visualize`.

Legend: H, W pixels of an image; N boxes, [y1, x1, y2, x2] in pixels of that image.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.patches import Rectangle


def show_image(axes: Axes, image: Any, title: str = "") -> None:
    """Show an image with its axes in pixels: pixel (0, 0) has its upper left corner at the origin, as boxes have it.

    Args:
        image: [H, W, 3] RGB or [H, W] grey, 0..255.
    """
    pixels = np.asarray(image)
    height, width = pixels.shape[:2]
    shown = np.clip(np.round(pixels), 0, 255).astype(np.uint8)
    axes.imshow(shown, extent=(0, width, height, 0), cmap="gray", vmin=0, vmax=255)
    axes.set(xlabel="x (pixels)", ylabel="y (pixels)", title=title)


def show_boxes(axes: Axes, boxes: Any, color: str = "#E69F00", label: str = "", **style: Any) -> None:
    """Draw the outlines of boxes.

    Args:
        boxes: [N, 4] or [4].
        label: for the legend.
        style: linewidth, linestyle, alpha, ... of matplotlib's patches.
    """
    outlines = [
        Rectangle((x1, y1), x2 - x1, y2 - y1) for y1, x1, y2, x2 in np.asarray(boxes, np.float64).reshape(-1, 4)
    ]
    axes.add_collection(
        PatchCollection(outlines, facecolor="none", edgecolor=color, **{"linewidth": 1.5, **style}), autolim=False
    )
    if label:  # a legend has no sign of its own for a collection of outlines
        axes.plot([], [], color=color, label=label, linestyle=style.get("linestyle", "-"))
