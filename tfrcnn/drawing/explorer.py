"""A page on which a reader moves a cell over a picture and sees its anchors, in HTML that loads nothing.

Legend: H, W pixels of the network's input; an anchor is [y1, x1, y2, x2] in these pixels.
"""

from __future__ import annotations

import base64
import html
import io
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from tfrcnn.config import AnchorConfig
from tfrcnn.files import atomic

TEMPLATE = Path(__file__).with_name("explorer.html")
MAX_SIDE = 720  # pixels of the stored picture's longer side
CONTROLS = 110  # pixels below the picture, for the sliders and the numbers


@dataclass(frozen=True)
class AnchorExplorer:
    """A page of `anchor_explorer`. A notebook shows it.

    Attributes:
        page: the whole page as HTML.
        size: height and width of the picture, in pixels.

    Example:
        anchor_explorer(image, AnchorConfig(), stride=16).save("anchors.html")
    """

    page: str = field(repr=False)
    size: tuple[int, int]

    def save(self, path: str | Path) -> None:
        """Write the page to a file, which a browser opens without a server."""
        with atomic(path) as temporary:
            temporary.write_text(self.page, encoding="utf-8")

    def _repr_html_(self) -> str:
        height, width = self.size
        shape = f"width:100%;max-width:{MAX_SIDE}px;aspect-ratio:{MAX_SIDE}/{MAX_SIDE * height // width + CONTROLS}"
        page = html.escape(self.page, quote=True)
        return f'<iframe title="Anchor explorer" style="{shape};border:0" srcdoc="{page}"></iframe>'


def anchor_explorer(image: ArrayLike, config: AnchorConfig, stride: int, level: int = 0) -> AnchorExplorer:
    """Make a page for moving a cell over an image, and for choosing the size and the ratio of its anchor.

    The page computes (paper section 3.1.1, as `tfrcnn.layers.AnchorGenerator` with `config`)

        centre = (cell + offset) stride,   h = size sqrt(ratio),   w = size / sqrt(ratio).

    Thin outlines are the anchors of `config` at that cell. An anchor that crosses the boundary is dashed.

    Args:
        image: [H, W, 3] RGB, 0..255: the network's input.
        config: sizes, ratios, rounding and offset.
        stride: pixels per cell.
        level: index into `config.sizes`.

    Returns:
        The page.

    Example:
        anchor_explorer(image, tfrcnn.preset("vgg16").detector.anchors, stride=16)
    """
    pixels = np.clip(np.round(np.asarray(image)), 0, 255).astype(np.uint8)
    height, width = pixels.shape[:2]
    picture = Image.fromarray(pixels)
    picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=75)
    data = {
        "image": f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}",
        "height": height,
        "width": width,
        "rows": max(height // stride, 1),
        "columns": max(width // stride, 1),
        "stride": stride,
        "offset": config.offset,
        "rounding": config.rounding,
        "sizes": config.sizes[level],
        "ratios": config.ratios,
    }
    template = TEMPLATE.read_text(encoding="utf-8")
    return AnchorExplorer(template.replace("/* DATA */", json.dumps(data)), (height, width))
