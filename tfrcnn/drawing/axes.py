"""Draws images and boxes on matplotlib axes, in pixels.

Legend: H, W pixels of an image; N boxes, [y1, x1, y2, x2] in pixels of that image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from tfrcnn.drawing.fonts import figure_text
from tfrcnn.drawing.palette import ORANGE, to_hex

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def show_image(axes: Axes, image: ArrayLike, title: str = "") -> None:
    """Show an image with axes in pixels, in the coordinates of boxes: (0, 0) is the upper left corner of pixel (0, 0).

    Args:
        axes: matplotlib axes.
        image: [H, W, 3] RGB or [H, W] grey, 0..255.
        title: text above the image. It is not read as a formula.

    Example:
        figure, axes = plt.subplots()
        show_image(axes, image, "a street")
        show_boxes(axes, detections.boxes, label="detections")
        axes.legend()
    """
    pixels = np.asarray(image)
    height, width = pixels.shape[:2]
    pixels = np.clip(np.round(pixels), 0, 255).astype(np.uint8)
    axes.imshow(pixels, extent=(0, width, height, 0), cmap="gray", vmin=0, vmax=255)
    axes.set(xlabel="x (pixels)", ylabel="y (pixels)", title=figure_text(title))


def show_boxes(axes: Axes, boxes: ArrayLike, color: str = to_hex(ORANGE), label: str = "", **style: Any) -> None:
    """Draw the outlines of boxes.

    Args:
        axes: matplotlib axes.
        boxes: [N, 4] or [4].
        color: any colour that matplotlib knows.
        label: text in the legend. It is not read as a formula.
        style: properties of matplotlib patches, for example linewidth, linestyle, alpha.

    Example:
        show_boxes(axes, [[10, 20, 110, 220]], color="white", linestyle="--", label="ground truth")
    """
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    outlines = [
        Rectangle((x1, y1), x2 - x1, y2 - y1) for y1, x1, y2, x2 in np.asarray(boxes, np.float64).reshape(-1, 4)
    ]
    axes.add_collection(
        PatchCollection(outlines, facecolor="none", edgecolor=color, **{"linewidth": 1.5, **style}), autolim=False
    )
    if label:  # matplotlib has no legend entry for a collection of outlines
        axes.plot([], [], color=color, label=figure_text(label), linestyle=style.get("linestyle", "-"))
